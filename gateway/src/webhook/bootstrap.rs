//! The bootstrap file of `gateway webhook`.

use anyhow::Context;
use inject::InjectOptions;
use proxy::bootstrap::{Drain, InvalidBootstrap, MetricsServer, Status};
use serde::Deserialize;
use source_kube::Access;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use webhook::{Places, server_names};

/// Everything that is decided before anybody asks. Paths are relative to the file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Bootstrap {
    /// Where it is asked, and by whom.
    pub(crate) webhook: Webhook,
    /// How the API server is reached.
    kubernetes: Kubernetes,
    /// What every sidecar has: what the file of `mesh-agent inject --config` says.
    pub(crate) injection: InjectOptions,
    /// Readiness.
    pub(crate) status: Status,
    /// Metrics for Prometheus.
    pub(crate) metrics: MetricsServer,
    /// How the process ends.
    pub(crate) drain: Drain,
}

/// Where it is asked, and by whom.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Webhook {
    /// Where it listens, HTTPS alone.
    pub(crate) address: SocketAddr,
    /// Its own namespace: that of its Service and of its Secret.
    namespace: String,
    /// The Service by which API servers reach it.
    service: String,
    /// Further names and addresses by which they do: those of configurations with a `url`. Default: none.
    names: Vec<String>,
    /// The Secret where its certificates are kept, which all replicas share.
    secret: String,
    /// The ValidatingWebhookConfigurations whose `caBundle` is kept right, in all of their webhooks. Default: none.
    validating_configurations: Vec<String>,
    /// The same of MutatingWebhookConfigurations.
    mutating_configurations: Vec<String>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 15017)),
            namespace: "istio-system".to_owned(),
            service: "tidegate-webhook".to_owned(),
            names: Vec::new(),
            secret: "tidegate-webhook".to_owned(),
            validating_configurations: Vec::new(),
            mutating_configurations: Vec::new(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Kubernetes {
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Bootstrap {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has mistakes.
    pub(crate) fn load(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{}: cannot be read", file.display()))?;
        let mut bootstrap: Self =
            toml::from_str(&text).map_err(|error| InvalidBootstrap::new(file, &text, &error))?;
        if let Some(kubeconfig) = &mut bootstrap.kubernetes.kubeconfig {
            let folder = file.parent().unwrap_or_else(|| Path::new(""));
            *kubeconfig = folder.join(&*kubeconfig);
        }
        Ok(bootstrap)
    }

    /// How the API server is reached.
    pub(crate) fn access(&self) -> Access {
        let Kubernetes {
            kubeconfig,
            context,
        } = &self.kubernetes;
        Access {
            kubeconfig: kubeconfig.clone(),
            context: context.clone(),
        }
    }
}

impl Webhook {
    /// Where certificates are kept, and whom they are told to.
    pub(crate) fn places(&self) -> Places {
        Places {
            namespace: self.namespace.clone(),
            secret: self.secret.clone(),
            validating: self.validating_configurations.clone(),
            mutating: self.mutating_configurations.clone(),
        }
    }

    /// The names in its certificate: API servers ask a Service by the first one.
    pub(crate) fn names(&self) -> Vec<String> {
        let service = format!("{}.{}.svc", self.service, self.namespace);
        server_names([service].into_iter().chain(self.names.iter().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_in_conf_says_the_defaults() {
        let file = Path::new("../conf/webhook.toml");
        let written = Bootstrap::load(file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        // What is behind a `#` and looks like a key is one.
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if key.contains(" = ") => key,
                _ => line,
            })
            .fold(String::new(), |text, line| text + line + "\n");
        let all: Bootstrap = toml::from_str(&uncommented).unwrap();
        assert_eq!(all.kubernetes.context.as_deref(), Some("test"));
        let default = Bootstrap::default();
        assert_eq!(
            written.webhook.places(),
            Places {
                validating: written.webhook.validating_configurations.clone(),
                mutating: written.webhook.mutating_configurations.clone(),
                ..default.webhook.places()
            }
        );
        assert_eq!(written.webhook.names(), default.webhook.names());
        assert_eq!(written.injection, default.injection);
        assert_eq!(written.webhook.address, default.webhook.address);
        assert_eq!(written.status.address, default.status.address);
        assert_eq!(written.metrics.address, default.metrics.address);
        assert_eq!(
            (written.drain.delay, written.drain.timeout),
            (default.drain.delay, default.drain.timeout)
        );
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for text in [
            "[webhok]",
            "[webhook]\naddres = '127.0.0.1:1'",
            "[webhook]\naddress = '15017'",
            "[kubernetes]\nnamespaces = []",
            "[injection]\nimag = 'a'",
            "[drain]\ndelay = 5",
        ] {
            assert!(toml::from_str::<Bootstrap>(text).is_err(), "{text}");
        }
    }
}
