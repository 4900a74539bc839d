//! A certificate chain with its key.

use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// A certificate chain and its key, which belong together.
#[derive(Clone, Debug)]
pub struct Credential {
    /// What TLS signs with.
    pub certified_key: Arc<CertifiedKey>,
    /// The DNS names and addresses of the leaf.
    pub names: Vec<String>,
    /// From when on the leaf is valid.
    pub not_before: SystemTime,
    /// Until when it is.
    pub not_after: SystemTime,
}

/// Why a chain and a key are no credential. Never says what is in the key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidCredential {
    /// The chain is no PEM.
    #[error("the certificate is not PEM: {0}")]
    CertificatePem(String),
    /// PEM without a certificate in it.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// The leaf cannot be read.
    #[error("the first certificate cannot be read: {0}")]
    Leaf(String),
    /// The key is no PEM, or there is none in it.
    #[error("the private key cannot be read: {0}")]
    Key(String),
    /// A kind of key that TLS here does not sign with.
    #[error("the private key is of a kind that is not supported: {0}")]
    KeyKind(String),
    /// The two do not belong together.
    #[error("the private key is not that of the first certificate")]
    Mismatch,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// Its time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
}

impl Credential {
    /// Reads a chain, the leaf first, and the leaf's key, both PEM.
    ///
    /// # Errors
    ///
    /// When one of them cannot be read, or they do not belong together. Its time is not looked at, see
    /// [`Self::check_time`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, InvalidCredential> {
        let chain = certificates(chain)
            .map_err(|error| InvalidCredential::CertificatePem(error.to_string()))?;
        let leaf = chain.first().ok_or(InvalidCredential::NoCertificate)?;
        let (_, parsed) = X509Certificate::from_der(leaf)
            .map_err(|error| InvalidCredential::Leaf(error.to_string()))?;
        let (names, validity) = (names(&parsed), parsed.validity().clone());
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| InvalidCredential::Key(pem_error(&error)))?;
        let key = any_supported_type(&key)
            .map_err(|error| InvalidCredential::KeyKind(error.to_string()))?;
        let certified_key = CertifiedKey::new(chain, key);
        certified_key
            .keys_match()
            .map_err(|_| InvalidCredential::Mismatch)?;
        Ok(Self {
            certified_key: Arc::new(certified_key),
            names,
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
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

/// A PEM error without the text it is about, which may be a key.
pub(crate) fn pem_error(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        _ => "it is not PEM".to_owned(),
    }
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
fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
