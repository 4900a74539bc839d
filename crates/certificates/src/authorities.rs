//! Authorities of certificates, and their revocations.

use crate::credential::{certificates, pem_error};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::sync::Arc;

/// Whose certificates are trusted, and which of these are revoked.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// The authorities' certificates, as they came.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The same, ready to verify with.
    pub roots: Arc<RootCertStore>,
    /// Lists of revoked certificates. Empty: nothing is known to be revoked.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
}

/// Why something is no set of authorities.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAuthorities {
    /// No PEM.
    #[error("the authorities cannot be read: {0}")]
    Pem(String),
    /// PEM without a certificate in it.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// One of them cannot be an authority.
    #[error("certificate {index} cannot be used as an authority: {reason}")]
    Unusable {
        /// Counted from 1.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The revocations are no PEM, or none are in it.
    #[error("the revocations cannot be read: {0}")]
    Revocations(String),
}

impl Authorities {
    /// Reads authorities, and revocations if there are any, all PEM.
    ///
    /// # Errors
    ///
    /// When they cannot be read or used.
    pub fn from_pem(
        authorities: &[u8],
        revocations: Option<&[u8]>,
    ) -> Result<Self, InvalidAuthorities> {
        let certificates = certificates(authorities)
            .map_err(|error| InvalidAuthorities::Pem(pem_error(&error)))?;
        if certificates.is_empty() {
            return Err(InvalidAuthorities::NoCertificate);
        }
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            let added = roots.add(certificate.clone());
            added.map_err(|error| InvalidAuthorities::Unusable {
                index: index + 1,
                reason: error.to_string(),
            })?;
        }
        Ok(Self {
            certificates,
            roots: Arc::new(roots),
            revocations: revocations.map(lists).transpose()?.unwrap_or_default(),
        })
    }
}

fn lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, InvalidAuthorities> {
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    match lists {
        Ok(lists) if lists.is_empty() => Err(InvalidAuthorities::Revocations(
            "there is none in it".into(),
        )),
        Ok(lists) => Ok(lists),
        Err(error) => Err(InvalidAuthorities::Revocations(pem_error(&error))),
    }
}
