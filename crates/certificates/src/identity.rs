//! Whose a certificate is in a mesh.

use crate::{InvalidSpiffeId, SpiffeId};
use x509_parser::prelude::{GeneralName, X509Certificate};

/// More of a name is not repeated.
const SHOWN: usize = 128;

/// Why a certificate is nobody's in a mesh: peers would refuse it.
///
/// Source: X509-SVID, sections 2 and 5.2.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidIdentity {
    /// It is none that is understood here.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It has no URI among its names.
    #[error("the certificate names no SPIFFE ID")]
    NoUri,
    /// It has more than one.
    #[error("the certificate names {0} URIs, and may name one alone, which is its SPIFFE ID")]
    ManyUris(usize),
    /// Its URI is something else.
    #[error("the certificate names {uri:?}, which is no SPIFFE ID: {reason}")]
    NotSpiffe {
        /// The URI, or how it begins.
        uri: String,
        /// What is wrong with it.
        reason: InvalidSpiffeId,
    },
    /// It may sign others, and must not stand for anybody itself.
    #[error("the certificate is an authority's")]
    Authority,
}

/// Whose this certificate is.
pub(crate) fn of(leaf: &X509Certificate<'_>) -> Result<SpiffeId, InvalidIdentity> {
    let uris = uris(leaf);
    let uri = match uris[..] {
        [uri] => uri,
        [] => return Err(InvalidIdentity::NoUri),
        _ => return Err(InvalidIdentity::ManyUris(uris.len())),
    };
    let id = uri.parse().map_err(|reason| InvalidIdentity::NotSpiffe {
        uri: uri.chars().take(SHOWN).collect(),
        reason,
    })?;
    if leaf.is_ca() {
        return Err(InvalidIdentity::Authority);
    }
    Ok(id)
}

fn uris<'c>(leaf: &'c X509Certificate<'_>) -> Vec<&'c str> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    let uris = names.filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    uris.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Credential;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, SanType};

    fn identity(names: &[&str], is_ca: IsCa) -> Result<String, InvalidIdentity> {
        let mut params = CertificateParams::new(vec!["also.test".to_owned()]).unwrap();
        let uri = |name: &&str| SanType::URI((*name).try_into().unwrap());
        params.subject_alt_names.extend(names.iter().map(uri));
        params.is_ca = is_ca;
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let credential =
            Credential::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes());
        let identity = credential.unwrap().identity;
        assert_eq!(SpiffeId::of_certificate(certificate.der()), identity);
        identity.map(|id| id.to_string())
    }

    #[test]
    fn a_certificate_is_somebody_s_by_its_only_uri() {
        let id = "spiffe://cluster.local/ns/shop/sa/cart";
        assert_eq!(identity(&[id], IsCa::NoCa), Ok(id.to_owned()));
        assert_eq!(identity(&[id], IsCa::ExplicitNoCa), Ok(id.to_owned()));
        let not_spiffe = |uri: &str, reason| InvalidIdentity::NotSpiffe {
            uri: uri.to_owned(),
            reason,
        };
        for (names, want) in [
            (&[][..], InvalidIdentity::NoUri),
            (&[id, "https://shop.test/"], InvalidIdentity::ManyUris(2)),
            (&[id, id], InvalidIdentity::ManyUris(2)),
            (
                &["https://shop.test/"],
                not_spiffe("https://shop.test/", InvalidSpiffeId::Scheme),
            ),
            (
                &["spiffe://cluster.local"],
                not_spiffe("spiffe://cluster.local", InvalidSpiffeId::NoPath),
            ),
        ] {
            assert_eq!(identity(names, IsCa::NoCa), Err(want), "{names:?}");
        }
        let authority = IsCa::Ca(BasicConstraints::Unconstrained);
        assert_eq!(identity(&[id], authority), Err(InvalidIdentity::Authority));
        let unreadable = SpiffeId::of_certificate(b"junk");
        assert_eq!(unreadable, Err(InvalidIdentity::Unreadable));
    }

    #[test]
    fn a_long_name_is_not_repeated_whole() {
        let long = format!("spiffe://cluster.local/{}", "a".repeat(3000));
        let refused = identity(&[&long], IsCa::NoCa).unwrap_err().to_string();
        assert!(refused.len() < 300, "{refused}");
    }
}
