//! A certificate chain with its key.

use crate::der::{NOT_DER, split};
use crate::{InvalidIdentity, SpiffeId, identity};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::der_parser::asn1_rs::Sequence;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate chain and its key, which belong together.
#[derive(Clone)]
pub struct Credential {
    /// What TLS signs with.
    pub certified_key: Arc<CertifiedKey>,
    /// The DNS names and addresses of the leaf.
    pub names: Vec<String>,
    /// Whose the leaf is in a mesh, or why it is nobody's.
    pub identity: Result<SpiffeId, InvalidIdentity>,
    /// From when on the leaf is valid.
    pub not_before: SystemTime,
    /// Until when it is.
    pub not_after: SystemTime,
}

/// More certificates than any chain has.
const MAX_CHAIN: usize = 32;

/// Why a chain and a key are no credential. Never says what is in the key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCredential {
    /// The chain is neither PEM nor DER.
    #[error("the certificate cannot be read: {0}")]
    Chain(&'static str),
    /// There is no certificate in it.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// More than a chain.
    #[error("there are more than {MAX_CHAIN} certificates in it")]
    TooLong,
    /// The leaf cannot be read.
    #[error("the first certificate cannot be read: {0}")]
    Leaf(String),
    /// The key is no PEM, or there is none in it.
    #[error("the private key cannot be read: {0}")]
    Key(&'static str),
    /// The key can only be read with a passphrase, which nobody is there to type.
    #[error("the private key is encrypted with a passphrase")]
    EncryptedKey,
    /// A kind of key that TLS here does not sign with.
    #[error("the private key is damaged, or of a kind that is not supported")]
    KeyKind,
    /// The two do not belong together.
    #[error("the private key is not that of the certificate")]
    Mismatch,
    /// They do, but another certificate comes first.
    #[error("the private key is that of certificate {0}, and the first must be its own")]
    Order(usize),
    /// What is to be stapled is no answer of an OCSP server.
    #[error("the OCSP staple is not a DER sequence")]
    Staple,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
}

impl fmt::Debug for Credential {
    /// Without what could lead to the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            certified_key,
            names,
            identity,
            not_before,
            not_after,
        } = self;
        f.debug_struct("Credential")
            .field("certificates", &certified_key.cert.len())
            .field("names", names)
            .field("identity", identity)
            .field("not_before", not_before)
            .field("not_after", not_after)
            .finish_non_exhaustive()
    }
}

impl Credential {
    /// Reads a chain, the leaf first, and the leaf's key, both PEM.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, or they do not belong together. Its time is not looked at, see
    /// [`Self::check_time`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, InvalidCredential> {
        let chain =
            certificates(chain).map_err(|error| InvalidCredential::Chain(of_pem(&error)))?;
        // What is wrong with the chain is told before what is wrong with the key.
        Self::new(chain, || private_key(key))
    }

    /// The same in DER: certificates one after the other, the leaf first, and the leaf's key in PKCS #8.
    ///
    /// # Errors
    ///
    /// Likewise.
    pub fn from_der(chain: &[u8], key: &[u8]) -> Result<Self, InvalidCredential> {
        let chain = split(chain).ok_or(InvalidCredential::Chain(NOT_DER))?;
        let chain = chain.into_iter().map(|one| one.to_vec().into()).collect();
        Self::new(chain, || Ok(PrivatePkcs8KeyDer::from(key.to_vec()).into()))
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: impl FnOnce() -> Result<PrivateKeyDer<'static>, InvalidCredential>,
    ) -> Result<Self, InvalidCredential> {
        let leaf = chain.first().ok_or(InvalidCredential::NoCertificate)?;
        if chain.len() > MAX_CHAIN {
            return Err(InvalidCredential::TooLong);
        }
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| InvalidCredential::Leaf(error.to_string()))?;
        let (names, validity) = (names(&parsed), parsed.validity().clone());
        let identity = identity::of(&parsed);
        let key = any_supported_type(&key()?).map_err(|_| InvalidCredential::KeyKind)?;
        let certified_key = CertifiedKey::new(chain, key);
        check_match(&certified_key)?;
        Ok(Self {
            certified_key: Arc::new(certified_key),
            names,
            identity,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }

    /// The same with an OCSP server's answer, DER, which is shown to clients that ask for it. Whether the
    /// answer is good and how old it is, clients judge.
    ///
    /// # Errors
    ///
    /// When it is nothing that such a server says.
    pub fn with_staple(self, staple: &[u8]) -> Result<Self, InvalidCredential> {
        let (rest, _) = Sequence::from_der(staple).map_err(|_| InvalidCredential::Staple)?;
        if !rest.is_empty() {
            return Err(InvalidCredential::Staple);
        }
        let mut certified_key = CertifiedKey::clone(&self.certified_key);
        certified_key.ocsp = Some(staple.to_vec());
        Ok(Self {
            certified_key: Arc::new(certified_key),
            ..self
        })
    }

    /// Whether `now` is within the leaf's time.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check_time(&self, now: SystemTime) -> Result<(), InvalidCredential> {
        if now < self.not_before {
            return Err(InvalidCredential::NotYetValid);
        }
        if now > self.not_after {
            return Err(InvalidCredential::Expired);
        }
        Ok(())
    }
}

/// All certificates of a PEM text; other sections are skipped.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// What is wrong with a PEM text, without the text, which may be a key.
pub(crate) fn of_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::NoItemsFound => "there is none in it",
        pem::Error::MissingSectionEnd { .. } => "it is cut off",
        pem::Error::Base64Decode(_) => "it is not valid Base64",
        _ => "it is not PEM",
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, InvalidCredential> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        _ if is_encrypted(pem) => InvalidCredential::EncryptedKey,
        error => InvalidCredential::Key(of_pem(&error)),
    })
}

/// Source: RFC 5958 (`ENCRYPTED PRIVATE KEY`), RFC 1421 (`Proc-Type`).
fn is_encrypted(pem: &[u8]) -> bool {
    let holds = |needle: &[u8]| pem.windows(needle.len()).any(|window| window == needle);
    holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED")
}

fn check_match(certified_key: &CertifiedKey) -> Result<(), InvalidCredential> {
    match certified_key.keys_match() {
        Ok(()) => Ok(()),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(place_of_leaf(certified_key)
                .map_or(InvalidCredential::Mismatch, InvalidCredential::Order))
        }
        Err(error) => Err(InvalidCredential::Leaf(error.to_string())),
    }
}

/// Which certificate of the chain the key belongs to, counted from 1.
fn place_of_leaf(certified_key: &CertifiedKey) -> Option<usize> {
    let belongs = |certificate: &CertificateDer<'static>| {
        let alone = CertifiedKey::new(vec![certificate.clone()], certified_key.key.clone());
        alone.keys_match().is_ok()
    };
    let place = certified_key.cert.iter().position(belongs)?;
    Some(place + 1)
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

/// Seconds of the Unix epoch; what lies before it is the epoch.
pub(crate) fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
