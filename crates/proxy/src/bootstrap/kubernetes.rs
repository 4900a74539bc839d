//! `[kubernetes]`: the API server whose objects are resources.

use super::Bootstrap;
use serde::Deserialize;
use source_kube::{Access, Settings, SidecarSettings};
use std::path::{Path, PathBuf};

/// The API server whose objects are resources, beside those in files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Kubernetes {
    /// How it is reached. Absent: as the pod says, or else as `$KUBECONFIG` and `~/.kube/config` do.
    kubeconfig: Option<PathBuf>,
    /// Which of that file's contexts. Absent: its current one.
    context: Option<String>,
    /// Whose objects. Empty: those of all namespaces.
    namespaces: Vec<String>,
}

impl Kubernetes {
    pub(super) fn relative_to(&mut self, folder: &Path) {
        if let Some(file) = &mut self.kubeconfig {
            *file = folder.join(&*file);
        }
    }

    /// How the API server is reached.
    pub fn access(&self) -> Access {
        Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
        }
    }

    /// What the proxy follows. Nodes say where endpoints are: a sidecar that does not know where it is itself has no use
    /// for that, and thousands of sidecars would each be told of every change of every Node.
    pub(crate) fn settings(&self, bootstrap: &Bootstrap) -> Settings {
        let sidecar = bootstrap.capture.as_ref().map(|_| SidecarSettings {
            root_namespace: bootstrap.mesh.root_namespace.clone(),
            nodes: !bootstrap.proxy.locality.is_empty(),
        });
        Settings {
            access: self.access(),
            namespaces: self.namespaces.clone(),
            own_namespace: bootstrap.proxy.namespace.clone(),
            sidecar,
        }
    }
}
