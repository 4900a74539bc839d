//! Verifying the certificates of servers.

use super::names::is_expected;
use crate::tls::certificate::{Parsed, SubjectAltName};
use crate::tls::federated::Federated;
use crate::tls::signatures::verify_signatures;
use crate::tls::suites;
use certificates::{Authorities, TrustDomain};
use rules::ExpectedNames;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use std::fmt;
use std::sync::Arc;
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, RevocationOptionsBuilder};

/// Lists of revocations, read once.
pub(super) type Revocations = Arc<[CertRevocationList<'static>]>;

/// By whom a server must be signed.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    /// As for clients, a list must be there for every authority of a chain, or for none.
    pub(super) revocations: Revocations,
    /// Who signs identities of other trust domains. They count where such an identity is asked for.
    pub(super) federated: Federated<Arc<Authorities>>,
}

/// Chain, time and revocation by webpki, then the names. Without trust nothing of it, but signatures count even
/// so: whoever answers has the key to what it shows.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Option<Trust>,
    names: ExpectedNames,
    algorithms: WebPkiSupportedAlgorithms,
}

/// None of the names is one that is expected.
#[derive(thiserror::Error)]
#[error("the server's certificate is for {}, where {expected} is expected", shown(.found))]
struct OtherNames {
    found: Vec<SubjectAltName>,
    expected: ExpectedNames,
}

impl fmt::Debug for OtherNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads lists of revocations.
///
/// # Errors
/// When one cannot be read, which was checked when it was read from its file.
pub(super) fn revocations(authorities: &Authorities) -> Result<Revocations, webpki::Error> {
    let lists = authorities.revocations.iter();
    lists
        .map(|list| webpki::OwnedCertRevocationList::from_der(list).map(Into::into))
        .collect()
}

impl Verifier {
    pub(super) fn new(trust: Option<Trust>, names: ExpectedNames) -> Self {
        Self {
            trust,
            names,
            algorithms: suites::default_provider().signature_verification_algorithms,
        }
    }

    /// By the authorities of the domain that a certificate says it is of. Returns that domain, unless it is the own one.
    fn check_signed<'t>(
        &self,
        trust: &'t Trust,
        leaf: &EndEntityCert<'_>,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Option<&'t TrustDomain>, webpki::Error> {
        // Which domains count is for the names to tell, where identities are looked for.
        let signer = match self.names {
            ExpectedNames::Sent => None,
            _ => trust.federated.signer(der),
        };
        let Some((domain, others)) = signer else {
            let lists: Vec<_> = trust.revocations.iter().collect();
            self.check_chain(&trust.roots, &lists, leaf, intermediates, now)?;
            return Ok(None);
        };
        self.check_chain(&others.roots, &[], leaf, intermediates, now)?;
        Ok(Some(domain))
    }

    fn check_chain(
        &self,
        roots: &RootCertStore,
        lists: &[&CertRevocationList<'_>],
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        // No list at all is the only thing that it refuses.
        let revocation = RevocationOptionsBuilder::new(lists).ok();
        leaf.verify_for_usage(
            self.algorithms.all,
            &roots.roots,
            intermediates,
            now,
            KeyUsage::server_auth(),
            revocation.map(RevocationOptionsBuilder::build),
            None,
        )
        .map(drop)
    }

    /// Of the names those count that who has signed vouches for.
    fn check_names(
        &self,
        leaf: &EndEntityCert<'_>,
        der: &CertificateDer<'_>,
        sent: &ServerName<'_>,
        counts: impl Fn(&SubjectAltName) -> bool,
    ) -> Result<(), Error> {
        if self.names == ExpectedNames::Sent {
            return leaf
                .verify_is_valid_for_subject_name(sent)
                .map_err(certificate_error);
        }
        let parsed = Parsed::new(der).ok_or(CertificateError::BadEncoding)?;
        let found = parsed.names();
        let mut counting = found.iter().filter(|name| counts(name));
        if counting.any(|name| is_expected(name, &self.names)) {
            return Ok(());
        }
        let expected = self.names.clone();
        let others = OtherNames { found, expected };
        Err(CertificateError::Other(OtherError(Arc::new(others))).into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        sent: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(trust) = &self.trust {
            let leaf = EndEntityCert::try_from(der).map_err(certificate_error)?;
            let signer = self
                .check_signed(trust, &leaf, der, intermediates, now)
                .map_err(certificate_error)?;
            let counts = |name: &SubjectAltName| trust.federated.vouches(signer, name);
            self.check_names(&leaf, der, sent, counts)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();
}

/// What the server is told depends on it: an alert for what has expired, one for unknown authorities.
fn certificate_error(error: webpki::Error) -> Error {
    use webpki::Error as Webpki;
    let error = match error {
        Webpki::CertExpired { time, not_after } => {
            CertificateError::ExpiredContext { time, not_after }
        }
        Webpki::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        Webpki::UnknownIssuer => CertificateError::UnknownIssuer,
        Webpki::CertRevoked => CertificateError::Revoked,
        Webpki::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Webpki::CertNotValidForName(context) => CertificateError::NotValidForNameContext {
            expected: context.expected,
            presented: context.presented,
        },
        Webpki::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Webpki::BadDer | Webpki::BadDerTime | Webpki::TrailingData(_) => {
            CertificateError::BadEncoding
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    error.into()
}

/// Of names that somebody else chose, a few are enough.
fn shown(names: &[SubjectAltName]) -> String {
    const MOST: usize = 8;
    if names.is_empty() {
        return "nobody".to_owned();
    }
    let shown: Vec<String> = names.iter().take(MOST).map(ToString::to_string).collect();
    let more = if names.len() > MOST { " and more" } else { "" };
    format!("{}{more}", shown.join(", "))
}
