//! What is shown to endpoints and asked of them, ready for handshakes.

use super::roots;
use super::verify::{self, Verifier};
use crate::tls::suites;
use certificates::{Authorities, Credential, Credentials};
use model::TlsVersion;
use rules::{ServerVerification, UpstreamTls};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sessions that are remembered for resumption, for each protocol.
const SESSIONS: usize = 128;

/// What a connection is for, which decides what is offered by ALPN.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Alpn {
    /// Bytes.
    None,
    Http1,
    Http2,
}

/// What is shown to endpoints and asked of them.
#[derive(Debug)]
pub(crate) struct ClientTls {
    /// Stands for identity, authorities and everything else that is asked: no other one ever had it.
    pub(crate) id: u64,
    /// The name that is sent, unless it is the request's host.
    pub(crate) sni: Option<Arc<str>>,
    bytes: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

/// What the references of an [`UpstreamTls`] stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Materials {
    pub(super) certificate: Option<Arc<Credential>>,
    pub(super) authorities: Option<Arc<Authorities>>,
}

impl Materials {
    /// # Errors
    ///
    /// What is not there.
    pub(super) fn of(tls: &UpstreamTls, credentials: &Credentials) -> Result<Self, Arc<str>> {
        let missing = |name: &rules::CredentialRef| Arc::from(format!("{name} is not there"));
        let mut materials = Self::default();
        if let Some(name) = &tls.certificate {
            let found = credentials.certificates.get(name);
            materials.certificate = Some(found.ok_or_else(|| missing(name))?.clone());
        }
        if let ServerVerification::Verified {
            authorities: Some(name),
            ..
        } = &tls.verification
        {
            let found = credentials.authorities.get(name);
            materials.authorities = Some(found.ok_or_else(|| missing(name))?.clone());
        }
        Ok(materials)
    }

    /// Whether these are the very same.
    pub(super) fn are(&self, other: &Self) -> bool {
        same(&self.certificate, &other.certificate) && same(&self.authorities, &other.authorities)
    }
}

fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

impl ClientTls {
    /// # Errors
    ///
    /// When nobody could be verified, or no version is left.
    pub(super) fn build(tls: &UpstreamTls, materials: &Materials) -> Result<Self, Arc<str>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let base = base(tls, materials)?;
        let offering = |protocols: &[&str]| {
            let mut config = base.clone();
            config.alpn_protocols = protocols
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect();
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            Arc::new(config)
        };
        let [bytes, http1, http2] = protocols(tls.mesh);
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            sni: tls.sni.clone(),
            bytes: offering(bytes),
            http1: offering(http1),
            http2: offering(http2),
        })
    }

    pub(crate) fn config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        match alpn {
            Alpn::None => self.bytes.clone(),
            Alpn::Http1 => self.http1.clone(),
            Alpn::Http2 => self.http2.clone(),
        }
    }
}

/// What is offered for bytes, HTTP/1 and HTTP/2.
///
/// Source: the filter of Istio's sidecars that replaces protocols within the mesh.
fn protocols(mesh: bool) -> [&'static [&'static str]; 3] {
    if mesh {
        [
            &["istio"],
            &["istio-http/1.1", "istio", "http/1.1"],
            &["istio-h2", "istio", "h2"],
        ]
    } else {
        [&[], &["http/1.1"], &["h2"]]
    }
}

fn base(tls: &UpstreamTls, materials: &Materials) -> Result<ClientConfig, Arc<str>> {
    let told = |error: &dyn std::fmt::Display| Arc::from(error.to_string());
    let builder = ClientConfig::builder_with_provider(suites::default_provider())
        .with_protocol_versions(&suites::versions(TlsVersion::V1_2, TlsVersion::V1_3))
        .map_err(|error| told(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(tls, materials)?));
    Ok(match &materials.certificate {
        None => builder.with_no_client_auth(),
        Some(credential) => {
            let key = SingleCertAndKey::from(credential.certified_key.clone());
            builder.with_client_cert_resolver(Arc::new(key))
        }
    })
}

fn verifier(tls: &UpstreamTls, materials: &Materials) -> Result<Verifier, Arc<str>> {
    let ServerVerification::Verified {
        subject_alt_names, ..
    } = &tls.verification
    else {
        return Ok(Verifier::of_nobody());
    };
    let expected = verify::Expected::new(subject_alt_names, tls.mesh);
    match &materials.authorities {
        Some(authorities) => {
            let revocations = authorities.revocations.clone();
            Verifier::new(authorities.roots.clone(), revocations, expected)
        }
        None => Verifier::new(roots::of_the_system()?, Vec::new(), expected),
    }
}
