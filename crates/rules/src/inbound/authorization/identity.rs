//! The identity in a client's certificate.

use model::{NamePattern, ServiceAccountRef, ValueMatch};

const SCHEME: &str = "spiffe://";

/// A URI such as `spiffe://cluster.local/ns/shop/sa/web`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a>(pub(super) &'a str);

impl<'a> Identity<'a> {
    /// Whether it is one of these, which are written without the scheme.
    pub(super) fn is(self, principal: &ValueMatch) -> bool {
        match (principal, self.0.strip_prefix(SCHEME)) {
            (ValueMatch::Present, _) => !self.0.is_empty(),
            (_, Some(rest)) => principal.matches(rest.as_bytes()),
            (_, None) => false,
        }
    }

    pub(super) fn is_of_namespace(self, namespace: &NamePattern) -> bool {
        let mut namespaces = values_of("ns", self.path());
        namespaces.any(|(name, behind)| behind.is_some() && namespace.matches(name))
    }

    pub(super) fn is_of_trust_domain(self, domain: &NamePattern) -> bool {
        let rest = self.0.strip_prefix(SCHEME);
        let own = rest.and_then(|rest| rest.split('/').next());
        own.is_some_and(|own| domain.matches(own))
    }

    pub(super) fn is_service_account(self, account: &ServiceAccountRef) -> bool {
        let has_account = |path| {
            let mut accounts = values_of("sa", path);
            accounts.any(|(name, _)| name == account.name)
        };
        let mut namespaces = values_of("ns", self.path());
        namespaces
            .any(|(name, behind)| name == &*account.namespace && behind.is_some_and(has_account))
    }

    /// What follows the trust domain.
    fn path(self) -> &'a str {
        let rest = self.0.strip_prefix(SCHEME);
        let parts = rest.and_then(|rest| rest.split_once('/'));
        parts.map_or("", |(_, path)| path)
    }
}

/// The segments that follow one named `key`, each with what is behind it.
fn values_of<'a>(
    key: &'static str,
    path: &'a str,
) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    let mut left = Some(path);
    std::iter::from_fn(move || {
        loop {
            let (segment, behind) = first_segment(left?);
            left = behind;
            if segment == key {
                return behind.map(first_segment);
            }
        }
    })
}

fn first_segment(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((segment, behind)) => (segment, Some(behind)),
        None => (path, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn account(namespace: &str, name: &str) -> ServiceAccountRef {
        ServiceAccountRef {
            namespace: Arc::from(namespace),
            name: name.to_owned(),
        }
    }

    #[test]
    fn namespaces_and_accounts_are_whole_segments() {
        let cases = [
            ("spiffe://td/ns/shop/sa/web", true, true),
            ("spiffe://td/ns/shop/sa/web/x", true, true),
            ("spiffe://td/a/b/ns/shop/c/d/sa/web", true, true),
            ("spiffe://td/ns/shop/sa/web2", true, false),
            ("spiffe://td/ns/shop2/sa/web", false, false),
            ("spiffe://td/ns/shop", false, false),
            ("spiffe://td/ns/other/ns/shop/sa/web", true, true),
            ("spiffe://td/ns/ns/shop/sa/web", true, true),
            ("spiffe://td/sa/web/ns/shop/x", true, false),
            ("spiffe://td/ns/shop/sa", true, false),
            ("spiffe://td/xns/shop/sa/web", false, false),
            ("spiffe://td", false, false),
            ("spiffe://ns/shop/sa/web", false, false),
            ("https://td/ns/shop/sa/web", false, false),
            ("", false, false),
        ];
        let namespace = NamePattern::try_from("shop").unwrap();
        for (uri, of_namespace, of_account) in cases {
            let identity = Identity(uri);
            assert_eq!(identity.is_of_namespace(&namespace), of_namespace, "{uri}");
            let is = identity.is_service_account(&account("shop", "web"));
            assert_eq!(is, of_account, "{uri}");
        }
    }

    #[test]
    fn principals_are_compared_without_scheme() {
        let cases = [
            ("spiffe://td/ns/a/sa/b", "td/ns/a/sa/b", true),
            ("spiffe://td/ns/a/sa/b", "td/ns/a/*", true),
            ("spiffe://td/ns/a/sa/b", "*/sa/b", true),
            ("spiffe://td/ns/a/sa/b", "*", true),
            ("spiffe://td/ns/a/sa/b", "spiffe://td/ns/a/sa/b", false),
            ("spiffe://td/ns/a/sa/B", "td/ns/a/sa/b", false),
            ("urn:x", "*", true),
            ("urn:x", "*x", false),
            ("", "*", false),
        ];
        for (uri, principal, want) in cases {
            let principal = ValueMatch::try_from(principal).unwrap();
            assert_eq!(Identity(uri).is(&principal), want, "{uri} {principal}");
        }
    }

    #[test]
    fn a_trust_domain_is_all_before_the_path() {
        let is =
            |uri, domain| Identity(uri).is_of_trust_domain(&NamePattern::try_from(domain).unwrap());
        assert!(is("spiffe://td/ns/a/sa/b", "td"));
        assert!(is("spiffe://td", "t*"));
        assert!(!is("spiffe://td2/ns/a/sa/b", "td"));
        assert!(!is("urn:td", "td"));
    }
}
