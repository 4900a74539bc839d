//! Clusters: where a route's requests can go, and the endpoints published beside the table.

use ahash::HashMap;
use model::{Hostname, Origin};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Stands for "no limit" as an idle time: a year, so that clocks can be added to.
pub const NO_IDLE_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// The identity of a cluster: service host, subset and service port. Stable across generations.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterKey {
    /// Fully qualified service host, lower case.
    pub host: Arc<str>,
    /// Subset of the DestinationRule. Absent: the whole service.
    pub subset: Option<Arc<str>>,
    /// Service port.
    pub port: u16,
}

impl fmt::Display for ClusterKey {
    /// Envoy's spelling: `outbound|8000|v1|httpbin.default.svc.cluster.local`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subset = self.subset.as_deref().unwrap_or("");
        write!(f, "outbound|{}|{}|{}", self.port, subset, self.host)
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
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cluster {
    /// Its identity.
    pub key: ClusterKey,
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
    /// How long a TCP connection may take. Default 10 s.
    pub connect_timeout: Duration,
    /// How long an unused upstream connection is kept. Default 1 h; [`NO_IDLE_LIMIT`] for no limit.
    pub idle_timeout: Duration,
    /// The DestinationRule that shaped it, if one did.
    pub origin: Option<Arc<Origin>>,
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

/// How an endpoint is chosen.
///
/// Source: Istio `LoadBalancerSettings`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LoadBalancing {
    /// Two drawn by weight, the one with fewer requests in flight is taken. Istio's default.
    #[default]
    LeastRequest,
    /// In turn, by weight.
    RoundRobin,
    /// Drawn by weight.
    Random,
}

/// The endpoints of all service ports, published beside the table: they change far more often than
/// rules. Parts that did not change are shared with the snapshot before.
#[derive(Clone, Debug, Default)]
pub struct Endpoints {
    /// By service port. A service without endpoints has an empty list.
    pub services: HashMap<ServicePort, Arc<[Endpoint]>>,
    /// Names among the endpoints of a service port of which no address is known.
    pub unresolved: HashMap<ServicePort, Arc<[Hostname]>>,
}

/// A port of a service.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServicePort {
    /// Fully qualified service host, lower case.
    pub host: Arc<str>,
    /// Service port.
    pub port: u16,
}

/// One address that serves a service port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddr,
    /// Relative share, at least 1. Default 1.
    pub weight: u32,
    /// Labels of the workload, which subsets select by.
    pub labels: Arc<BTreeMap<String, String>>,
    /// `region/zone/subzone`, empty when unknown. Parts may be empty, and at the end left out.
    pub locality: Arc<str>,
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
