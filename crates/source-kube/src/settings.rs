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
    /// Whose Secrets are followed: the proxy's own namespace. Absent: nobody's.
    pub secrets_of: Option<String>,
    /// Who wants to know which versions of objects are in force. Absent: nobody.
    pub seen: Option<Seen>,
}
