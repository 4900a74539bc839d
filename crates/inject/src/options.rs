//! What every sidecar has, unless its pod says otherwise.

use crate::identity::Identity;
use crate::values::{ConfigMapFile, LogLevel, NativeSidecar, PullPolicy, Quantity};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What every sidecar has. The default needs two ConfigMaps in the pod's namespace, `mesh-agent` with the bootstrap file
/// and `mesh-resources` with Istio's resources, and nothing else.
///
/// As TOML, keys are in kebab case and those that are unknown are errors.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct InjectOptions {
    /// The image of the agent, which `mesh-agent` is in the path of. Default: `localhost/tidegate/mesh-agent` of
    /// this version, which is never fetched from anywhere: no image is published, and whoever builds one names where it is.
    ///
    /// Source: Istio `sidecar.istio.io/proxyImage`, which wins.
    pub image: String,
    /// When the image is pulled. Absent: as Kubernetes decides.
    pub image_pull_policy: Option<PullPolicy>,
    /// Secrets that the image is pulled with, added to those of the pod. Default: none.
    pub image_pull_secrets: Vec<String>,
    /// The namespace of objects that name none. Default: `default`.
    pub namespace: String,
    /// Whether the sidecar is an init container that goes on. Default: where pods have an end.
    ///
    /// Source: Istio `sidecar.istio.io/nativeSidecar`, which wins.
    pub native_sidecar: NativeSidecar,
    /// Whether the application starts when the sidecar is ready rather than beside it. Default: yes, where Istio says no.
    /// Behind a native sidecar it always does.
    ///
    /// Source: Istio `ProxyConfig.holdApplicationUntilProxyStarts`, which wins.
    pub hold_application: bool,
    /// The ConfigMap and its key with the agent's bootstrap file, which is mounted into `/etc/istio/mesh-agent`. Default:
    /// `mesh-agent/mesh-agent.toml`.
    pub bootstrap: ConfigMapFile,
    /// ConfigMaps with resources. Their keys are the files of `/etc/istio/resources`, which the bootstrap file has to
    /// name in `[resources] files`. Default: `mesh-resources`. Empty: none, for agents that ask an API server.
    pub resources: Vec<String>,
    /// Whether the agent asks the API server, which its bootstrap file says by `[kubernetes]`: it gets a token of its pod's
    /// service account, whether or not the pod and the account say that there is one. Default: no.
    pub api_server: bool,
    /// Where the sidecar's certificate comes from. Default: it has none, and other workloads speak with it in clear.
    pub identity: Identity,
    /// The trust domain of identities. Default: `cluster.local`.
    ///
    /// Source: Istio `MeshConfig.trust_domain`.
    pub trust_domain: String,
    /// The cluster's name in metrics. Default: `Kubernetes`.
    pub cluster_id: String,
    /// What the sidecar logs of itself. Default: `info`.
    ///
    /// Source: Istio `sidecar.istio.io/logLevel`, which wins.
    pub log_level: LogLevel,
    /// Whether the application's DNS queries go to the sidecar. Default: no.
    ///
    /// Source: Istio `ISTIO_META_DNS_CAPTURE` in `ProxyConfig.proxyMetadata`, which wins.
    pub dns_capture: bool,
    /// What the sidecar is sure to get. Default: a tenth of a CPU and 40 MiB.
    ///
    /// Source: Istio `sidecar.istio.io/proxyCPU` and `proxyMemory`. Either of these or of the limits replaces both.
    pub requests: Quantities,
    /// What the sidecar gets at most. Default: 2 CPUs and 1 GiB.
    ///
    /// Source: Istio `sidecar.istio.io/proxyCPULimit` and `proxyMemoryLimit`.
    pub limits: Quantities,
    /// Annotations that count where a pod has not got them, such as `traffic.sidecar.istio.io/excludeOutboundPorts`.
    /// They are not written into the pod. Default: none.
    pub annotations: BTreeMap<String, String>,
}

/// An amount of each kind. Absent: none is said.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Quantities {
    /// CPUs, as `100m` or `2`.
    pub cpu: Option<Quantity>,
    /// Bytes, as `40Mi`.
    pub memory: Option<Quantity>,
}

impl Quantities {
    fn of(cpu: &str, memory: &str) -> Self {
        Self {
            cpu: cpu.parse().ok(),
            memory: memory.parse().ok(),
        }
    }
}

impl Default for InjectOptions {
    fn default() -> Self {
        Self {
            image: concat!("localhost/tidegate/mesh-agent:", env!("CARGO_PKG_VERSION")).to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            namespace: "default".to_owned(),
            native_sidecar: NativeSidecar::Auto,
            hold_application: true,
            bootstrap: ConfigMapFile::default(),
            resources: vec!["mesh-resources".to_owned()],
            api_server: false,
            identity: Identity::None,
            trust_domain: "cluster.local".to_owned(),
            cluster_id: "Kubernetes".to_owned(),
            log_level: LogLevel::Info,
            dns_capture: false,
            requests: Quantities::of("100m", "40Mi"),
            limits: Quantities::of("2", "1Gi"),
            annotations: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        let options: InjectOptions = toml::from_str("").unwrap();
        assert_eq!(options, InjectOptions::default());
        assert!(options.requests.cpu.is_some() && options.limits.memory.is_some());
    }

    #[test]
    fn every_key_can_be_set() {
        let options: InjectOptions = toml::from_str(
            r#"
            image = "registry.example/agent:1"
            image-pull-policy = "IfNotPresent"
            image-pull-secrets = ["registry"]
            namespace = "shop"
            native-sidecar = "true"
            hold-application = false
            bootstrap = "agent/config.toml"
            resources = []
            api-server = true
            identity = "secret"
            trust-domain = "example.org"
            cluster-id = "west"
            log-level = "warning"
            dns-capture = true
            requests = { cpu = "10m" }
            limits = { memory = "64Mi" }
            [annotations]
            "traffic.sidecar.istio.io/excludeOutboundPorts" = "5432"
            "#,
        )
        .unwrap();
        assert_eq!(options.native_sidecar, NativeSidecar::Always);
        assert_eq!(options.identity, Identity::Secret { name: None });
        assert_eq!(options.bootstrap.to_string(), "agent/config.toml");
        assert_eq!(
            (options.requests.memory, options.resources.len()),
            (None, 0)
        );
        assert_eq!(options.annotations.len(), 1);
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused() {
        for text in [
            "imag = ''",
            "requests = { gpu = '1' }",
            "requests = { cpu = 'much' }",
            "identity = 'magic'",
            "log-level = 'loud'",
            "bootstrap = '/x'",
            "native-sidecar = 'maybe'",
            "image-pull-policy = 'Sometimes'",
        ] {
            assert!(toml::from_str::<InjectOptions>(text).is_err(), "{text}");
        }
    }
}
