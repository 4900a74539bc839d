//! Whom a server must be, when it is known which workload it is.

use crate::{Account, ServerNames};
use std::fmt;
use std::sync::Arc;

/// Names of which the certificate of one server must have one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExpectedNames {
    /// The one that is sent.
    Sent,
    /// These, as [`ServerNames::Listed`].
    Listed(Vec<Arc<str>>),
    /// The identity of one account, or a name that its service lists.
    Account {
        /// The account in each trust domain. They count as they are, whatever is in them.
        identities: Vec<Arc<str>>,
        /// As [`Self::Listed`]. May be empty.
        others: Vec<Arc<str>>,
    },
    /// Any identity in one of these trust domains.
    TrustDomains(Vec<Arc<str>>),
}

impl ServerNames {
    /// What is asked of a server with this account. Absent: it is not known.
    pub fn expected(&self, account: Option<&Account>) -> ExpectedNames {
        match (self, account) {
            (Self::Sent, _) => ExpectedNames::Sent,
            (Self::Listed(names), _) => ExpectedNames::Listed(names.clone()),
            (Self::Workload(names), Some(account)) => {
                let domains = names.trust_domains.iter();
                ExpectedNames::Account {
                    identities: domains
                        .map(|domain| account.identity(domain).into())
                        .collect(),
                    others: names.others.clone(),
                }
            }
            (Self::Workload(names), None) if names.others.is_empty() => {
                ExpectedNames::TrustDomains(names.trust_domains.clone())
            }
            (Self::Workload(names), None) => ExpectedNames::Listed(names.others.clone()),
        }
    }

    /// Whether it makes a difference whose account it is.
    pub fn depend_on_account(&self) -> bool {
        matches!(self, Self::Workload(_))
    }
}

impl fmt::Display for ExpectedNames {
    /// `"spiffe://cluster.local/ns/shop/sa/cart" or "cart.test"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent => f.write_str("the name that is sent"),
            Self::Listed(names) => either(names.iter(), f),
            Self::Account { identities, others } => either(identities.iter().chain(others), f),
            Self::TrustDomains(domains) => {
                f.write_str("an identity in ")?;
                either(domains.iter(), f)
            }
        }
    }
}

fn either<'n>(
    names: impl Iterator<Item = &'n Arc<str>>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (index, name) in names.enumerate() {
        let or = if index == 0 { "" } else { " or " };
        write!(f, "{or}{name:?}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorkloadNames;

    fn cart() -> Account {
        Account {
            namespace: "shop".into(),
            name: "cart".into(),
        }
    }

    fn of_workload(domains: &[&str], others: &[&str]) -> ServerNames {
        let shared = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        ServerNames::Workload(WorkloadNames {
            trust_domains: shared(domains),
            others: shared(others),
        })
    }

    #[track_caller]
    fn check(names: &ServerNames, account: Option<&Account>, want: &str) {
        assert_eq!(names.expected(account).to_string(), want);
    }

    #[test]
    fn a_workload_is_who_it_is_in_every_trust_domain_or_one_of_its_service() {
        let account = cart();
        check(
            &of_workload(&["cluster.local", "old.local"], &[]),
            Some(&account),
            "\"spiffe://cluster.local/ns/shop/sa/cart\" or \"spiffe://old.local/ns/shop/sa/cart\"",
        );
        check(
            &of_workload(&["cluster.local"], &["cart.test"]),
            Some(&account),
            "\"spiffe://cluster.local/ns/shop/sa/cart\" or \"cart.test\"",
        );
    }

    #[test]
    fn a_workload_that_nobody_knows_is_anybody_of_the_mesh_unless_its_service_has_names() {
        check(
            &of_workload(&["cluster.local", "old.local"], &[]),
            None,
            "an identity in \"cluster.local\" or \"old.local\"",
        );
        check(
            &of_workload(&["cluster.local"], &["cart.test"]),
            None,
            "\"cart.test\"",
        );
    }

    #[test]
    fn what_a_rule_lists_counts_whoever_it_is() {
        let listed = ServerNames::Listed(vec!["a.test".into(), "b.test".into()]);
        check(&listed, Some(&cart()), "\"a.test\" or \"b.test\"");
        check(&ServerNames::Sent, Some(&cart()), "the name that is sent");
    }
}
