//! The names of which a server's certificate must have one.

use crate::tls::certificate::{SubjectAltName, is_uri};
use rules::{ServerVerification, UpstreamTls};
use std::sync::Arc;

/// What identities of the mesh begin with.
const SPIFFE: &str = "spiffe://";

/// Which names count.
#[derive(Clone, Debug)]
pub(super) enum Names {
    /// The one that was sent, or the address where none was.
    Sent,
    /// Any identity: whom the mesh's authorities sign is in the mesh.
    ///
    /// Istio lists the service accounts of the service's pods here, which are not known to endpoints of a table.
    AnyIdentity,
    /// One of these.
    Listed(Vec<Arc<str>>),
}

impl Names {
    pub(super) fn of(tls: &UpstreamTls) -> Self {
        match &tls.verification {
            ServerVerification::Verified {
                subject_alt_names, ..
            } if !subject_alt_names.is_empty() => Self::Listed(subject_alt_names.clone()),
            _ if tls.mesh => Self::AnyIdentity,
            _ => Self::Sent,
        }
    }
}

pub(super) fn is_identity(name: &SubjectAltName) -> bool {
    matches!(name, SubjectAltName::Uri(uri) if uri.starts_with(SPIFFE))
}

/// Whether the certificate's name is what an entry asks for, whatever kind of name that is.
pub(super) fn is_of(presented: &SubjectAltName, entry: &str) -> bool {
    match presented {
        SubjectAltName::Dns(name) => is_host(name, entry),
        SubjectAltName::Address(address) => entry.parse() == Ok(*address),
        SubjectAltName::Email(email) => email == entry,
        SubjectAltName::Uri(uri) => is_uri(uri, entry),
    }
}

/// A wildcard of the certificate stands for the first label, as with Envoy; one for a part of it (`a*.test`), which
/// Envoy still takes, stands for nothing.
fn is_host(presented: &str, entry: &str) -> bool {
    if presented.eq_ignore_ascii_case(entry) {
        return true;
    }
    let Some(parent) = presented.strip_prefix("*.") else {
        return false;
    };
    let rest = entry.split_once('.').map(|(_, rest)| rest);
    !parent.contains('*') && rest.is_some_and(|rest| rest.eq_ignore_ascii_case(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(presented: &SubjectAltName, cases: &[(&str, bool)]) {
        for (entry, want) in cases {
            assert_eq!(is_of(presented, entry), *want, "{presented:?} for {entry}");
        }
    }

    #[test]
    fn hosts_have_no_case_and_wildcards_stand_for_one_label() {
        let exact = SubjectAltName::Dns("Shop.test".into());
        check(
            &exact,
            &[
                ("shop.test", true),
                ("a.shop.test", false),
                ("shop.*", false),
                ("*", false),
            ],
        );
        let wildcard = SubjectAltName::Dns("*.shop.test".into());
        check(
            &wildcard,
            &[
                ("A.shop.test", true),
                ("*.shop.test", true),
                ("shop.test", false),
                ("a.b.shop.test", false),
                ("a.other.test", false),
            ],
        );
        let part = SubjectAltName::Dns("a*.shop.test".into());
        check(&part, &[("ab.shop.test", false)]);
        let nested = SubjectAltName::Dns("*.*.test".into());
        check(&nested, &[("a.b.test", false), ("*.*.test", true)]);
    }

    #[test]
    fn identities_are_compared_whole_or_to_the_star() {
        let identity = SubjectAltName::Uri("spiffe://mesh/ns/shop/sa/web".into());
        check(
            &identity,
            &[
                ("spiffe://mesh/ns/shop/sa/web", true),
                ("spiffe://mesh/ns/shop/sa/we", false),
                ("spiffe://mesh/ns/shop/*", true),
                ("spiffe://mesh/ns/shops/*", false),
                ("SPIFFE://mesh/ns/shop/sa/web", false),
                ("*", false),
            ],
        );
    }

    #[test]
    fn addresses_are_compared_as_addresses() {
        let address = SubjectAltName::Address("2001:db8::1".parse().unwrap());
        check(
            &address,
            &[
                ("2001:db8::1", true),
                ("2001:0db8:0::1", true),
                ("2001:db8::2", false),
            ],
        );
    }
}
