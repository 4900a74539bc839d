//! Why policies did or did not match, for a person to read.

use super::Authorization;
use super::asked::Asked;
use super::condition::Condition;
use super::policy::{Policy, PolicyObserver, Rule, Unmatched, first_unmet};
use crate::{Place, TriedRule};

/// How many rules are told at most, the first ones.
const MAX_TRIED: usize = 1000;

/// A policy that was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TriedPolicy {
    /// Where it stands.
    pub policy: Place,
    /// `ALLOW`, `DENY`…
    pub action: &'static str,
    /// Whether its effect is only told.
    pub dry_run: bool,
    /// The rule that matched. Absent: none did.
    pub matched: Option<Place>,
    /// The rules before that, and why they did not.
    pub tried: Vec<TriedRule>,
}

/// Asks all that a decision asks.
pub(super) fn tried(policies: &Authorization, asked: &Asked<'_>) -> Vec<TriedPolicy> {
    let mut listener = Listener::default();
    policies.decide(asked, &mut listener);
    listener.policies
}

#[derive(Default)]
struct Listener {
    policies: Vec<TriedPolicy>,
    rules: usize,
}

impl PolicyObserver for Listener {
    fn asks(&mut self, policy: &Policy) {
        self.policies.push(TriedPolicy {
            policy: Place::from(&*policy.origin),
            action: policy.action.as_str(),
            dry_run: policy.dry_run,
            matched: None,
            tried: Vec::new(),
        });
    }

    fn passed_over(&mut self, rule: &Rule, why: Unmatched<'_>, asked: &Asked<'_>) {
        self.rules += 1;
        if let Some(policy) = self.policies.last_mut()
            && self.rules <= MAX_TRIED
        {
            let place = Place::from(&*rule.origin);
            policy.tried.push(TriedRule {
                rule: place.path.clone(),
                place,
                failed: failed(rule, why, asked),
            });
        }
    }

    fn matched(&mut self, rule: &Rule) {
        if let Some(policy) = self.policies.last_mut() {
            policy.matched = Some(Place::from(&*rule.origin));
        }
    }
}

fn failed(rule: &Rule, why: Unmatched<'_>, asked: &Asked<'_>) -> String {
    match why {
        Unmatched::ForRequests(condition) => {
            let name = &condition.name;
            format!("{name}: only requests have it, and this is a connection that is not HTTP")
        }
        Unmatched::Unknowable => "asks for metadata of Envoy, which is not here".to_owned(),
        Unmatched::From => alternatives("from", &rule.from, asked),
        Unmatched::To => alternatives("to", &rule.to, asked),
        Unmatched::When(condition) => condition.explain(asked),
    }
}

/// `from[0] principals: wants "a", has none; from[1] …`
fn alternatives(clause: &str, all: &[Vec<Condition>], asked: &Asked<'_>) -> String {
    let unmet = all.iter().enumerate().filter_map(|(index, conditions)| {
        let condition = first_unmet(conditions, asked)?;
        Some(format!("{clause}[{index}] {}", condition.explain(asked)))
    });
    unmet.collect::<Vec<_>>().join("; ")
}
