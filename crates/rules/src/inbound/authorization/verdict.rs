//! What policies say.

use model::Origin;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;

/// The body of the answer to a request that is denied, whose status is 403, as Envoy's.
pub const ACCESS_DENIED: &str = "RBAC: access denied";

/// What the policies of a workload say of a request or connection. Default: allowed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// Why it is denied. Absent: it is allowed.
    pub denied: Option<Refusal>,
    /// Why it would be denied by policies whose effect is only told, were there no others. Changes nothing.
    pub would_deny: Option<Refusal>,
    /// The first rule of each `AUDIT` policy that matched. Changes nothing.
    pub audited: SmallVec<[MatchedRule; 1]>,
}

impl Verdict {
    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        self.denied.is_none()
    }
}

/// A rule that matched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MatchedRule {
    /// The policy's rule: `spec.rules[1]`.
    pub origin: Arc<Origin>,
    /// Which of the policy's rules, from 0.
    pub rule: usize,
}

/// Why somebody is denied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// A rule of a `CUSTOM` policy matched, whose external authorizer is not asked here.
    Custom {
        /// The rule.
        rule: MatchedRule,
        /// The policy's `provider.name`.
        provider: Arc<str>,
    },
    /// A rule of a `DENY` policy matched.
    Denied(MatchedRule),
    /// There are `ALLOW` policies, these, and no rule of any matched.
    NotAllowed(Arc<[Arc<Origin>]>),
}

impl Refusal {
    /// Tidegate's stable code in the access log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Custom { .. } => "custom_not_supported",
            Self::Denied(_) => "denied_by_policy",
            Self::NotAllowed(_) => "not_allowed_by_policy",
        }
    }

    /// The rule that denies. Absent: none allows.
    pub fn rule(&self) -> Option<&MatchedRule> {
        match self {
            Self::Custom { rule, .. } | Self::Denied(rule) => Some(rule),
            Self::NotAllowed(_) => None,
        }
    }

    /// Envoy's `%RESPONSE_CODE_DETAILS%`, with the names that Istio gives to rules.
    pub fn details(&self) -> impl fmt::Display {
        Details(self)
    }
}

impl fmt::Display for Refusal {
    /// Why, with the objects: `AuthorizationPolicy shop/no spec.rules[0] (a.yaml:3:5) denies it`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(rule) => write!(f, "{} denies it", rule.origin),
            Self::Custom { rule, provider } => write!(
                f,
                "{} asks for the external authorizer {provider:?}, which is not supported",
                rule.origin
            ),
            Self::NotAllowed(policies) => {
                f.write_str("no rule allows it of ")?;
                for (index, policy) in policies.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{}", policy.resource)?;
                }
                Ok(())
            }
        }
    }
}

struct Details<'r>(&'r Refusal);

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rbac_access_denied_matched_policy[")?;
        match self.0 {
            Refusal::Denied(rule) => name(f, rule)?,
            Refusal::Custom { rule, provider } => {
                write!(f, "istio-ext-authz-{provider}-")?;
                name(f, rule)?;
                f.write_str("-deny-due-to-bad-CUSTOM-action")?;
            }
            Refusal::NotAllowed(_) => f.write_str("none")?,
        }
        f.write_str("]")
    }
}

fn name(f: &mut fmt::Formatter<'_>, rule: &MatchedRule) -> fmt::Result {
    let resource = &rule.origin.resource;
    let (namespace, name, rule) = (&resource.namespace, &resource.name, rule.rule);
    write!(f, "ns[{namespace}]-policy[{name}]-rule[{rule}]")
}
