//! TLS settings of servers and clients.

use crate::At;
use std::fmt;

/// How a server ends, checks or passes TLS.
///
/// Source: Istio `ServerTLSSettings`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServerTlsSettings {
    /// Where it stands.
    pub at: At,
    /// HTTP servers only: everything is answered 301 to `https`. Default false.
    pub https_redirect: bool,
    /// Default [`ServerTlsMode::Passthrough`], also when the block is there without a mode.
    pub mode: ServerTlsMode,
    /// Path of the certificate chain.
    pub server_certificate: Option<String>,
    /// Path of its key.
    pub private_key: Option<String>,
    /// Path of the authorities of client certificates.
    pub ca_certificates: Option<String>,
    /// Path of revocations of client certificates.
    pub ca_crl: Option<String>,
    /// The Secret with certificate and key. Excludes the paths.
    pub credential_name: Option<String>,
    /// Up to two Secrets, for an RSA and an ECDSA certificate.
    pub credential_names: Vec<String>,
    /// The Secret with the authorities of client certificates.
    pub ca_cert_credential_name: Option<String>,
    /// Up to two pairs of paths.
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names of which a client certificate must have one. Empty: any.
    pub subject_alt_names: Vec<String>,
    /// Base64 SHA-256 of allowed public keys. Empty: any.
    pub verify_certificate_spki: Vec<String>,
    /// Hex SHA-256 of allowed certificates, lower case without colons. Empty: any.
    pub verify_certificate_hash: Vec<String>,
    /// The oldest version spoken. Default TLS 1.2, which older ones are taken for.
    pub min_protocol_version: TlsVersion,
    /// The newest version spoken, at least TLS 1.2. Default TLS 1.3.
    pub max_protocol_version: TlsVersion,
    /// Suites of TLS 1.2 that can be spoken, each once. Empty: the library's.
    pub cipher_suites: Vec<String>,
    /// MUTUAL: ask for a client certificate but do not verify it. Default false.
    pub insecure_skip_verify: bool,
}

/// A certificate by paths.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsCertificate {
    /// Path of the certificate chain.
    pub server_certificate: String,
    /// Path of its key.
    pub private_key: String,
    /// Path of authorities.
    pub ca_certificates: Option<String>,
}

/// What a server does with TLS.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ServerTlsMode {
    /// Routes by SNI without ending TLS.
    #[default]
    Passthrough,
    /// Shows a certificate.
    Simple,
    /// Shows a certificate and requires one.
    Mutual,
    /// The SNI names the cluster.
    AutoPassthrough,
    /// Mutual, with the mesh's certificates.
    IstioMutual,
    /// Shows a certificate and verifies the client's if there is one.
    OptionalMutual,
}

impl ServerTlsMode {
    /// Istio's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passthrough => "PASSTHROUGH",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::AutoPassthrough => "AUTO_PASSTHROUGH",
            Self::IstioMutual => "ISTIO_MUTUAL",
            Self::OptionalMutual => "OPTIONAL_MUTUAL",
        }
    }
}

impl fmt::Display for ServerTlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TlsVersion {
    /// Whatever is best.
    #[default]
    Auto,
    /// 1.0
    V1_0,
    /// 1.1
    V1_1,
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}

/// How TLS is originated to an upstream.
///
/// Source: Istio `ClientTLSSettings`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientTlsSettings {
    /// Where it stands.
    pub at: At,
    /// Default [`ClientTlsMode::Disable`].
    pub mode: ClientTlsMode,
    /// MUTUAL: path of the certificate shown.
    pub client_certificate: Option<String>,
    /// MUTUAL: path of its key.
    pub private_key: Option<String>,
    /// Path of the authorities, or `system`. Absent: the system's.
    pub ca_certificates: Option<String>,
    /// The Secret with certificate, key and authorities. Excludes the paths.
    pub credential_name: Option<String>,
    /// Names of which the server's certificate must have one. Empty: the host that is asked for.
    pub subject_alt_names: Vec<String>,
    /// The name sent. Absent: the host that is asked for.
    pub sni: Option<String>,
    /// Do not verify the server. Default false.
    pub insecure_skip_verify: Option<bool>,
    /// Path of revocations.
    pub ca_crl: Option<String>,
}

/// Whether and how TLS is originated.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ClientTlsMode {
    /// In clear.
    #[default]
    Disable,
    /// Verify the server.
    Simple,
    /// Verify the server and show a certificate.
    Mutual,
    /// Mutual, with the mesh's certificates.
    IstioMutual,
}

impl ClientTlsMode {
    /// Istio's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "DISABLE",
            Self::Simple => "SIMPLE",
            Self::Mutual => "MUTUAL",
            Self::IstioMutual => "ISTIO_MUTUAL",
        }
    }
}

impl fmt::Display for ClientTlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
