//! What is read of Kubernetes' own kinds. The many other fields of these are skipped.

use crate::{At, ExportTo, Hostname, Labels, Meta, PortProtocol};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Source: Kubernetes `v1` Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Identity.
    pub meta: Meta,
    /// `type`
    pub service_type: ServiceType,
    /// `clusterIP` and `clusterIPs`. Empty for a headless service.
    pub cluster_ips: Vec<IpAddr>,
    /// Whether `clusterIP` is `None`: clients connect to the endpoints.
    pub headless: bool,
    /// `externalName`, for the type of that name.
    pub external_name: Option<Hostname>,
    /// Pods with these labels serve it. Empty: endpoints come from elsewhere.
    pub selector: Labels,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Endpoints that are not ready count too. Default false.
    pub publish_not_ready_addresses: bool,
    /// Which endpoints are nearer.
    pub traffic_distribution: Option<String>,
    /// The annotation `networking.istio.io/exportTo`.
    pub export_to: ExportTo,
}

/// How a Service is reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ServiceType {
    /// By a virtual address.
    #[default]
    ClusterIp,
    /// By a port of each node too.
    NodePort,
    /// By an address of its own too.
    LoadBalancer,
    /// An alias of a name.
    ExternalName,
}

/// A port of a [`Service`].
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// Where it stands.
    pub at: At,
    /// Absent only when it is the only one.
    pub name: Option<String>,
    /// 1 to 65535.
    pub port: u16,
    /// The Pods' port. Absent in the source: `port`.
    pub target_port: TargetPort,
    /// What is spoken, by `appProtocol`, else by the name, else unspecified. UDP when `transport` is not TCP.
    pub protocol: PortProtocol,
    /// `protocol`
    pub transport: Transport,
    /// `appProtocol` as written.
    pub app_protocol: Option<String>,
    /// `nodePort`
    pub node_port: Option<u16>,
}

/// The Pods' port of a Service port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name of a container's port.
    Name(String),
}

/// What carries a port's bytes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// Source: Kubernetes `v1` Pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Identity.
    pub meta: Meta,
    /// `status.podIP` and `status.podIPs`. Empty: not yet running.
    pub pod_ips: Vec<IpAddr>,
    /// `status.phase`. Absent: unknown.
    pub phase: Option<PodPhase>,
    /// The condition `Ready`. True when the source has no `status.conditions`, as in a hand-written file.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// The one of `metadata.ownerReferences` that is its controller. Absent: nobody made it.
    pub owner: Option<PodOwner>,
    /// `spec.nodeName`
    pub node_name: Option<String>,
    /// `spec.serviceAccountName`
    pub service_account: Option<String>,
    /// Whether it has the node's address.
    pub host_network: bool,
    /// The ports of its containers.
    pub ports: Vec<ContainerPort>,
}

/// What makes a Pod anew when it is gone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodOwner {
    /// `ReplicaSet`, `StatefulSet`, `Job`…
    pub kind: String,
    /// Its name, in the Pod's namespace.
    pub name: String,
}

/// Where a Pod is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PodPhase {
    /// Not started.
    Pending,
    /// Started.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Not known.
    Unknown,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerPort {
    /// What `targetPort` may name.
    pub name: Option<String>,
    /// 1 to 65535.
    pub container_port: u16,
    /// What carries it.
    pub transport: Transport,
}

/// Source: Kubernetes `v1` Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Secret {
    /// Identity.
    pub meta: Meta,
    /// `type`
    pub secret_type: String,
    /// `data` decoded, and `stringData` over it.
    pub data: BTreeMap<String, SecretBytes>,
}

/// Bytes that are not shown.
#[derive(Clone, Eq, PartialEq)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Hides `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.0.len())
    }
}

/// Source: Kubernetes `v1` Namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Identity; its namespace is empty.
    pub meta: Meta,
}

/// Source: Kubernetes `v1` Node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Identity; its namespace is empty. Its labels tell where it is.
    pub meta: Meta,
}

/// Source: Kubernetes `discovery.k8s.io/v1` EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Identity.
    pub meta: Meta,
    /// The label `kubernetes.io/service-name`: the Service of the same namespace.
    pub service_name: Option<Arc<str>>,
    /// What the addresses are.
    pub address_type: AddressType,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports that each endpoint has. Empty: none.
    pub ports: Vec<SlicePort>,
}

/// What the addresses of an [`EndpointSlice`] are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressType {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Names to resolve.
    Fqdn,
}

/// One endpoint of an [`EndpointSlice`].
#[derive(Clone, Debug, PartialEq)]
pub struct SliceEndpoint {
    /// Where it stands.
    pub at: At,
    /// Interchangeable addresses, the first counts. Empty for names.
    pub addresses: Vec<IpAddr>,
    /// Names that stand for it, the first counts. Empty for addresses.
    pub names: Vec<Hostname>,
    /// `conditions.ready`; absent means true.
    pub ready: bool,
    /// `conditions.serving`; absent means as `ready`.
    pub serving: bool,
    /// `conditions.terminating`; absent means false.
    pub terminating: bool,
    /// `hostname`
    pub hostname: Option<String>,
    /// `nodeName`
    pub node_name: Option<String>,
    /// `zone`
    pub zone: Option<String>,
    /// The Pod behind it.
    pub pod: Option<PodRef>,
}

/// The Pod behind an endpoint (`targetRef` of kind Pod).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

/// A port of an [`EndpointSlice`].
#[derive(Clone, Debug, PartialEq)]
pub struct SlicePort {
    /// Where it stands.
    pub at: At,
    /// Name of the Service port, empty for an unnamed one.
    pub name: String,
    /// The endpoints' port. Absent: all.
    pub port: Option<u16>,
    /// What carries it.
    pub transport: Transport,
    /// `appProtocol`
    pub app_protocol: Option<String>,
}
