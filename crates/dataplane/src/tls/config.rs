//! A server's configuration, as rustls wants it.

use super::certificate::Parsed;
use super::{client, suites};
use certificates::{Authorities, Credential, Credentials};
use rules::{ClientCertificate, TlsTermination};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureAlgorithm};
use std::sync::Arc;

/// What a server's references stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Materials {
    /// Those of its certificates that are there.
    pub(super) certificates: Vec<Arc<Credential>>,
    /// Absent: none are named, or they are not there.
    pub(super) authorities: Option<Arc<Authorities>>,
}

/// A configuration, and what connections of it are told.
pub(super) struct Ready {
    pub(super) config: Arc<ServerConfig>,
    /// For clients that offer only protocols that are not spoken here: they get none, as from Envoy.
    pub(super) without_alpn: Arc<ServerConfig>,
    /// Absent: clients are not asked for certificates.
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Who the gateway is in a mesh, as its certificate says.
    pub(super) local_uri: Option<Arc<str>>,
}

impl Materials {
    pub(super) fn of(tls: &TlsTermination, credentials: &Credentials) -> Self {
        let certificates = tls.certificates.iter();
        let authorities = tls.client.authorities.as_ref();
        Self {
            certificates: certificates
                .filter_map(|name| credentials.certificates.get(name).cloned())
                .collect(),
            authorities: authorities.and_then(|name| credentials.authorities.get(name).cloned()),
        }
    }

    /// Whether these are the very same.
    pub(super) fn are(&self, other: &Self) -> bool {
        self.has_authorities_of(other)
            && self.certificates.len() == other.certificates.len()
            && (self.certificates.iter().zip(&other.certificates))
                .all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// Whether clients are verified by the same authorities and revocations.
    pub(super) fn has_authorities_of(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }
}

/// What a server asks of its clients.
pub(super) fn verifier(
    tls: &TlsTermination,
    materials: &Materials,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if tls.client.mode == ClientCertificate::Ignored {
        return Ok(None);
    }
    client::verifier(&tls.client, materials.authorities.as_deref())
}

/// Builds a server's configuration.
///
/// # Errors
/// When its certificate or its authorities are missing, or no version is left.
pub(super) fn build(
    tls: &TlsTermination,
    materials: &Materials,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<Ready, String> {
    let Some(first) = materials.certificates.first() else {
        return Err(missing(tls));
    };
    let local_uri = leaf_uri(&first.certified_key);
    let asks: Arc<dyn ClientCertVerifier> = match &verifier {
        Some(verifier) => verifier.clone(),
        None => Arc::new(NoClientAuth),
    };
    let versions = suites::versions(tls.min_version, tls.max_version);
    let mut config = ServerConfig::builder_with_provider(suites::provider(&tls.cipher_suites))
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(asks)
        .with_cert_resolver(Arc::new(Certificates::new(materials)));
    config.ticketer = tickets;
    // Sessions are in tickets; what is kept here would be memory that clients fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ignore_client_order = true;
    let without_alpn = Arc::new(config.clone());
    config.alpn_protocols = tls
        .alpn
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(Ready {
        config: Arc::new(config),
        without_alpn,
        verifier,
        local_uri,
    })
}

/// For the validation of a name by an ACME server: shows a certificate, and speaks nothing else.
pub(super) fn challenge(key: Arc<CertifiedKey>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(suites::default_provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Certificates(vec![key])));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![crate::Challenges::TLS_ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn missing(tls: &TlsTermination) -> String {
    let names: Vec<String> = tls.certificates.iter().map(ToString::to_string).collect();
    format!("{} is not there", names.join(", "))
}

fn leaf_uri(key: &CertifiedKey) -> Option<Arc<str>> {
    let uri = Parsed::new(key.cert.first()?)?.uri()?;
    Some(uri.into())
}

/// One or two certificates of different kinds of key, the cheapest to sign with first.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    fn new(materials: &Materials) -> Self {
        let keys = materials.certificates.iter();
        let mut keys: Vec<_> = keys
            .map(|credential| credential.certified_key.clone())
            .collect();
        keys.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
        Self(keys)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered = hello.signature_schemes();
        let suits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(offered).is_some();
        // Where none suits, the client is told so.
        self.0
            .iter()
            .find(suits)
            .or_else(|| self.0.first())
            .cloned()
    }
}
