//! PeerAuthentication: whether clients of a workload must show who they are.

use crate::{At, Labels, Meta};
use std::collections::BTreeMap;

/// Mutual TLS on the server's side.
///
/// Source: Istio `PeerAuthentication`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeerAuthentication {
    /// Identity.
    pub meta: Meta,
    /// `selector.matchLabels`. Empty: all workloads of the namespace, or of the mesh in the root namespace.
    pub selector: Labels,
    /// What holds for all ports. Absent: as [`PeerTlsMode::Unset`].
    pub mtls: Option<PeerTls>,
    /// What holds for a port of the workload, not of its service. Empty unless there is a selector.
    pub port_level_mtls: BTreeMap<u16, PeerTls>,
}

/// A mode and where it stands.
///
/// Source: Istio `PeerAuthentication.MutualTLS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PeerTls {
    /// Where it stands.
    pub at: At,
    /// The mode.
    pub mode: PeerTlsMode,
}

/// What clients may speak.
///
/// Source: Istio `PeerAuthentication.MutualTLS.Mode`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PeerTlsMode {
    /// As the next wider level has it.
    #[default]
    Unset,
    /// Nothing is made of TLS.
    Disable,
    /// Mutual TLS and in clear.
    Permissive,
    /// Mutual TLS only.
    Strict,
}
