//! Identities of a mesh and the trust domains they are in.
//!
//! Source: SPIFFE-ID, section 2.

use crate::{InvalidIdentity, identity};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What an identity begins with.
const SCHEME: &str = "spiffe://";

/// The longest identity that everybody reads.
const MAX_ID: usize = 2048;

/// The longest host of a URI.
const MAX_TRUST_DOMAIN: usize = 255;

/// Whose authorities speak for an identity: `cluster.local`. In lower case, 1 to 255 characters.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TrustDomain(Arc<str>);

/// Who somebody is in a mesh: `spiffe://cluster.local/ns/shop/sa/cart`.
///
/// It always has a path: without one it would be a trust domain.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins, with its slash.
    path_at: usize,
}

/// Why a text is no [`SpiffeId`] or no [`TrustDomain`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// Another scheme, or none.
    #[error("it does not begin with spiffe://")]
    Scheme,
    /// Longer than everybody reads.
    #[error("it is longer than {MAX_ID} bytes")]
    TooLong,
    /// Nothing between the scheme and the path.
    #[error("its trust domain is empty")]
    NoTrustDomain,
    /// Longer than a host may be.
    #[error("its trust domain is longer than {MAX_TRUST_DOMAIN} bytes")]
    LongTrustDomain,
    /// A port, a user or an upper-case letter among others.
    #[error(
        "its trust domain has {0:?} in it, and may have a-z, 0-9, dots, dashes and underscores"
    )]
    TrustDomain(char),
    /// It is nobody's who could show a certificate.
    #[error("it has no path")]
    NoPath,
    /// Two slashes in a row, or one at the end.
    #[error("its path has an empty segment")]
    EmptySegment,
    /// `.` or `..`.
    #[error("its path has a segment that is . or ..")]
    Relative,
    /// A query, a fragment or an escape among others.
    #[error("its path has {0:?} in it, and may have letters, digits, dots, dashes and underscores")]
    Path(char),
}

impl TrustDomain {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidSpiffeId;

    /// Of its name, or of its SPIFFE ID, which is the name after `spiffe://`.
    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        check_trust_domain(name)?;
        Ok(Self(name.into()))
    }
}

impl Borrow<str> for TrustDomain {
    /// So that a map of them is asked by the name in an identity.
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl SpiffeId {
    /// Whose this certificate is, DER.
    ///
    /// # Errors
    ///
    /// When it is nobody's in a mesh.
    pub fn of_certificate(der: &[u8]) -> Result<Self, InvalidIdentity> {
        let (_, leaf) = X509Certificate::from_der(der).map_err(|_| InvalidIdentity::Unreadable)?;
        identity::of(&leaf)
    }

    /// As it stands in certificates.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of its trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.path_at]
    }

    /// What comes after the trust domain, with its slash.
    pub fn path(&self) -> &str {
        &self.text[self.path_at..]
    }

    /// The namespace. `None`: its path is not `/ns/NAMESPACE/sa/ACCOUNT`, which is Istio's.
    pub fn namespace(&self) -> Option<&str> {
        self.workload().map(|(namespace, _)| namespace)
    }

    /// The service account. `None`: likewise.
    pub fn service_account(&self) -> Option<&str> {
        self.workload().map(|(_, account)| account)
    }

    /// Namespace and service account.
    fn workload(&self) -> Option<(&str, &str)> {
        let rest = self.path().strip_prefix("/ns/")?;
        let (namespace, rest) = rest.split_once('/')?;
        let account = rest.strip_prefix("sa/")?;
        (!account.contains('/')).then_some((namespace, account))
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > MAX_ID {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let name = rest.find('/').map_or(rest, |slash| &rest[..slash]);
        check_trust_domain(name)?;
        let path = &rest[name.len()..];
        check_path(path)?;
        Ok(Self {
            text: text.into(),
            path_at: SCHEME.len() + name.len(),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

fn check_trust_domain(name: &str) -> Result<(), InvalidSpiffeId> {
    let is_allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_');
    match name.len() {
        0 => return Err(InvalidSpiffeId::NoTrustDomain),
        1..=MAX_TRUST_DOMAIN => {}
        _ => return Err(InvalidSpiffeId::LongTrustDomain),
    }
    let foreign = name.chars().find(|c| !is_allowed(*c));
    foreign.map_or(Ok(()), |c| Err(InvalidSpiffeId::TrustDomain(c)))
}

/// Empty, or from its slash on.
fn check_path(path: &str) -> Result<(), InvalidSpiffeId> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    let Some(segments) = path.strip_prefix('/') else {
        return Err(InvalidSpiffeId::NoPath);
    };
    if segments.is_empty() {
        return Err(InvalidSpiffeId::NoPath);
    }
    if let Some(foreign) = path.chars().find(|c| !is_allowed(*c)) {
        return Err(InvalidSpiffeId::Path(foreign));
    }
    for segment in segments.split('/') {
        match segment {
            "" => return Err(InvalidSpiffeId::EmptySegment),
            "." | ".." => return Err(InvalidSpiffeId::Relative),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
