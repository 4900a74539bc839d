//! What the authorities of other trust domains vouch for: identities of their own domain, and nothing else.
//!
//! Source: SPIFFE Workload API, section 4.6.

use super::certificate::SubjectAltName;
use certificates::{SpiffeId, TrustDomain};
use std::collections::BTreeMap;

/// Something of each trust domain other than the own one.
#[derive(Clone, Debug)]
pub(crate) struct Federated<T>(BTreeMap<TrustDomain, T>);

impl<T> Default for Federated<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> FromIterator<(TrustDomain, T)> for Federated<T> {
    fn from_iter<I: IntoIterator<Item = (TrustDomain, T)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

impl<T> Federated<T> {
    /// The domain whose authorities must have signed a certificate, as its identity tells. `None`: the own one's.
    pub(crate) fn signer(&self, leaf: &[u8]) -> Option<(&TrustDomain, &T)> {
        if self.0.is_empty() {
            return None;
        }
        let id = SpiffeId::of_certificate(leaf).ok()?;
        self.0.get_key_value(id.trust_domain())
    }

    /// Whether a name counts in a certificate that this domain's authorities have signed. `None`: the own one's, which
    /// vouch for all names but the identities of others.
    pub(crate) fn vouches(&self, signer: Option<&TrustDomain>, name: &SubjectAltName) -> bool {
        self.domain_of(name) == signer
    }

    /// `None`: the own one, or none.
    fn domain_of(&self, name: &SubjectAltName) -> Option<&TrustDomain> {
        let SubjectAltName::Uri(uri) = name else {
            return None;
        };
        if self.0.is_empty() {
            return None;
        }
        let id: SpiffeId = uri.parse().ok()?;
        let (domain, _) = self.0.get_key_value(id.trust_domain())?;
        Some(domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_where_their_own_authorities_have_signed() {
        let other: TrustDomain = "other.test".parse().unwrap();
        let third: TrustDomain = "third.test".parse().unwrap();
        let all = [(other.clone(), ()), (third, ())];
        let federated: Federated<()> = all.into_iter().collect();
        let uri = |text: &str| SubjectAltName::Uri(text.to_owned());
        for (name, by_own, by_other) in [
            (uri("spiffe://mesh.test/a"), true, false),
            (uri("spiffe://other.test/a"), false, true),
            (uri("spiffe://third.test/a"), false, false),
            (uri("https://other.test/a"), true, false),
            (SubjectAltName::Dns("other.test".to_owned()), true, false),
        ] {
            assert_eq!(federated.vouches(None, &name), by_own, "{name}");
            assert_eq!(federated.vouches(Some(&other), &name), by_other, "{name}");
            let none = Federated::<()>::default();
            assert!(none.vouches(None, &name));
        }
    }
}
