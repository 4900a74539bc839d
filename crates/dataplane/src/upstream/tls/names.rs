//! Whether a certificate has one of the names that are asked for.

use crate::tls::certificate::SubjectAltName;
use std::net::IpAddr;
use std::sync::Arc;

/// A name that a certificate may have.
///
/// Source: Istio `ClientTLSSettings.subject_alt_names`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum NameMatch {
    Exact(Arc<str>),
    /// What was written before a `*` at the end.
    Prefix(Box<str>),
    Address(IpAddr),
}

impl NameMatch {
    pub(super) fn parse(text: &Arc<str>) -> Self {
        if let Ok(address) = text.parse() {
            return Self::Address(address);
        }
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.into()),
            None => Self::Exact(text.clone()),
        }
    }

    pub(super) fn matches(&self, name: &SubjectAltName) -> bool {
        match (self, name) {
            (Self::Address(wanted), SubjectAltName::Address(address)) => wanted == address,
            (Self::Exact(wanted), SubjectAltName::Dns(name)) => covers(name, wanted),
            (Self::Exact(wanted), SubjectAltName::Uri(text) | SubjectAltName::Email(text)) => {
                **wanted == **text
            }
            (Self::Prefix(prefix), SubjectAltName::Dns(name)) => name
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix)),
            (Self::Prefix(prefix), SubjectAltName::Uri(text) | SubjectAltName::Email(text)) => {
                text.starts_with(&**prefix)
            }
            _ => false,
        }
    }
}

/// Whether a name in a certificate, which may begin with `*.`, stands for a host. Case does not count, and the
/// wildcard is one label (RFC 6125).
fn covers(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(parent), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && rest.eq_ignore_ascii_case(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(name: &str) -> SubjectAltName {
        SubjectAltName::Dns(name.to_owned())
    }

    fn uri(text: &str) -> SubjectAltName {
        SubjectAltName::Uri(text.to_owned())
    }

    #[track_caller]
    fn check(wanted: &str, cases: &[(SubjectAltName, bool)]) {
        let wanted = NameMatch::parse(&wanted.into());
        for (name, want) in cases {
            assert_eq!(wanted.matches(name), *want, "{wanted:?} on {name:?}");
        }
    }

    #[test]
    fn a_host_is_matched_without_regard_to_case_and_by_one_label_of_a_wildcard() {
        check(
            "pay.shop.test",
            &[
                (dns("PAY.shop.test"), true),
                (dns("*.shop.test"), true),
                (dns("*.test"), false),
                (dns("shop.test"), false),
                (uri("pay.shop.test"), true),
                (SubjectAltName::Address([127, 0, 0, 1].into()), false),
            ],
        );
    }

    #[test]
    fn an_identity_is_matched_to_the_letter() {
        let identity = "spiffe://cluster.local/ns/shop/sa/pay";
        check(
            identity,
            &[
                (uri(identity), true),
                (uri("spiffe://cluster.local/ns/shop/sa/PAY"), false),
                (uri("spiffe://cluster.local/ns/shop/sa/pay2"), false),
            ],
        );
    }

    #[test]
    fn a_star_at_the_end_stands_for_any_rest() {
        check(
            "spiffe://cluster.local/ns/shop/*",
            &[
                (uri("spiffe://cluster.local/ns/shop/sa/pay"), true),
                (uri("spiffe://cluster.local/ns/other/sa/pay"), false),
            ],
        );
        check(
            "api.*",
            &[
                (dns("API.shop.test"), true),
                (dns("ap"), false),
                (dns("añi.x"), false),
            ],
        );
    }

    #[test]
    fn an_address_is_matched_as_an_address() {
        check(
            "::1",
            &[
                (
                    SubjectAltName::Address("0:0:0:0:0:0:0:1".parse().unwrap()),
                    true,
                ),
                (SubjectAltName::Address([127, 0, 0, 1].into()), false),
                (dns("::1"), false),
            ],
        );
    }
}
