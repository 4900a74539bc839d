//! What is known of a connection of TLS once its handshake is over.

use super::certificate::{Parsed, SubjectAltName};
use super::digest::{hex, sha256};
use super::suites;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use rules::{TlsAction, TlsServer, TlsTermination};
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;
use std::sync::{Arc, OnceLock};

/// What requests may know of the TLS they came over.
#[derive(Debug)]
pub struct TlsFacts {
    /// The name that the client asked for, in lower case. Absent: it named nobody.
    pub sni: Option<Box<str>>,
    /// The name of the server that it was handed to.
    pub server: Arc<str>,
    /// How TLS ended, as it was at the time of the handshake.
    pub termination: Arc<TlsTermination>,
    /// As Envoy writes it: `TLSv1.3`.
    pub version: &'static str,
    /// As OpenSSL writes it: `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The protocol agreed on. Absent: none was.
    pub alpn: Option<Box<str>>,
    /// What the client showed. Absent: nothing.
    pub client: Option<ClientCertificate>,
    /// Whether it is the mesh's TLS, which ended at the mesh's own server.
    is_mesh: bool,
    /// The first URI among the names of the certificate shown to the client: who the gateway is in a mesh.
    pub local_uri: Option<Arc<str>>,
}

/// A client's certificate. What it says is read when somebody asks.
#[derive(Debug)]
pub struct ClientCertificate {
    /// Whether its chain was verified.
    pub verified: bool,
    der: CertificateDer<'static>,
    details: OnceLock<Details>,
    element: OnceLock<Option<HeaderValue>>,
}

#[derive(Debug, Default)]
struct Details {
    subject: String,
    names: Vec<SubjectAltName>,
    key_hash: String,
}

impl TlsFacts {
    pub(super) fn new(
        server: &TlsServer,
        termination: &Arc<TlsTermination>,
        local_uri: Option<Arc<str>>,
        session: &ServerConnection,
    ) -> Self {
        let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let verified = termination.client.mode != rules::ClientCertificate::Unverified;
        Self {
            sni: session.server_name().map(Into::into),
            server: server.name.clone(),
            termination: termination.clone(),
            version: suites::version_name(session.protocol_version()),
            cipher: suites::suite_name(session.negotiated_cipher_suite()),
            alpn: alpn.map(Into::into),
            client: leaf.map(|leaf| ClientCertificate::new(leaf.clone().into_owned(), verified)),
            is_mesh: matches!(server.action, TlsAction::Mesh(_)),
            local_uri,
        }
    }

    /// Whether TLS would end so today as far as clients are concerned.
    pub(crate) fn is_of(&self, tls: &Arc<TlsTermination>) -> bool {
        Arc::ptr_eq(tls, &self.termination) || tls.client == self.termination.client
    }

    /// The client's certificate, if its chain was verified, by whichever server.
    pub fn verified_client(&self) -> Option<&ClientCertificate> {
        self.client.as_ref().filter(|client| client.verified)
    }

    /// The same, if it was verified by the mesh's own server: authorities that others trust make nobody one of the mesh.
    pub fn mesh_client(&self) -> Option<&ClientCertificate> {
        self.verified_client().filter(|_| self.is_mesh)
    }

    /// This connection's element of `x-forwarded-client-cert`. Absent: no client was verified.
    ///
    /// Source: Envoy's format, with what Istio's gateways ask for: `Hash`, `Cert`, `Subject`, `URI`, `DNS`.
    pub fn forwarded_client(&self) -> Option<&HeaderValue> {
        let client = self.verified_client()?;
        let element = client.element.get_or_init(|| {
            // A gateway tells the certificate as a whole, a sidecar does not.
            let element = client.element(self.local_uri.as_deref(), !self.is_mesh);
            HeaderValue::try_from(element).ok()
        });
        element.as_ref()
    }
}

impl ClientCertificate {
    fn new(der: CertificateDer<'static>, verified: bool) -> Self {
        Self {
            verified,
            der,
            details: OnceLock::new(),
            element: OnceLock::new(),
        }
    }

    /// The subject as RFC 2253 writes it. Empty when it has none.
    pub fn subject(&self) -> &str {
        &self.details().subject
    }

    /// Its names that are URIs.
    pub fn uris(&self) -> impl Iterator<Item = &str> + Clone {
        self.details().names.iter().filter_map(|name| match name {
            SubjectAltName::Uri(uri) => Some(uri.as_str()),
            _ => None,
        })
    }

    /// Its names that are those of hosts.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.details().names.iter().filter_map(|name| match name {
            SubjectAltName::Dns(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// SHA-256 of the certificate, in hex.
    pub fn hash(&self) -> String {
        sha256(&self.der).map(|hash| hex(&hash)).unwrap_or_default()
    }

    /// SHA-256 of the public key, in base64.
    pub fn key_hash(&self) -> &str {
        &self.details().key_hash
    }

    /// As PEM.
    pub fn pem(&self) -> String {
        let base64 = BASE64_STANDARD.encode(&self.der);
        let lines = base64.as_bytes().chunks(64);
        let lines: String = lines
            .map(|line| String::from_utf8_lossy(line) + "\n")
            .collect();
        format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
    }

    fn details(&self) -> &Details {
        self.details.get_or_init(|| {
            let Some(parsed) = Parsed::new(&self.der) else {
                return Details::default();
            };
            let key_hash = sha256(parsed.public_key()).map(|hash| BASE64_STANDARD.encode(hash));
            Details {
                subject: parsed.subject(),
                names: parsed.names(),
                key_hash: key_hash.unwrap_or_default(),
            }
        })
    }

    fn element(&self, local_uri: Option<&str>, tells_certificate: bool) -> String {
        let mut parts = Vec::new();
        parts.extend(local_uri.map(|uri| format!("By={}", quoted(uri))));
        parts.push(format!("Hash={}", self.hash()));
        if tells_certificate {
            parts.push(format!("Cert=\"{}\"", url_encoded(&self.pem())));
        }
        // The backslashes of RFC 2253 stay, so that a quotation mark ends only what it began.
        parts.push(format!("Subject=\"{}\"", self.subject()));
        parts.extend(self.uris().map(|uri| format!("URI={}", quoted(uri))));
        parts.extend(self.dns_names().map(|name| format!("DNS={}", quoted(name))));
        parts.join(";")
    }
}

/// What would end a value early stands in quotation marks, as Envoy's documentation has it.
fn quoted(value: &str) -> String {
    if value.contains([',', ';', '=', '"']) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        return format!("\"{escaped}\"");
    }
    value.to_owned()
}

fn url_encoded(pem: &str) -> String {
    pem.chars().fold(
        String::with_capacity(pem.len() * 5 / 4),
        |mut text, char| {
            match char {
                '\n' => text.push_str("%0A"),
                ' ' => text.push_str("%20"),
                '+' => text.push_str("%2B"),
                '/' => text.push_str("%2F"),
                '=' => text.push_str("%3D"),
                _ => text.push(char),
            }
            text
        },
    )
}
