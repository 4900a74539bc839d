//! Clusters: where a route's requests can go, and the endpoints published beside the table.

use crate::{ConnectionPool, LoadBalancing, Localities, OnDemand, UpstreamSecurity, Workload};
use ahash::HashMap;
use model::{
    ArcMap, Hostname, Origin, OutlierDetection, ProxyProtocolVersion, TunnelSettings, Warmup,
};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The identity of a cluster: service host, subset and service port. Stable across generations.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterKey {
    /// Fully qualified service host, lower case. Empty: the proxy's own workload.
    pub host: Arc<str>,
    /// Subset of the DestinationRule. Absent: the whole service.
    pub subset: Option<Arc<str>>,
    /// Service port.
    pub port: u16,
    /// The namespace whose view of the registry it belongs to. Absent: the proxy's own.
    pub view: Option<Arc<str>>,
}

impl ClusterKey {
    /// The service port that its endpoints are published for.
    pub fn service(&self) -> ServicePort {
        ServicePort {
            host: self.host.clone(),
            port: self.port,
            view: self.view.clone(),
        }
    }

    /// Envoy's name for where clients go that are let through without being known.
    pub const PASSTHROUGH: &str = "PassthroughCluster";

    /// Of what is let through without being known.
    pub fn passthrough() -> Self {
        Self {
            host: Self::PASSTHROUGH.into(),
            subset: None,
            port: 0,
            view: None,
        }
    }

    /// The same for connections that were redirected: they go where they were going.
    pub fn passthrough_of_redirected() -> Self {
        Self {
            view: Some("redirected".into()),
            ..Self::passthrough()
        }
    }

    /// Whether it is one of these. Hosts are in lower case.
    pub fn is_passthrough(&self) -> bool {
        &*self.host == Self::PASSTHROUGH
    }

    /// Envoy's name for ports of a sidecar's workload that nothing has.
    pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";

    /// Of a port of the proxy's own workload. Absent: of all that nothing has.
    pub fn inbound(port: Option<u16>) -> Self {
        Self {
            host: match port {
                Some(_) => "".into(),
                None => Self::INBOUND_PASSTHROUGH.into(),
            },
            subset: None,
            port: port.unwrap_or_default(),
            view: None,
        }
    }

    /// Whether it is one of these: no service is without a host.
    pub fn is_inbound(&self) -> bool {
        self.host.is_empty() || &*self.host == Self::INBOUND_PASSTHROUGH
    }
}

impl fmt::Display for ClusterKey {
    /// Envoy's spelling: `outbound|8000|v1|httpbin.default.svc.cluster.local`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_passthrough() || &*self.host == Self::INBOUND_PASSTHROUGH {
            return f.write_str(&self.host);
        }
        if self.is_inbound() {
            return write!(f, "inbound|{}||", self.port);
        }
        let subset = self.subset.as_deref().unwrap_or("");
        write!(f, "outbound|{}|{}|{}", self.port, subset, self.host)?;
        match &self.view {
            Some(namespace) => write!(f, "@{namespace}"),
            None => Ok(()),
        }
    }
}

/// Where a destination leads.
#[derive(Clone, Debug)]
pub enum ClusterTarget {
    /// A known cluster.
    Cluster(Arc<Cluster>),
    /// No such service, port or subset: 503, flag `NC`.
    Missing(MissingCluster),
}

/// Why a destination leads nowhere.
#[derive(Clone, Debug)]
pub struct MissingCluster {
    /// What was asked for.
    pub key: ClusterKey,
    /// The reason, for the access log and `explain`: `no DestinationRule defines subset "v2"`.
    pub reason: Arc<str>,
}

/// A service port or a subset of it, with the policy that holds for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its identity.
    pub key: ClusterKey,
    /// The service's host, for metrics labels.
    pub service_host: Arc<str>,
    /// The service's namespace, for metrics labels.
    pub namespace: Arc<str>,
    /// The service's short name, for metrics labels (a ServiceEntry's: its host).
    pub service_name: Arc<str>,
    /// What requests are sent in. Connections are passed on as they are, whatever stands here.
    pub protocol: UpstreamProtocol,
    /// Only endpoints with these labels. Empty: all.
    pub subset_labels: BTreeMap<String, String>,
    /// How an endpoint is chosen.
    pub load_balancing: LoadBalancing,
    /// Which endpoints are nearer than others.
    pub localities: Localities,
    /// How long endpoints that are new take to get their whole share. Absent: they have it at once.
    pub warmup: Option<Warmup>,
    /// Limits and times of connections and requests.
    pub pool: ConnectionPool,
    /// When endpoints that fail are left out. Absent: never.
    pub outlier_detection: Option<OutlierDetection>,
    /// Which endpoints are spoken to in TLS, and how.
    pub tls: UpstreamSecurity,
    /// A forward proxy, the endpoints, is asked for this target.
    pub tunnel: Option<TunnelSettings>,
    /// The header that begins every connection.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Endpoints that are found when a client asks for them. Absent: the published ones are all.
    pub on_demand: Option<Arc<OnDemand>>,
    /// Whether clients choose the endpoint, by connecting to its address.
    ///
    /// Source: Istio, headless Services.
    pub headless: bool,
    /// Whether connections come from Istio's own address on loopback, by which the redirect rules know those from a
    /// sidecar to its workload.
    pub from_sidecar: bool,
    /// The DestinationRule that shaped it, if one did.
    pub origin: Option<Arc<Origin>>,
}

impl Cluster {
    /// A cluster that no DestinationRule shapes.
    pub fn plain(key: ClusterKey, protocol: UpstreamProtocol) -> Self {
        Self {
            service_host: key.host.clone(),
            namespace: "default".into(),
            service_name: key.host.clone(),
            key,
            protocol,
            subset_labels: BTreeMap::new(),
            load_balancing: LoadBalancing::default(),
            localities: Localities::default(),
            warmup: None,
            pool: ConnectionPool::default(),
            outlier_detection: None,
            tls: UpstreamSecurity::ClearText,
            tunnel: None,
            proxy_protocol: None,
            on_demand: None,
            headless: false,
            from_sidecar: false,
            origin: None,
        }
    }
}

/// What is spoken to a cluster's endpoints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// What the client spoke: `useClientProtocol` of a DestinationRule.
    AsClient,
    /// Nothing that is begun here: the port is in TLS. Only connections lead to it, no requests.
    Tcp,
}

/// The endpoints of all service ports, published beside the table: they change far more often than
/// rules. Parts that did not change are shared with the snapshot before.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// By service port. A service without endpoints has an empty list.
    pub services: ArcMap<ServicePort, [Endpoint]>,
    /// Names among the endpoints of a service port of which no address is known.
    pub unresolved: HashMap<ServicePort, Arc<[Hostname]>>,
    /// Those of headless Services that have names of their own.
    pub members: HashMap<ServicePort, Arc<Members>>,
    /// Whose endpoint an address is that clients of a headless Service connect to. For a sidecar only.
    pub headless: Headless,
    /// Whom an address belongs to: Pods that run and have one of their own, and WorkloadEntries. The same as before
    /// when nothing in it changed.
    pub workloads: Arc<HashMap<IpAddr, Arc<Workload>>>,
}

/// Service ports by the addresses of their endpoints.
pub type Headless = Arc<HashMap<SocketAddr, ServicePort>>;

/// The addresses of the endpoints of a headless Service that have a name of their own, by that name: its first label,
/// as in `db-0.db.shop.svc.cluster.local`. All of them, whatever their kind.
///
/// Source: Kubernetes `Endpoint.hostname`.
pub type Members = HashMap<Box<str>, Vec<IpAddr>>;

/// A port of a service.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServicePort {
    /// Fully qualified service host, lower case.
    pub host: Arc<str>,
    /// Service port.
    pub port: u16,
    /// The namespace whose view of the registry it belongs to. Absent: the proxy's own.
    pub view: Option<Arc<str>>,
}

/// One address that serves a service port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddr,
    /// Relative share, at least 1. Default 1.
    pub weight: u32,
    /// What runs there. Absent: not known, as behind the host of a ServiceEntry.
    pub workload: Option<Arc<Workload>>,
    /// Whether it takes the mesh's TLS: its workload is in the mesh, and no PeerAuthentication turns that off for the port.
    pub takes_mesh_tls: bool,
    /// `region/zone/subzone`, empty when unknown. Parts may be empty, and at the end left out.
    pub locality: Arc<str>,
    /// A name stands for the address that no name may stand for: it is not dialled.
    pub forbidden: bool,
}

impl Endpoint {
    /// An endpoint of which nothing but the address is known.
    pub fn at(address: EndpointAddr) -> Self {
        Self {
            address,
            weight: 1,
            workload: None,
            takes_mesh_tls: false,
            locality: "".into(),
            forbidden: false,
        }
    }

    /// The labels of its workload, which subsets select by.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.workload
            .as_ref()
            .map_or(&NONE, |workload| &workload.labels)
    }
}

/// The address of an endpoint.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndpointAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(Arc<str>),
}

impl fmt::Display for EndpointAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(path),
        }
    }
}
