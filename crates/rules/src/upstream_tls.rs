//! TLS to upstreams: Istio's `ClientTLSSettings`, compiled.

use crate::CredentialRef;
use std::sync::Arc;

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
        /// Names of which one must be there: hosts, addresses, URIs. Empty: the name that is sent, or with `mesh` any
        /// identity.
        ///
        /// Istio takes each for the whole name. Here a `*` at the end of a URI stands for any rest of it, which with
        /// Istio would match nothing.
        subject_alt_names: Vec<Arc<str>>,
    },
}
