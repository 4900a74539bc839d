//! What is followed, and where.

use crate::status::Seen;
use std::path::PathBuf;

/// How the API server is reached.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Access {
    /// A file that says how. Absent: as the pod says in which this runs, or else as `$KUBECONFIG` and `~/.kube/config` do.
    pub kubeconfig: Option<PathBuf>,
    /// Which of that file's contexts. Absent: its current one.
    pub context: Option<String>,
}

/// What is followed, and where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Settings {
    /// How the API server is reached.
    pub access: Access,
    /// The namespaces whose objects are followed. Empty: all. The proxy's own has to be among them.
    pub namespaces: Vec<String>,
    /// The proxy's own, whose Secrets are followed as far as they are wanted.
    pub own_namespace: String,
    /// For a sidecar, of others' objects those alone are followed that are wanted. Absent: it is a gateway, for whom all are.
    pub sidecar: Option<SidecarSettings>,
    /// Who wants to know which versions of objects are in force. Absent: nobody.
    pub seen: Option<Seen>,
}

/// What a sidecar follows beside what is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SidecarSettings {
    /// Whose Sidecars and policies hold for everybody.
    pub root_namespace: String,
    /// Whether Nodes are followed, which say where endpoints are: no use to who does not know where it is itself.
    pub nodes: bool,
}
