//! A gateway that forwards by a table written by hand.

use super::PATIENCE;
use crate::http::tests::names::Names;
use crate::net::{Addresses, ConnectionObserver, Limits, ListenerManager, Refused};
use crate::{GatewayApp, Outside, Resolve, Settings, Shared};
use certificates::Credentials;
use model::{Origin, Position, ResourceRef};
use rules::{
    Cluster, ClusterKey, ClusterTarget, ConnectionPool, Endpoint, EndpointAddr, Endpoints,
    Listener, ListenerKey, LoadBalancing, MissingCluster, Serves, ServicePort, Table,
    TcpDestination, TcpMatch, TcpRoute, TcpRoutes, UpstreamProtocol,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use telemetry::{AccessLog, Format, Metrics};
use tokio::net::TcpStream;

pub(super) const KEY: ListenerKey = ListenerKey {
    bind: None,
    port: 9000,
};

/// A running gateway.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) listeners: ListenerManager<GatewayApp>,
    refused: Arc<Refusals>,
    folder: tempfile::TempDir,
}

#[derive(Default)]
struct Refusals(AtomicUsize);

impl ConnectionObserver for Refusals {
    fn opened(&self, _: &ListenerKey) {}
    fn closed(&self, _: &ListenerKey) {}
    fn refused(&self, _: &ListenerKey, why: Refused) {
        assert_eq!(why, Refused::ProxyProtocol);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a gateway is made from.
#[derive(Default)]
pub(super) struct Rules {
    table: Table,
    endpoints: Endpoints,
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) credentials: Arc<Credentials>,
    /// Absent: names are not resolved.
    pub(super) resolver: Option<Arc<dyn Resolve>>,
}

impl Rules {
    /// A cluster whose endpoints take turns, in no order that a test may rely on.
    pub(super) fn cluster(&mut self, name: &str, endpoints: &[EndpointAddr]) -> ClusterTarget {
        self.cluster_with(name, endpoints, |_| {}, |_| {})
    }

    /// A cluster and its endpoints, changed as the case wants.
    pub(super) fn cluster_with(
        &mut self,
        name: &str,
        endpoints: &[EndpointAddr],
        change: impl FnOnce(&mut Cluster),
        change_endpoint: impl Fn(&mut Endpoint),
    ) -> ClusterTarget {
        let host: Arc<str> = format!("{name}.default.svc.cluster.local").into();
        let key = ClusterKey {
            view: None,
            host: host.clone(),
            subset: None,
            port: 9000,
        };
        let mut cluster = Cluster {
            service_name: name.into(),
            load_balancing: LoadBalancing::RoundRobin,
            pool: ConnectionPool {
                connect_timeout: PATIENCE,
                ..ConnectionPool::default()
            },
            ..Cluster::plain(key.clone(), UpstreamProtocol::Tcp)
        };
        change(&mut cluster);
        let cluster = Arc::new(cluster);
        self.table.clusters.insert(key, cluster.clone());
        let endpoint = |address: &EndpointAddr| {
            let mut endpoint = Endpoint::at(address.clone());
            change_endpoint(&mut endpoint);
            endpoint
        };
        let service = ServicePort {
            host,
            port: 9000,
            view: None,
        };
        let endpoints = endpoints.iter().map(endpoint).collect();
        self.endpoints.services.insert(service, endpoints);
        ClusterTarget::Cluster(cluster)
    }

    /// One route for every connection, to one cluster with these endpoints.
    pub(super) async fn to(mut self, endpoints: &[SocketAddr]) -> Gateway {
        let endpoints: Vec<_> = endpoints.iter().copied().map(EndpointAddr::Tcp).collect();
        let cluster = self.cluster("echo", &endpoints);
        self.start(Serves::Tcp(routes([route(&[], [cluster])])))
            .await
    }

    pub(super) async fn start(mut self, serves: Serves) -> Gateway {
        let listener = Listener {
            key: KEY,
            serves,
            origins: Vec::new(),
        };
        self.table.listeners.insert(KEY, Arc::new(listener));
        let folder = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new("test"));
        let dropped = metrics.own().access_log_dropped();
        let log = AccessLog::open(&folder.path().join("log"), Format::Text, dropped).unwrap();
        let resolver = self.resolver.unwrap_or_else(|| Names::of(&[]));
        let outside = Outside {
            resolver,
            ..Outside::default()
        };
        let shared = Shared::towards(self.settings, metrics, Arc::new(log), outside);
        shared.publish(Arc::new(self.table), &self.endpoints, self.credentials);
        let addresses = Addresses {
            address: IpAddr::from(Ipv4Addr::LOCALHOST),
            ports: BTreeMap::from([(KEY.port, 0)]),
        };
        let refused = Arc::new(Refusals::default());
        let app = GatewayApp::new(shared.clone());
        let observer: Arc<dyn ConnectionObserver> = Arc::<Refusals>::clone(&refused);
        let listeners = ListenerManager::new(app, addresses, self.limits, observer);
        let status = listeners.apply(&shared.snapshot().table);
        Gateway {
            address: status[0].address,
            shared,
            listeners,
            refused,
            folder,
        }
    }
}

impl Gateway {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Takes the listener out of the configuration, and everything else.
    pub(super) fn empty(&self) {
        let table = Arc::new(Table::default());
        self.shared
            .publish(table.clone(), &Endpoints::default(), Arc::default());
        self.listeners.apply(&table);
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.0.load(Ordering::Relaxed)
    }

    pub(super) fn log(&self) -> String {
        self.shared.access_log.flush(Duration::from_secs(1));
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until something holds.
    #[track_caller]
    pub(super) fn until(&self, holds: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let waiting = async {
                while !holds(self) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
                let metrics = self.shared.metrics.text();
                panic!("{caller}: waited in vain\n{}\n{metrics}", self.log());
            }
        }
    }

    /// The log's only line, once it is there.
    #[track_caller]
    pub(super) fn line(&self) -> impl Future<Output = String> {
        let until = self.until(|gateway| gateway.log().ends_with('\n'));
        async move {
            until.await;
            let log = self.log();
            assert_eq!(log.lines().count(), 1, "{log}");
            log
        }
    }

    /// The sum of one of Istio's counters of connections.
    pub(super) fn count(&self, name: &str) -> u64 {
        let name = format!("istio_tcp_{name}_total{{");
        let text = self.shared.metrics.text();
        let lines = text.lines().filter(|line| line.starts_with(&name));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }
}

pub(super) fn routes(routes: impl IntoIterator<Item = TcpRoute>) -> TcpRoutes {
    TcpRoutes(routes.into_iter().map(Arc::new).collect())
}

/// A route for clients of these networks, or all, to clusters of equal weight.
pub(super) fn route<const N: usize>(sources: &[&str], clusters: [ClusterTarget; N]) -> TcpRoute {
    let matches = sources.iter().map(|source| TcpMatch {
        source_subnet: Some(source.parse().unwrap()),
        ..TcpMatch::default()
    });
    let destination = |cluster| TcpDestination {
        weight: 1,
        cluster,
        origin: origin(),
    };
    TcpRoute {
        matches: matches.collect(),
        destinations: clusters.into_iter().map(destination).collect(),
        total_weight: u32::try_from(N).unwrap(),
        origin: origin(),
    }
}

/// A place in a file of rules.
pub(super) fn origin() -> Arc<Origin> {
    let resource = ResourceRef {
        kind: "VirtualService".into(),
        namespace: "default".into(),
        name: "echo".into(),
    };
    let position = Some(Position {
        file: "echo.yaml".into(),
        line: 9,
        column: 3,
    });
    Arc::new(Origin {
        resource,
        path: "spec.tcp[0].route[0]".into(),
        position,
    })
}

pub(super) fn missing() -> ClusterTarget {
    let key = ClusterKey {
        view: None,
        host: "gone.default.svc.cluster.local".into(),
        subset: None,
        port: 9000,
    };
    ClusterTarget::Missing(MissingCluster {
        key,
        reason: "no such service".into(),
    })
}
