//! A gateway made of a table written by hand.

use super::client::{Client, Message, get};
use super::names::Names;
use crate::net::{Addresses, ConnectionObserver, Limits, ListenerManager, Refused};
use crate::{GatewayApp, Outside, Resolve, Settings, Shared};
use certificates::Credentials;
use http::{HeaderName, HeaderValue};
use model::{Origin, Position, ResourceRef};
use rules::{
    Action, Cluster, ClusterKey, ClusterTarget, ConnectionPool, Endpoint, EndpointAddr, Endpoints,
    ForwardAction, HeaderOps, HeaderTemplate, Listener, ListenerKey, LoadBalancing, MissingCluster,
    PathMatch, Predicate, RetryOn, RetryPolicy, Route, RouteSet, Serves, Table, UpstreamProtocol,
    VirtualHost, VirtualHosts, WeightedDestination,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use telemetry::{AccessLog, Format, Metrics};

pub(crate) const KEY: ListenerKey = ListenerKey {
    bind: None,
    port: 80,
};

/// A running gateway that serves `shop.test`.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Arc<Table>,
    pub(crate) endpoints: Endpoints,
    pub(crate) listeners: ListenerManager<GatewayApp>,
    folder: tempfile::TempDir,
}

struct Nobody;

impl ConnectionObserver for Nobody {
    fn opened(&self, _: &ListenerKey) {}
    fn closed(&self, _: &ListenerKey) {}
    fn refused(&self, _: &ListenerKey, _: Refused) {}
}

/// What the table of a gateway is made from.
#[derive(Default)]
pub(crate) struct Rules {
    routes: Vec<Arc<Route>>,
    table: Table,
    endpoints: Endpoints,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    /// Absent: names are not resolved.
    pub(crate) resolver: Option<Arc<dyn Resolve>>,
    pub(crate) credentials: Arc<Credentials>,
}

impl Rules {
    /// One route for everything, to these endpoints.
    pub(crate) fn to(endpoints: &[SocketAddr]) -> Self {
        Self::to_with(endpoints, |_| {})
    }

    /// One route for everything, changed as the case wants.
    pub(crate) fn to_with(
        endpoints: &[SocketAddr],
        change: impl FnOnce(&mut ForwardAction),
    ) -> Self {
        let mut rules = Self::default();
        let cluster = rules.cluster("shop", UpstreamProtocol::Http1, endpoints);
        rules.route(Predicate::default(), cluster, change);
        rules
    }

    pub(crate) fn cluster(
        &mut self,
        name: &str,
        protocol: UpstreamProtocol,
        endpoints: &[SocketAddr],
    ) -> Arc<Cluster> {
        self.cluster_with(name, protocol, endpoints, |_| {})
    }

    /// A cluster changed as the case wants.
    pub(crate) fn cluster_with(
        &mut self,
        name: &str,
        protocol: UpstreamProtocol,
        endpoints: &[SocketAddr],
        change: impl FnOnce(&mut Cluster),
    ) -> Arc<Cluster> {
        let host: Arc<str> = format!("{name}.default.svc.cluster.local").into();
        let key = ClusterKey {
            view: None,
            host,
            subset: None,
            port: 8000,
        };
        let mut cluster = Cluster {
            service_name: name.into(),
            load_balancing: LoadBalancing::RoundRobin,
            pool: ConnectionPool {
                connect_timeout: Duration::from_secs(2),
                ..ConnectionPool::default()
            },
            ..Cluster::plain(key, protocol)
        };
        change(&mut cluster);
        let cluster = Arc::new(cluster);
        let key = cluster.key.clone();
        self.table.clusters.insert(key.clone(), cluster.clone());
        let service = key.service();
        let endpoints = endpoints.iter().map(endpoint).collect();
        self.endpoints.services.insert(service, endpoints);
        cluster
    }

    /// Gives a cluster other endpoints.
    pub(crate) fn endpoints(&mut self, cluster: &Cluster, endpoints: Vec<Endpoint>) {
        let service = cluster.key.service();
        self.endpoints.services.insert(service, endpoints.into());
    }

    pub(crate) fn route(
        &mut self,
        predicate: Predicate,
        cluster: Arc<Cluster>,
        change: impl FnOnce(&mut ForwardAction),
    ) {
        let mut action = forward(ClusterTarget::Cluster(cluster));
        change(&mut action);
        self.action(predicate, Action::Forward(Box::new(action)));
    }

    pub(crate) fn action(&mut self, predicate: Predicate, action: Action) {
        let name = format!("route-{}", self.routes.len()).into();
        self.routes.push(Arc::new(Route {
            name,
            predicate,
            action,
            origin: origin(),
        }));
    }

    /// In clear.
    pub(crate) async fn start(self) -> Gateway {
        self.start_as(|hosts| Serves::Http(VirtualHosts::new(hosts)))
            .await
    }

    /// With what the case makes of the virtual hosts.
    pub(crate) async fn start_as(
        mut self,
        serves: impl FnOnce([Arc<VirtualHost>; 2]) -> Serves,
    ) -> Gateway {
        let host = |domain: &str, https_redirect, routes| {
            let name = format!("{domain}:80").into();
            Arc::new(VirtualHost {
                name,
                domain: domain.into(),
                https_redirect,
                routes: Arc::new(RouteSet::new(routes)),
            })
        };
        let hosts = [
            host("shop.test", None, self.routes),
            host("secure.test", Some(origin()), Vec::new()),
        ];
        let listener = Listener {
            key: KEY,
            serves: serves(hosts),
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
        let table = Arc::new(self.table);
        shared.publish(table.clone(), &self.endpoints, self.credentials);
        let listeners = ListenerManager::new(
            GatewayApp::new(shared.clone()),
            Addresses {
                address: IpAddr::from(Ipv4Addr::LOCALHOST),
                ports: BTreeMap::from([(80, 0)]),
            },
            self.limits,
            Arc::new(Nobody),
        );
        let status = listeners.apply(&shared.snapshot().table);
        Gateway {
            address: status[0].address,
            shared,
            table,
            endpoints: self.endpoints,
            listeners,
            folder,
        }
    }
}

pub(crate) fn endpoint(address: &SocketAddr) -> Endpoint {
    Endpoint::at(EndpointAddr::Tcp(*address))
}

impl Gateway {
    /// Sends a request on a connection of its own, and leaves its answer for later.
    pub(crate) async fn begin(&self, path: &str) -> impl Future<Output = Message> + use<> {
        let mut client = self.client().await;
        client.send(&get(path)).await;
        async move { client.response().await }
    }

    /// All services have these endpoints from now on.
    pub(crate) fn replace_endpoints(&mut self, endpoints: &[SocketAddr]) {
        let endpoints = endpoints.iter().map(endpoint).collect();
        self.publish_endpoints(endpoints);
    }

    /// The same, as the case makes them.
    pub(crate) fn publish_endpoints(&mut self, endpoints: Vec<Endpoint>) {
        let endpoints: Arc<[Endpoint]> = endpoints.into();
        let services: Vec<_> = self.endpoints.services.keys().cloned().collect();
        for service in services {
            self.endpoints.services.insert(service, endpoints.clone());
        }
        let credentials = self.shared.snapshot().credentials.clone();
        self.shared
            .publish(self.table.clone(), &self.endpoints, credentials);
    }

    /// Publishes other certificates.
    pub(crate) fn publish_credentials(&mut self, credentials: Credentials) {
        let table = self.table.clone();
        self.shared
            .publish(table, &self.endpoints, Arc::new(credentials));
    }

    /// The only cluster, as it is now.
    pub(crate) fn cluster(&self) -> Arc<crate::upstream::Cluster> {
        let snapshot = self.shared.snapshot();
        snapshot.clusters.values().next().unwrap().clone()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Message {
        self.client().await.ask(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Message {
        self.ask(&get(path)).await
    }

    pub(crate) fn log(&self) -> String {
        self.shared.access_log.flush(Duration::from_secs(1));
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until the log has this text.
    #[track_caller]
    pub(crate) fn logs(&self, text: &'static str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            for _ in 0..500 {
                if self.log().contains(text) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            panic!("{caller}: {text:?} is not in the log: {}", self.log());
        }
    }
}

/// A place in a file of rules.
pub(crate) fn origin() -> Arc<Origin> {
    let resource = ResourceRef {
        kind: "VirtualService".into(),
        namespace: "default".into(),
        name: "shop".into(),
    };
    let position = Some(Position {
        file: "shop.yaml".into(),
        line: 7,
        column: 3,
    });
    Arc::new(Origin {
        resource,
        path: "spec.http[0]".into(),
        position,
    })
}

pub(crate) fn missing() -> ClusterTarget {
    let key = ClusterKey {
        view: None,
        host: "gone.default.svc.cluster.local".into(),
        subset: None,
        port: 80,
    };
    ClusterTarget::Missing(MissingCluster {
        key,
        reason: "no such service".into(),
    })
}

/// An action to one destination, with everything else as Istio's defaults.
pub(crate) fn forward(cluster: ClusterTarget) -> ForwardAction {
    ForwardAction::to(vec![WeightedDestination::to(cluster, origin())])
}

/// A policy that the VirtualService wrote.
pub(crate) fn retries(attempts: u32, retry_on: &str) -> RetryPolicy {
    let (retry_on, statuses) = RetryOn::parse(retry_on).unwrap();
    let backoff = Duration::from_millis(1);
    RetryPolicy {
        attempts,
        retry_on,
        statuses,
        backoff,
        asked_for: true,
        ..RetryPolicy::istio_default()
    }
}

pub(crate) fn prefix(path: &str) -> Predicate {
    Predicate {
        uri: Some(PathMatch::Prefix(path.into())),
        ..Predicate::default()
    }
}

/// `set` operations.
pub(crate) fn set(pairs: &[(&str, &str)]) -> HeaderOps {
    let entry = |(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        (name, HeaderTemplate::parse(value).unwrap())
    };
    HeaderOps {
        set: pairs.iter().map(entry).collect(),
        ..HeaderOps::default()
    }
}

pub(crate) fn value(text: &'static str) -> HeaderValue {
    HeaderValue::from_static(text)
}
