//! What a pod tells the agent in it, by the names of Istio's injection: this crate writes them, the agent reads them.
//!
//! Labels of theirs are in [`model::labels`].

pub use crate::annotations::truth;
use serde::Deserialize;

/// The pod's name.
pub const POD_NAME: &str = "POD_NAME";
/// The pod's namespace.
pub const POD_NAMESPACE: &str = "POD_NAMESPACE";
/// The pod's address, where the application is.
pub const INSTANCE_IP: &str = "INSTANCE_IP";
/// The pod's service account.
pub const SERVICE_ACCOUNT: &str = "SERVICE_ACCOUNT";
/// The trust domain of the mesh's identities.
pub const TRUST_DOMAIN: &str = "TRUST_DOMAIN";
/// The Kubernetes cluster, in metrics.
pub const CLUSTER_ID: &str = "ISTIO_META_CLUSTER_ID";
/// How connections come to the agent: a [`capture::Interception`].
pub const INTERCEPTION_MODE: &str = "ISTIO_META_INTERCEPTION_MODE";
/// The ports that containers name: a list of [`PodPort`] as JSON.
pub const POD_PORTS: &str = "ISTIO_META_POD_PORTS";
/// The workload that the pod belongs to.
pub const WORKLOAD_NAME: &str = "ISTIO_META_WORKLOAD_NAME";
/// Whether the application's DNS queries are redirected to the agent, as [`truth`] reads it.
pub const DNS_CAPTURE: &str = "ISTIO_META_DNS_CAPTURE";
/// Whether services without addresses get virtual ones, as [`truth`] reads it.
pub const DNS_AUTO_ALLOCATE: &str = "ISTIO_META_DNS_AUTO_ALLOCATE";
/// What of Istio's ProxyConfig is for the agent's own process, as JSON.
pub const PROXY_CONFIG: &str = "PROXY_CONFIG";
/// The probes and hooks that the agent takes over from the application, as JSON.
pub const APP_PROBERS: &str = "ISTIO_KUBE_APP_PROBERS";
/// Where the application has metrics, as JSON.
pub const PROMETHEUS_ANNOTATIONS: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
/// The address of the SPIFFE Workload API, by the SPIFFE project's name for it.
pub const SPIFFE_ENDPOINT_SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";

/// The folder with the pod's labels and annotations, a file each and a line each.
pub const POD_INFO: &str = "/etc/istio/pod";
/// The file of labels in [`POD_INFO`].
pub const LABELS_FILE: &str = "labels";

/// What the names of Istio's own settings of a proxy begin with, which `proxyMetadata` has as well.
const METADATA_PREFIX: &str = "ISTIO_META_";

/// Those of them that the agent reads.
pub const METADATA: [&str; 6] = [
    CLUSTER_ID,
    DNS_AUTO_ALLOCATE,
    DNS_CAPTURE,
    INTERCEPTION_MODE,
    POD_PORTS,
    WORKLOAD_NAME,
];

/// Whether a variable is a setting of Istio's that does nothing here.
pub fn is_unread(variable: &str) -> bool {
    variable.starts_with(METADATA_PREFIX) && !METADATA.contains(&variable)
}

/// A port of a container, as far as it matters who has it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodPort {
    /// Absent: Services can refer to it by number only.
    pub name: Option<String>,
    /// Its number.
    pub container_port: u16,
    /// Absent: TCP.
    pub protocol: Option<String>,
}

impl PodPort {
    /// Whether it is one of TCP.
    pub fn is_tcp(&self) -> bool {
        self.protocol.as_deref().is_none_or(|one| one == "TCP")
    }
}
