//! Names of one mesh: its trust domain and the aliases of it.

use crate::Mesh;
use model::{NamePattern, ValueMatch, Values};
use std::sync::Arc;

/// What policies mean by the mesh whatever it is called.
const CLUSTER_LOCAL: &str = "cluster.local";

/// The trust domains whose identities are one another's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TrustDomains(Vec<Arc<str>>);

impl From<&Mesh> for TrustDomains {
    fn from(mesh: &Mesh) -> Self {
        let own = std::iter::once(&mesh.trust_domain);
        Self(own.chain(&mesh.trust_domain_aliases).cloned().collect())
    }
}

impl TrustDomains {
    /// The principals, each in every domain of the mesh when it is of one of them.
    pub(super) fn principals(&self, principals: &Values<ValueMatch>) -> Values<ValueMatch> {
        let in_all = |principals: &[ValueMatch]| {
            let all = principals.iter().flat_map(|one| self.in_all(one));
            all.collect()
        };
        Values {
            values: in_all(&principals.values),
            not_values: in_all(&principals.not_values),
        }
    }

    /// The trust domains, all of the mesh's when one of them is meant.
    pub(super) fn domains(&self, domains: &Values<NamePattern>) -> Values<NamePattern> {
        let with_aliases = |domains: &[NamePattern]| {
            let all = domains.iter().flat_map(|one| self.with_aliases(one));
            all.collect()
        };
        Values {
            values: with_aliases(&domains.values),
            not_values: with_aliases(&domains.not_values),
        }
    }

    /// The trust domain of a principal when it is none of the mesh's, so that nobody of the mesh is meant.
    pub(super) fn foreign<'p>(&self, principal: &'p str) -> Option<&'p str> {
        let (domain, _) = of_principal(principal)?;
        (!self.has(domain)).then_some(domain)
    }

    fn in_all(&self, principal: &ValueMatch) -> Vec<ValueMatch> {
        let written = principal.to_string();
        let Some((domain, path)) = of_principal(&written).filter(|(domain, _)| self.has(domain))
        else {
            return vec![principal.clone()];
        };
        let mut all = Vec::new();
        for own in &self.0 {
            // A suffix stands for those that have it.
            let is_meant = domain
                .strip_prefix('*')
                .is_some_and(|suffix| own.ends_with(suffix));
            let in_own = match is_meant {
                true => Ok(principal.clone()),
                false => ValueMatch::try_from(format!("{own}/{path}").as_str()),
            };
            let is_new = |one: &ValueMatch| !all.contains(one);
            all.extend(in_own.ok().filter(is_new));
        }
        all
    }

    fn with_aliases(&self, domain: &NamePattern) -> Vec<NamePattern> {
        if !self.0.iter().any(|own| **own == *domain.as_str()) {
            return vec![domain.clone()];
        }
        let all = self.0.iter();
        all.filter_map(|own| NamePattern::try_from(&**own).ok())
            .collect()
    }

    /// Whether a trust domain, with a star at its start or end, is one of the mesh's.
    fn has(&self, domain: &str) -> bool {
        let is = |own: &str| {
            let ends = domain.strip_prefix('*').map(|end| own.ends_with(end));
            let begins = domain.strip_suffix('*').map(|start| own.starts_with(start));
            domain == own || ends == Some(true) || begins == Some(true)
        };
        domain == CLUSTER_LOCAL || self.0.iter().any(|own| is(own))
    }
}

/// The trust domain and the rest of `trust-domain/ns/namespace/sa/account`. Absent: no trust domain is meant.
fn of_principal(principal: &str) -> Option<(&str, &str)> {
    let (domain, path) = principal.split_once('/')?;
    let is_whole = path.split('/').count() == 4;
    (is_whole && domain != "*").then_some((domain, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains(own: &[&str]) -> TrustDomains {
        TrustDomains(own.iter().map(|one| Arc::from(*one)).collect())
    }

    #[track_caller]
    fn check(own: &[&str], principal: &str, want: &[&str]) {
        let principal = ValueMatch::try_from(principal).unwrap();
        let got = domains(own).in_all(&principal);
        let got: Vec<_> = got.iter().map(ValueMatch::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_principal_of_the_mesh_is_one_of_all_its_domains() {
        let of = |domain: &str| format!("{domain}/ns/foo/sa/bar");
        let (old, new, local) = (of("old"), of("new"), of("cluster.local"));
        check(&["cluster.local"], &local, &[&local]);
        check(&["new", "old"], &old, &[&new, &old]);
        check(&["new", "old"], &new, &[&new, &old]);
        check(&["new", "old"], &local, &[&new, &old]);
        check(&["new"], &of("other"), &[&of("other")]);
        check(
            &["new", "foo-old", "cluster.local"],
            &of("*-old"),
            &[&new, &of("*-old"), &local],
        );
        check(&["old-td", "new-td"], &of("*-td"), &[&of("*-td")]);
        check(&["new", "old"], "ne*/ns/foo/sa/bar", &[&new, &old]);
        check(
            &["new", "old"],
            "new/ns/foo/sa/*",
            &["new/ns/foo/sa/*", "old/ns/foo/sa/*"],
        );
    }

    #[test]
    fn what_names_no_trust_domain_stays() {
        for principal in [
            "*",
            "*/ns/foo/sa/bar",
            "*sa/bar",
            "new/ns/*",
            "foo",
            "new/ns/a/b/c/d",
        ] {
            check(&["new", "old"], principal, &[principal]);
        }
    }

    #[test]
    fn a_trust_domain_of_the_mesh_is_all_of_them() {
        let with_aliases = |domain| {
            let all =
                domains(&["new", "old"]).with_aliases(&NamePattern::try_from(domain).unwrap());
            all.iter().map(NamePattern::to_string).collect::<Vec<_>>()
        };
        assert_eq!(with_aliases("old"), ["new", "old"]);
        assert_eq!(with_aliases("other"), ["other"]);
        assert_eq!(with_aliases("o*"), ["o*"]);
    }

    #[test]
    fn foreign_trust_domains_are_told() {
        let own = domains(&["new", "old"]);
        assert_eq!(own.foreign("other/ns/a/sa/b"), Some("other"));
        for principal in [
            "new/ns/a/sa/b",
            "cluster.local/ns/a/sa/b",
            "*/ns/a/sa/b",
            "x",
        ] {
            assert_eq!(own.foreign(principal), None, "{principal}");
        }
    }
}
