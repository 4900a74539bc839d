//! Authorities of certificates, and their revocations.

use crate::TrustDomain;
use crate::credential::{certificates, of_pem, time};
use crate::der::{NOT_DER, split};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;
use x509_parser::prelude::{ASN1Time, CertificateRevocationList, FromDer, X509Certificate};

/// More authorities than any bundle of them has.
const MAX_AUTHORITIES: usize = 4096;

/// Whose certificates are trusted, and which of these are revoked.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// The authorities' certificates, as they came.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The same, ready to verify with.
    pub roots: Arc<RootCertStore>,
    /// Lists of revoked certificates. Empty: nothing is known to be revoked.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    /// The subjects, as RFC 4514 writes them about.
    pub names: Vec<String>,
    /// When the first of them expires. That it has does not keep it from being trusted: an authority is trusted
    /// because it is named.
    pub not_after: SystemTime,
    /// When the first of the lists was to be followed by a newer one. That it was not keeps none from counting:
    /// what was revoked stays so. Absent: there is no list, or none says when.
    pub next_update: Option<SystemTime>,
    /// The authorities of other trust domains. Each counts for identities of its own domain, and never for any
    /// other: they are not among these. Empty: no other domain is trusted.
    pub federated: BTreeMap<TrustDomain, Arc<Self>>,
}

/// Authorities that were read anew and say the same are the same: all else is made of these.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
            && self.revocations == other.revocations
            && self.federated == other.federated
    }
}

impl Eq for Authorities {}

type Revocations = Vec<CertificateRevocationListDer<'static>>;

/// A list of revocations was to be followed by a newer one by now.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("its nextUpdate was {0}")]
pub struct LapsedRevocations(String);

/// Why something is no set of authorities.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidAuthorities {
    /// Neither PEM nor DER.
    #[error("the authorities cannot be read: {0}")]
    Encoding(&'static str),
    /// There is no certificate in it.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// More than are taken.
    #[error("there are more than {MAX_AUTHORITIES} certificates in it")]
    TooMany,
    /// One of them cannot be an authority.
    #[error("certificate {index} cannot be used as an authority: {reason}")]
    Unusable {
        /// Counted from 1.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The revocations are neither PEM nor DER, or none are in it.
    #[error("the revocations cannot be read: {0}")]
    Revocations(String),
    /// Every list is of somebody else: since all clients would lack a list then, all would be refused.
    #[error("the revocations are of {0}, which is none of the authorities")]
    ForeignRevocations(String),
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
            .map_err(|error| InvalidAuthorities::Encoding(of_pem(&error)))?;
        Self::new(certificates, || revocations.map(lists).transpose())
    }

    /// The same in DER: certificates one after the other, and lists likewise.
    ///
    /// # Errors
    ///
    /// Likewise.
    pub fn from_der(
        authorities: &[u8],
        revocations: Option<&[u8]>,
    ) -> Result<Self, InvalidAuthorities> {
        let certificates = split(authorities).ok_or(InvalidAuthorities::Encoding(NOT_DER))?;
        let certificates = certificates.into_iter().map(|one| one.to_vec().into());
        Self::new(certificates.collect(), || {
            revocations.map(lists_of_der).transpose()
        })
    }

    fn new(
        certificates: Vec<CertificateDer<'static>>,
        revocations: impl FnOnce() -> Result<Option<Revocations>, InvalidAuthorities>,
    ) -> Result<Self, InvalidAuthorities> {
        match certificates.len() {
            0 => return Err(InvalidAuthorities::NoCertificate),
            1..=MAX_AUTHORITIES => {}
            _ => return Err(InvalidAuthorities::TooMany),
        }
        let mut roots = RootCertStore::empty();
        let mut names = Vec::with_capacity(certificates.len());
        let mut subjects = Vec::with_capacity(certificates.len());
        let mut expiries = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            let unusable = |reason: String| InvalidAuthorities::Unusable {
                index: index + 1,
                reason,
            };
            let added = roots.add(certificate.clone());
            added.map_err(|error| unusable(error.to_string()))?;
            let (_, parsed) = X509Certificate::from_der(certificate)
                .map_err(|error| unusable(error.to_string()))?;
            names.push(parsed.subject().to_string());
            subjects.push(parsed.subject().as_raw().to_vec());
            expiries.push(time(parsed.validity().not_after.timestamp()));
        }
        let roots = Arc::new(roots);
        let revocations = revocations()?.unwrap_or_default();
        check_revocations(&roots, &revocations)?;
        let next_update = next_update(&subjects, &revocations)?;
        Ok(Self {
            certificates,
            roots,
            revocations,
            names,
            not_after: expiries.into_iter().min().unwrap_or(SystemTime::UNIX_EPOCH),
            next_update,
            federated: BTreeMap::new(),
        })
    }

    /// Whether the lists of revocations are still the newest, as far as they say.
    ///
    /// # Errors
    ///
    /// When one is not at `now`.
    pub fn check_lists(&self, now: SystemTime) -> Result<(), LapsedRevocations> {
        match self.next_update {
            Some(until) if now > until => Err(LapsedRevocations(shown(until))),
            _ => Ok(()),
        }
    }
}

fn lists(pem: &[u8]) -> Result<Revocations, InvalidAuthorities> {
    let lists: Result<Revocations, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    filled(lists.map_err(|error| InvalidAuthorities::Revocations(of_pem(&error).to_owned()))?)
}

fn lists_of_der(der: &[u8]) -> Result<Revocations, InvalidAuthorities> {
    let lists = split(der).ok_or_else(|| InvalidAuthorities::Revocations(NOT_DER.to_owned()))?;
    filled(lists.into_iter().map(|one| one.to_vec().into()).collect())
}

fn filled(lists: Revocations) -> Result<Revocations, InvalidAuthorities> {
    match lists.is_empty() {
        true => Err(InvalidAuthorities::Revocations(
            "there is none in it".into(),
        )),
        false => Ok(lists),
    }
}

/// What cannot be verified with would otherwise be noticed by the first client.
fn check_revocations(
    roots: &Arc<RootCertStore>,
    lists: &[CertificateRevocationListDer<'static>],
) -> Result<(), InvalidAuthorities> {
    if lists.is_empty() {
        return Ok(());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider)
        .with_crls(lists.iter().cloned())
        .build()
        .map(drop)
        .map_err(|error| InvalidAuthorities::Revocations(error.to_string()))
}

/// When the first of the lists wants a newer one. Lists of others than the authorities may be there, for those in
/// between that clients send along; a list of one of the authorities every client needs.
fn next_update(
    subjects: &[Vec<u8>],
    lists: &[CertificateRevocationListDer<'static>],
) -> Result<Option<SystemTime>, InvalidAuthorities> {
    let mut foreign = Vec::new();
    let mut next_update = None;
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|error| InvalidAuthorities::Revocations(error.to_string()))?;
        let issuer = list.issuer();
        if !subjects.iter().any(|subject| subject == issuer.as_raw()) {
            foreign.push(issuer.to_string());
        }
        let until = list.next_update().map(|until| time(until.timestamp()));
        next_update = next_update.into_iter().chain(until).min();
    }
    if !lists.is_empty() && foreign.len() == lists.len() {
        return Err(InvalidAuthorities::ForeignRevocations(
            foreign.join(" and "),
        ));
    }
    Ok(next_update)
}

fn shown(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = seconds.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0));
    ASN1Time::from_timestamp(seconds)
        .map_or_else(|_| "long ago".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
