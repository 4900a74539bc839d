//! `[kubernetes]`: the API server whose objects are resources.

use super::Proxy;
use serde::Deserialize;
use source_kube::{Access, InvalidProxyName, ProxyName, ReplicaSettings, Seen, Settings};
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
    pub(crate) fn settings(&self, own_namespace: &str, seen: Option<Seen>) -> Settings {
        Settings {
            access: self.access(),
            namespaces: self.namespaces.clone(),
            secrets_of: Some(own_namespace.to_owned()),
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
