//! Istio's AuthorizationPolicy, compiled for one workload: who may do what with it.
//!
//! `CUSTOM` comes first, then `DENY`, then `ALLOW`. No external authorizer is asked: a request that one should
//! be asked about is denied, as in Istio when the provider is not there. A workload without policies allows
//! everything.

mod aliases;
mod asked;
mod compile;
mod compiler;
mod condition;
mod explain;
mod identity;
mod policy;
mod verdict;

#[cfg(test)]
mod tests;

pub use asked::Peer;
pub use compiler::AuthorizationCompiler;
pub use explain::TriedPolicy;
pub use verdict::{ACCESS_DENIED, MatchedRule, Refusal, Verdict};

use crate::RequestHead;
use asked::Asked;
use policy::{Nobody, Policy, PolicyObserver};
use std::sync::Arc;

/// The policies of a workload. Default: none, which allows everything.
#[derive(Debug, Default)]
pub struct Authorization {
    /// Whether there is nothing in the others.
    is_idle: bool,
    enforced: Policies,
    /// Those whose effect is only told: `istio.io/dry-run`.
    dry_run: Policies,
    audit: Vec<Arc<Policy>>,
}

/// Policies that allow and deny.
#[derive(Debug, Default)]
struct Policies {
    custom: Vec<Arc<Policy>>,
    deny: Vec<Arc<Policy>>,
    allow: Vec<Arc<Policy>>,
    /// Who they are, for those that none of them allows.
    allowing: Arc<[Arc<model::Origin>]>,
}

impl Authorization {
    /// Whether there are no policies, so that nothing need be asked.
    pub fn is_empty(&self) -> bool {
        self.is_idle
    }

    /// What becomes of a request. Allocates nothing unless it has several headers of one name that a rule asks
    /// for, or a rule asks for `:path`.
    pub fn decide_request(&self, peer: &Peer<'_>, head: &RequestHead<'_>) -> Verdict {
        if self.is_idle {
            return Verdict::default();
        }
        self.decide(&Asked::request(peer, head), &mut Nobody)
    }

    /// What becomes of a connection that is not HTTP.
    ///
    /// What only requests have is not asked for: an `ALLOW` rule that has any of it never matches; of others the
    /// rest decides.
    pub fn decide_connection(&self, peer: &Peer<'_>) -> Verdict {
        if self.is_idle {
            return Verdict::default();
        }
        self.decide(&Asked::connection(peer), &mut Nobody)
    }

    /// Why each policy did or did not match a request, in the order in which they were asked.
    pub fn explain_request(&self, peer: &Peer<'_>, head: &RequestHead<'_>) -> Vec<TriedPolicy> {
        explain::tried(self, &Asked::request(peer, head))
    }

    /// As [`Self::explain_request`], of a connection that is not HTTP.
    pub fn explain_connection(&self, peer: &Peer<'_>) -> Vec<TriedPolicy> {
        explain::tried(self, &Asked::connection(peer))
    }

    /// The one way in which verdicts are made, observed or not.
    fn decide(&self, asked: &Asked<'_>, observer: &mut impl PolicyObserver) -> Verdict {
        let audited = self.audit.iter();
        Verdict {
            audited: audited
                .filter_map(|policy| policy.matched(asked, observer))
                .collect(),
            denied: self.enforced.refusal(asked, observer),
            would_deny: self.dry_run.refusal(asked, observer),
        }
    }
}

impl Policies {
    fn refusal(&self, asked: &Asked<'_>, observer: &mut impl PolicyObserver) -> Option<Refusal> {
        let mut first = |policies: &[Arc<Policy>]| {
            let mut policies = policies.iter();
            policies.find_map(|policy| Some((policy.clone(), policy.matched(asked, observer)?)))
        };
        if let Some((policy, rule)) = first(&self.custom) {
            let provider = policy.provider.clone();
            return Some(Refusal::Custom { rule, provider });
        }
        if let Some((_, rule)) = first(&self.deny) {
            return Some(Refusal::Denied(rule));
        }
        if self.allow.is_empty() || first(&self.allow).is_some() {
            return None;
        }
        Some(Refusal::NotAllowed(self.allowing.clone()))
    }
}
