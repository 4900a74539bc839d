//! TLS servers: what a Gateway server does with connections that begin with a ClientHello.

use crate::{ClusterTarget, ForwardProxy, HostMap, TcpRoutes, VirtualHosts};
use model::{Origin, ServerTlsMode, TlsVersion};
use std::fmt;
use std::sync::Arc;

/// A Gateway server of a TLS port.
#[derive(Debug)]
pub struct TlsServer {
    /// Its identity: `namespace/gateway/port-name`. Stable across generations.
    pub name: Arc<str>,
    /// What is done with a connection whose SNI chose this server.
    pub action: TlsAction,
    /// Where the server stands.
    pub origin: Arc<Origin>,
}

/// What a TLS server does with a connection.
#[derive(Debug)]
pub enum TlsAction {
    /// TLS ends here, and HTTP is inside.
    Https {
        /// How it ends.
        tls: Arc<TlsTermination>,
        /// The server's own virtual hosts: those of other servers cannot be reached over this one.
        virtual_hosts: Arc<VirtualHosts>,
        /// The hosts that the server names, whether or not a VirtualService has rules for them: a request for
        /// any other was misdirected (421).
        hosts: Arc<HostMap<()>>,
    },
    /// TLS ends here, and bytes are inside.
    Tcp {
        /// How it ends.
        tls: Arc<TlsTermination>,
        /// Where they go.
        routes: TcpRoutes,
    },
    /// TLS goes through as it is.
    Passthrough(TcpRoutes),
    /// TLS goes through as it is, to the cluster that the SNI spells: `outbound_.PORT_.SUBSET_.HOST`. Here by
    /// that spelling, in lower case.
    ///
    /// The clusters are those that requests are sent to as well, but their `tls`, `proxy_protocol` and `tunnel` are
    /// not for these connections, which are in the mesh's TLS already and go through untouched, as in Istio.
    AutoPassthrough(Arc<HostMap<ClusterTarget>>),
    /// TLS ends here, and a forward proxy's HTTP is inside.
    ForwardProxy {
        /// How it ends.
        tls: Arc<TlsTermination>,
        /// What clients may reach.
        proxy: Arc<ForwardProxy>,
    },
    /// The mesh's TLS ends here, and the port of a sidecar's workload tells what is inside. Whom it has verified is who
    /// that is in the mesh.
    Mesh(Arc<TlsTermination>),
    /// TLS of a port of a sidecar's workload ends here, and the port tells what is inside. Whomever it has verified is
    /// nobody in the mesh.
    Workload(Arc<TlsTermination>),
}

impl TlsServer {
    /// Istio's name for what it does.
    pub fn mode(&self) -> ServerTlsMode {
        let tls = match &self.action {
            TlsAction::Passthrough(_) => return ServerTlsMode::Passthrough,
            TlsAction::AutoPassthrough(_) => return ServerTlsMode::AutoPassthrough,
            TlsAction::Https { tls, .. }
            | TlsAction::Tcp { tls, .. }
            | TlsAction::ForwardProxy { tls, .. }
            | TlsAction::Mesh(tls)
            | TlsAction::Workload(tls) => tls,
        };
        match tls.client.mode {
            _ if tls.certificates.contains(&CredentialRef::Workload) => ServerTlsMode::IstioMutual,
            ClientCertificate::Ignored => ServerTlsMode::Simple,
            ClientCertificate::Optional => ServerTlsMode::OptionalMutual,
            ClientCertificate::Required | ClientCertificate::Unverified => ServerTlsMode::Mutual,
        }
    }

    /// How TLS ends here. Absent: it goes through.
    pub fn termination(&self) -> Option<&Arc<TlsTermination>> {
        match &self.action {
            TlsAction::Https { tls, .. }
            | TlsAction::Tcp { tls, .. }
            | TlsAction::ForwardProxy { tls, .. }
            | TlsAction::Mesh(tls)
            | TlsAction::Workload(tls) => Some(tls),
            TlsAction::Passthrough(_) | TlsAction::AutoPassthrough(_) => None,
        }
    }
}

/// How TLS ends: certificates, versions, and what is asked of the client.
///
/// Source: Istio `ServerTLSSettings`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct TlsTermination {
    /// One or two certificates, of different kinds of key.
    pub certificates: Vec<CredentialRef>,
    /// What is asked of the client.
    pub client: ClientVerification,
    /// Default TLS 1.2.
    pub min_version: TlsVersion,
    /// Default TLS 1.3.
    pub max_version: TlsVersion,
    /// OpenSSL's names of the suites of TLS 1.2, the first preferred. Empty: the library's.
    pub cipher_suites: Vec<String>,
    /// Protocols offered, the first preferred. Empty: none.
    pub alpn: Vec<&'static str>,
}

/// What is asked of a client.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ClientVerification {
    /// Whether a certificate is asked for, and what if none comes.
    pub mode: ClientCertificate,
    /// Who must have signed it. Absent: nobody can.
    pub authorities: Option<CredentialRef>,
    /// Of which the certificate must have one. Empty: any.
    pub subject_alt_names: Vec<String>,
    /// Base64 SHA-256 of allowed public keys. Empty: any.
    pub spki: Vec<String>,
    /// Hex SHA-256 of allowed certificates, lower case without colons. Empty: any.
    pub hashes: Vec<String>,
    /// Whether the certificate has to be one identity's of a mesh, and of no other: whoever has two names would be known
    /// by either. Source: X509-SVID, section 2.
    pub is_identity: bool,
}

/// Whether a client shows a certificate.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ClientCertificate {
    /// Not asked for.
    #[default]
    Ignored,
    /// Asked for; verified when there is one.
    Optional,
    /// Asked for; no connection without.
    Required,
    /// No connection without, whoever signed it.
    Unverified,
}

/// Names what is published beside the table: a certificate with its key, or authorities with revocations.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum CredentialRef {
    /// A Secret of the proxy's namespace, else a folder of the certificates folder.
    Named(Arc<str>),
    /// The authorities that belong to a name: of the Secret or folder itself, else of `NAME-cacert`.
    AuthoritiesNamed(Arc<str>),
    /// Paths of a certificate chain and its key.
    Files {
        /// PEM.
        certificate: Arc<str>,
        /// PEM.
        key: Arc<str>,
    },
    /// Paths of authorities, and of revocations.
    AuthorityFiles {
        /// PEM.
        authorities: Arc<str>,
        /// PEM.
        revocations: Option<Arc<str>>,
    },
    /// The proxy's own identity in the mesh: certificate and key.
    Workload,
    /// The authorities of the mesh.
    WorkloadAuthorities,
}

impl fmt::Display for CredentialRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "credential {name:?}"),
            Self::AuthoritiesNamed(name) => write!(f, "authorities of credential {name:?}"),
            Self::Files { certificate, .. } => write!(f, "certificate {certificate}"),
            Self::AuthorityFiles { authorities, .. } => write!(f, "authorities {authorities}"),
            Self::Workload => f.write_str("the proxy's mesh identity"),
            Self::WorkloadAuthorities => f.write_str("the mesh's authorities"),
        }
    }
}
