//! `[kubernetes]`: the API server whose objects are resources.

use serde::Deserialize;
use source_kube::{Access, Settings};
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

    /// What a proxy of this namespace follows. Its Secrets are those of its own.
    pub(crate) fn settings(&self, own_namespace: &str) -> Settings {
        Settings {
            access: self.access(),
            namespaces: self.namespaces.clone(),
            secrets_of: Some(own_namespace.to_owned()),
        }
    }
}
