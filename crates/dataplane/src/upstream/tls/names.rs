//! Whether names of a server's certificate are those that are expected.

use crate::tls::certificate::{SubjectAltName, is_uri};
use rules::ExpectedNames;
use std::sync::Arc;

/// What identities of the mesh begin with.
const SPIFFE: &str = "spiffe://";

/// Whether a name is one of those. The name that is sent is looked for elsewhere.
pub(super) fn is_expected(presented: &SubjectAltName, expected: &ExpectedNames) -> bool {
    let is_listed = |entries: &[Arc<str>]| entries.iter().any(|entry| is_of(presented, entry));
    match expected {
        ExpectedNames::Sent => false,
        ExpectedNames::Listed(entries) => is_listed(entries),
        ExpectedNames::Account { identities, others } => {
            identities
                .iter()
                .any(|identity| is_identity(presented, identity))
                || is_listed(others)
        }
        ExpectedNames::TrustDomains(domains) => {
            let own = trust_domain(presented);
            own.is_some_and(|own| domains.iter().any(|domain| **domain == *own))
        }
    }
}

fn is_identity(presented: &SubjectAltName, identity: &str) -> bool {
    matches!(presented, SubjectAltName::Uri(uri) if uri == identity)
}

/// Of an identity in a mesh: one that names nobody there is none.
fn trust_domain(presented: &SubjectAltName) -> Option<&str> {
    let SubjectAltName::Uri(uri) = presented else {
        return None;
    };
    let (domain, path) = uri.strip_prefix(SPIFFE)?.split_once('/')?;
    (!path.is_empty()).then_some(domain)
}

/// Whether the certificate's name is what an entry asks for, whatever kind of name that is.
fn is_of(presented: &SubjectAltName, entry: &str) -> bool {
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
    fn accounts_are_compared_whole_and_names_beside_them_as_listed() {
        let expected = ExpectedNames::Account {
            identities: vec![
                "spiffe://mesh/ns/shop/sa/web".into(),
                "spiffe://old/ns/shop/sa/*".into(),
            ],
            others: vec!["shop.test".into(), "spiffe://vm/*".into()],
        };
        let uri = |text: &str| SubjectAltName::Uri(text.to_owned());
        for (presented, want) in [
            (uri("spiffe://mesh/ns/shop/sa/web"), true),
            (uri("spiffe://mesh/ns/shop/sa/webs"), false),
            (uri("spiffe://foreign/ns/shop/sa/web"), false),
            // What is no star in an account is none here.
            (uri("spiffe://old/ns/shop/sa/web"), false),
            (uri("spiffe://vm/a"), true),
            (SubjectAltName::Dns("shop.test".to_owned()), true),
            (
                SubjectAltName::Dns("spiffe://mesh/ns/shop/sa/web".to_owned()),
                false,
            ),
        ] {
            assert_eq!(is_expected(&presented, &expected), want, "{presented}");
        }
    }

    #[test]
    fn trust_domains_are_those_of_identities() {
        let expected = ExpectedNames::TrustDomains(vec!["mesh".into(), "old".into()]);
        let uri = |text: &str| SubjectAltName::Uri(text.to_owned());
        for (presented, want) in [
            (uri("spiffe://mesh/ns/shop/sa/web"), true),
            (uri("spiffe://old/anybody"), true),
            (uri("spiffe://meshes/ns/shop/sa/web"), false),
            (uri("spiffe://mesh.foreign/ns/shop/sa/web"), false),
            (uri("spiffe://foreign/mesh/"), false),
            (uri("spiffe://mesh"), false),
            (uri("spiffe://mesh/"), false),
            (uri("https://mesh/a"), false),
            (SubjectAltName::Dns("mesh".to_owned()), false),
        ] {
            assert_eq!(is_expected(&presented, &expected), want, "{presented}");
        }
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
