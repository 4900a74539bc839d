//! Verifying the certificates of servers.

use super::names::NameMatch;
use crate::tls::certificate::{Parsed, SubjectAltName};
use crate::tls::suites;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// What begins the identities of a mesh.
const SPIFFE: &str = "spiffe://";

/// Which names a certificate may have.
#[derive(Debug)]
pub(super) enum Expected {
    /// The one that was sent.
    Sent,
    /// Any identity: who is in the mesh is told by its authorities.
    AnyIdentity,
    /// One of these.
    OneOf(Vec<NameMatch>),
}

impl Expected {
    pub(super) fn new(names: &[Arc<str>], mesh: bool) -> Self {
        match names {
            [] if mesh => Self::AnyIdentity,
            [] => Self::Sent,
            names => Self::OneOf(names.iter().map(NameMatch::parse).collect()),
        }
    }

    fn admits(&self, names: &[SubjectAltName]) -> bool {
        names.iter().any(|name| match self {
            Self::Sent => false,
            Self::AnyIdentity => {
                matches!(name, SubjectAltName::Uri(uri) if uri.starts_with(SPIFFE))
            }
            Self::OneOf(wanted) => wanted.iter().any(|wanted| wanted.matches(name)),
        })
    }
}

/// Chain, time and revocation by webpki, then the names.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Absent: whoever answers will do, as long as it has the key of what it shows.
    chain: Option<Arc<WebPkiServerVerifier>>,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// # Errors
    ///
    /// When there is no authority, or a list of revocations cannot be used.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        revocations: Vec<CertificateRevocationListDer<'static>>,
        expected: Expected,
    ) -> Result<Self, Arc<str>> {
        let provider = suites::default_provider();
        let chain = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .with_crls(revocations)
            .build()
            .map_err(|error| Arc::from(error.to_string()))?;
        Ok(Self {
            chain: Some(chain),
            ..Self::of(expected)
        })
    }

    /// `insecureSkipVerify`
    pub(super) fn of_nobody() -> Self {
        Self::of(Expected::Sent)
    }

    fn of(expected: Expected) -> Self {
        Self {
            chain: None,
            expected,
            algorithms: suites::default_provider().signature_verification_algorithms,
        }
    }

    fn verify_names(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let parsed = Parsed::new(leaf).ok_or(CertificateError::BadEncoding)?;
        if self.expected.admits(&parsed.names()) {
            return Ok(());
        }
        Err(CertificateError::NotValidForName.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = chain.verify_server_cert(leaf, intermediates, name, ocsp, now);
        if matches!(self.expected, Expected::Sent) {
            return verified;
        }
        // The name comes last there: everything else was found to be good when it is what is wrong.
        match verified {
            Ok(_) | Err(Error::InvalidCertificate(CertificateError::NotValidForName)) => {}
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })) => {}
            Err(error) => return Err(error),
        }
        self.verify_names(leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
