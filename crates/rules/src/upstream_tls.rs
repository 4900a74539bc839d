//! TLS to upstreams: Istio's `ClientTLSSettings`, and the mesh's own TLS, compiled.

use crate::{CredentialRef, Endpoint};
use std::sync::Arc;

/// Which endpoints of a cluster are spoken to in TLS.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub enum UpstreamSecurity {
    /// None.
    #[default]
    ClearText,
    /// All: a DestinationRule says so.
    Rule(Arc<UpstreamTls>),
    /// Those that take the mesh's TLS, and others are spoken to in clear text: nobody says otherwise.
    ///
    /// Source: Istio `MeshConfig.enable_auto_mtls`.
    Auto(Arc<UpstreamTls>),
}

impl UpstreamSecurity {
    /// How TLS is begun with those that it is begun with.
    pub fn settings(&self) -> Option<&Arc<UpstreamTls>> {
        match self {
            Self::ClearText => None,
            Self::Rule(tls) | Self::Auto(tls) => Some(tls),
        }
    }

    /// How TLS is begun with an endpoint. `None`: it is spoken to in clear text.
    pub fn toward(&self, endpoint: &Endpoint) -> Option<&Arc<UpstreamTls>> {
        match self {
            Self::ClearText => None,
            Self::Rule(tls) => Some(tls),
            Self::Auto(tls) => endpoint.takes_mesh_tls.then_some(tls),
        }
    }

    /// Whether nothing is ever sent in clear text, whoever the endpoints are.
    pub fn is_certain(&self) -> bool {
        matches!(self, Self::Rule(_))
    }
}

/// How TLS is begun with a cluster's endpoints.
///
/// Source: Istio `ClientTLSSettings`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct UpstreamTls {
    /// What this side shows. Absent: nothing (mode SIMPLE).
    pub certificate: Option<CredentialRef>,
    /// Whether and by whom the server must be known.
    pub verification: ServerVerification,
    /// The name that is sent. Absent: the host of the request.
    pub sni: Option<Arc<str>>,
    /// Whether the mesh's protocols are offered by ALPN (mode ISTIO_MUTUAL).
    pub mesh: bool,
}

impl UpstreamTls {
    /// The certificates and authorities that it names.
    pub fn references(&self) -> impl Iterator<Item = &CredentialRef> {
        let authorities = match &self.verification {
            ServerVerification::Verified { authorities, .. } => authorities.as_ref(),
            ServerVerification::Nothing => None,
        };
        self.certificate.iter().chain(authorities)
    }
}

/// What is asked of a server's certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ServerVerification {
    /// Nothing: `insecureSkipVerify`.
    Nothing,
    /// It must have been signed by one of these authorities, and have one of these names.
    Verified {
        /// Absent: the system's.
        authorities: Option<CredentialRef>,
        /// The names.
        names: ServerNames,
    },
}

/// Names of which a server's certificate must have one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ServerNames {
    /// The one that is sent.
    Sent,
    /// These: hosts, addresses, URIs. Never empty.
    ///
    /// Istio takes each for the whole name. Here a `*` at the end of a URI stands for any rest of it, which with
    /// Istio would match nothing.
    Listed(Vec<Arc<str>>),
    /// The identity of the very workload that is connected to.
    Workload(WorkloadNames),
}

/// The names of workloads of the mesh.
///
/// Istio takes the accounts of all endpoints of a service for each of them, since that is all that its data plane can
/// be told. Here an address that was handed on to another workload, of the same service even, is noticed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct WorkloadNames {
    /// In which its identity may be, the mesh's own first and then those that are the same. Never empty.
    ///
    /// Where the account of an endpoint is not known, any identity in these is taken for it, unless there are `others`.
    pub trust_domains: Vec<Arc<str>>,
    /// Names that count as well, of the same kinds as those that a rule lists.
    ///
    /// Source: Istio `ServiceEntry.subjectAltNames`.
    pub others: Vec<Arc<str>>,
}
