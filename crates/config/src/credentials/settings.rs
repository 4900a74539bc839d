//! Where certificates lie.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where certificates lie, and what is demanded of the files.
#[derive(Clone, Debug, Default)]
pub struct CredentialSettings {
    /// The folder with a folder for each credential name. Absent: Secrets alone have names.
    pub certificates: Option<PathBuf>,
    /// Credentials that are ordered. Their folders come after those above.
    pub ordered: Option<OrderedCredentials>,
    /// Where the proxy's identity in the mesh comes from. Absent: it has none.
    pub identity: Option<IdentitySource>,
    /// What paths that a Gateway or a DestinationRule names are relative to.
    pub relative_to: PathBuf,
    /// Whether files of keys may be readable by others than their owner, as in volumes of Kubernetes.
    pub allow_readable_keys: bool,
}

/// Where the proxy's identity in the mesh comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdentitySource {
    /// A folder with `cert-chain.pem`, `key.pem` and `root-cert.pem`, as Istio's agent writes them, or `tls.crt`,
    /// `tls.key` and `ca.crt`, as volumes of Kubernetes have them.
    Folder(PathBuf),
    /// A source that tells it as [`Message::Identity`](crate::Message::Identity), by the name that people know:
    /// `the Workload API unix:///run/spire/agent.sock`.
    Told(Arc<str>),
}

/// Credentials that are ordered from a certificate authority, and stored by whoever orders them.
#[derive(Clone, Debug, Default)]
pub struct OrderedCredentials {
    /// The folder with a folder for each.
    pub storage: PathBuf,
    /// Their names.
    pub names: BTreeSet<String>,
}

impl CredentialSettings {
    /// The folders in which a name can be, the first counts.
    pub(super) fn folders_of(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        // A name with a slash in it would lead elsewhere.
        let is_folder = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
        let ordered = self.ordered.as_ref();
        let storage = ordered.filter(|ordered| ordered.names.contains(name));
        let parents = [
            self.certificates.as_deref(),
            storage.map(|ordered| &*ordered.storage),
        ];
        let parents = parents.into_iter().flatten().filter(move |_| is_folder);
        parents
            .map(|parent| parent.join(name))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// The folder of the identity.
    pub(super) fn identity_folder(&self) -> Option<&Path> {
        match &self.identity {
            Some(IdentitySource::Folder(folder)) => Some(folder),
            Some(IdentitySource::Told(_)) | None => None,
        }
    }

    /// Whether certificates of this name are ordered.
    pub(super) fn orders(&self, name: &str) -> bool {
        let ordered = self.ordered.as_ref();
        ordered.is_some_and(|ordered| ordered.names.contains(name))
    }

    /// A path of a Gateway or a DestinationRule.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        self.relative_to.join(Path::new(written))
    }
}
