//! `[kubernetes]`: the API server whose objects are resources.

use super::{Bootstrap, Proxy};
use serde::Deserialize;
use source_kube::{
    Access, InvalidProxyName, ProxyName, ReplicaSettings, Seen, Settings, SidecarSettings,
};
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
    /// Whether objects are told what became of them, in their `status` and by events.
    ///
    /// Default: no. Who was allowed to read must not begin to write with a new version.
    status: bool,
}

/// The same for a sidecar, which tells no object what became of it: thousands would, each of a part of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SidecarKubernetes {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    namespaces: Vec<String>,
}

impl From<SidecarKubernetes> for Kubernetes {
    fn from(written: SidecarKubernetes) -> Self {
        Self {
            kubeconfig: written.kubeconfig,
            context: written.context,
            namespaces: written.namespaces,
            ..Self::default()
        }
    }
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
    pub(crate) fn settings(&self, bootstrap: &Bootstrap, seen: Option<Seen>) -> Settings {
        let sidecar = bootstrap.capture.as_ref().map(|_| SidecarSettings {
            root_namespace: bootstrap.mesh.root_namespace.clone(),
            nodes: !bootstrap.proxy.locality.is_empty(),
        });
        Settings {
            access: self.access(),
            namespaces: self.namespaces.clone(),
            own_namespace: bootstrap.proxy.namespace.clone(),
            sidecar,
            seen,
        }
    }

    /// Who tells objects what became of them. Absent: nobody does.
    ///
    /// # Errors
    ///
    /// When nothing can be named after the proxy.
    pub(crate) fn status(
        &self,
        proxy: &Proxy,
    ) -> Result<Option<ReplicaSettings>, InvalidProxyName> {
        if !self.status {
            return Ok(None);
        }
        Ok(Some(ReplicaSettings {
            access: self.access(),
            proxy: ProxyName::new(&proxy.name, &proxy.namespace)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Bootstrap;

    fn status(text: &str) -> Result<Option<ReplicaSettings>, InvalidProxyName> {
        let bootstrap: Bootstrap = toml::from_str(text).unwrap();
        bootstrap.kubernetes.unwrap().status(&bootstrap.proxy)
    }

    #[test]
    fn a_status_is_told_on_request_by_who_has_a_name_for_leases() {
        assert_eq!(status("[kubernetes]").unwrap(), None);
        let text = "[proxy]\nname = 'edge'\nnamespace = 'web'\n[kubernetes]\nstatus = true";
        let proxy = status(text).unwrap().unwrap().proxy;
        assert_eq!((proxy.name(), proxy.namespace()), ("edge", "web"));
        let text = "[proxy]\nname = 'The Edge'\n[kubernetes]\nstatus = true";
        let error = status(text).unwrap_err().to_string();
        assert!(error.contains("`The Edge`"), "{error}");
    }
}
