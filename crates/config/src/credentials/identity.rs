//! The proxy's identity in the mesh, where a source tells it and no file holds it.

use super::material::{Bytes, Material};
use super::problem::Problem;
use certificates::{SpiffeId, TrustDomain};
use model::SecretBytes;
use std::collections::BTreeMap;

/// What a source says about the proxy's identity in the mesh.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Identity {
    /// What was issued, whole: nothing of what was told before counts beside it.
    Issued(Box<IssuedIdentity>),
    /// There is nothing newer, and why, as it follows the name of the source: `cannot be reached: no such file`.
    /// What was issued before stays.
    Unavailable(String),
}

/// An identity and whom to trust. All of it is DER; where there are several, one stands after the other.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssuedIdentity {
    /// Whose it is said to be. The certificate must be the same one's.
    pub id: SpiffeId,
    /// The certificate, then its intermediates.
    pub chain: Vec<u8>,
    /// The certificate's key, in PKCS #8.
    pub key: SecretBytes,
    /// The authorities of its trust domain.
    pub authorities: Vec<u8>,
    /// Lists of what these revoked. Empty: nothing is known to be revoked.
    pub revocations: Vec<u8>,
    /// The authorities of other trust domains, each for identities of its own.
    pub federated: BTreeMap<TrustDomain, Vec<u8>>,
}

/// What was told, and what is left of it.
#[derive(Debug, Default)]
pub(super) struct ToldIdentity {
    issued: Option<Box<IssuedIdentity>>,
    /// Why there is nothing newer.
    trouble: Option<String>,
    /// Whether a server or a cluster needs it.
    is_needed: bool,
}

impl ToldIdentity {
    /// Takes in what the source told. Returns whether anything is different from before.
    pub(super) fn apply(&mut self, news: Identity) -> bool {
        let (issued, trouble) = match news {
            Identity::Issued(issued) => (Some(issued), None),
            Identity::Unavailable(why) => (self.issued.take(), Some(why)),
        };
        let is_different = self.issued != issued || self.trouble != trouble;
        (self.issued, self.trouble) = (issued, trouble);
        is_different
    }

    /// Notes whether it is needed. Returns whether it was not so far.
    pub(super) fn need(&mut self, is_needed: bool) -> bool {
        is_needed && !std::mem::replace(&mut self.is_needed, is_needed)
    }

    /// Whether it is needed, and nothing was told of it yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_needed && self.issued.is_none() && self.trouble.is_none()
    }

    /// Why what was issued is not followed by anything newer.
    pub(super) fn trouble(&self, source: &str) -> Option<Problem> {
        let reason = self.trouble.clone()?;
        Some(Problem::Unavailable {
            source: source.to_owned(),
            reason,
        })
    }

    pub(super) fn certificate(&self, source: &str) -> Result<Material<'_>, Problem> {
        let issued = self.issued(source)?;
        Ok(material(
            source,
            Bytes::Svid {
                id: &issued.id,
                chain: &issued.chain,
                key: issued.key.as_bytes(),
            },
        ))
    }

    pub(super) fn authorities(&self, source: &str) -> Result<Material<'_>, Problem> {
        let issued = self.issued(source)?;
        Ok(material(
            source,
            Bytes::Bundles {
                authorities: &issued.authorities,
                revocations: (!issued.revocations.is_empty()).then_some(&issued.revocations[..]),
                federated: &issued.federated,
            },
        ))
    }

    fn issued(&self, source: &str) -> Result<&IssuedIdentity, Problem> {
        match &self.issued {
            Some(issued) => Ok(issued),
            None => Err(self.trouble(source).unwrap_or(Problem::NotTold)),
        }
    }
}

fn material<'a>(source: &str, bytes: Bytes<'a>) -> Material<'a> {
    Material {
        source: source.to_owned(),
        list: None,
        bytes,
    }
}
