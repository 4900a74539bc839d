//! What all requests share.

use crate::http::{MirrorPool, Refusals};
use crate::labels::Peers;
use crate::net::{InUse, OwnPorts};
use crate::resolve::ResolvesNothing;
use crate::upstream::{
    self, OnDemandClusters, Snapshot, Surroundings, UpstreamConnector, connector_conf,
};
use crate::{Challenges, ConnectionInfo, NotedHealth, Passages, Resolve, Settings};
use arc_swap::ArcSwap;
use certificates::Credentials;
use pingora_core::connectors::http::Connector;
use rules::{Endpoints, Serves, Table};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use telemetry::{AccessLog, Metrics};

/// The configuration in force, and where requests are counted and logged. One for a process.
pub struct Shared {
    snapshot: ArcSwap<Snapshot>,
    /// One publisher at a time, so that state is carried over from the snapshot that is replaced.
    publishing: Mutex<()>,
    /// Fixed for the life of the process.
    pub settings: Settings,
    /// Where requests are counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are logged.
    pub access_log: Arc<AccessLog>,
    /// What is answered to ACME servers, before any rule.
    pub challenges: Challenges,
    /// What health checks found out about endpoints.
    pub health: NotedHealth,
    /// Where the process listens. What listens beside [`crate::net::ListenerManager`] is to be added here, so that
    /// clients cannot ask the proxy for itself.
    pub own_ports: Arc<OwnPorts>,
    /// What is in use, which the end of the process may wait for.
    pub in_use: Arc<InUse>,
    pub(crate) on_demand: OnDemandClusters,
    /// Is told what clients of a forward proxy have passed. Absent: nobody learns.
    pub(crate) passages: Option<Arc<dyn Passages>>,
    pub(crate) refusals: Refusals,
    pub(crate) peers: Peers,
    pub(crate) mirrors: MirrorPool,
    /// Dials the upstreams of tunnels, whose connections are never used twice.
    pub(crate) tunnels: Connector<UpstreamConnector>,
}

/// What is needed for clients that choose where they go.
pub struct Outside {
    /// Knows the addresses of names that they ask for.
    pub resolver: Arc<dyn Resolve>,
    /// Is told what passed. Absent: nobody learns.
    pub passages: Option<Arc<dyn Passages>>,
}

impl Default for Outside {
    /// Nobody knows a name, and nobody learns.
    fn default() -> Self {
        Self {
            resolver: Arc::new(ResolvesNothing),
            passages: None,
        }
    }
}

impl Shared {
    /// Shared by everything that serves, with an empty configuration. Nobody resolves names that clients ask for.
    pub fn new(settings: Settings, metrics: Arc<Metrics>, access_log: Arc<AccessLog>) -> Arc<Self> {
        Self::towards(settings, metrics, access_log, Outside::default())
    }

    /// The same, with what is needed for the way out.
    pub fn towards(
        settings: Settings,
        metrics: Arc<Metrics>,
        access_log: Arc<AccessLog>,
        outside: Outside,
    ) -> Arc<Self> {
        let shared = Arc::new(Self {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            publishing: Mutex::default(),
            refusals: Refusals::new(&metrics),
            peers: Peers::default(),
            mirrors: MirrorPool::new(&settings, &metrics),
            tunnels: UpstreamConnector::with_pool(&connector_conf()),
            settings,
            metrics,
            access_log,
            challenges: Challenges::default(),
            health: NotedHealth::default(),
            own_ports: Arc::default(),
            in_use: Arc::default(),
            on_demand: OnDemandClusters::new(outside.resolver),
            passages: outside.passages,
        });
        upstream::look_after(&shared);
        shared
    }

    /// Puts a configuration in force for all requests that begin from now on. Those in flight keep theirs.
    ///
    /// Meant for a control thread: its cost grows with the number of clusters and endpoints that changed.
    pub fn publish(&self, table: Arc<Table>, endpoints: &Endpoints, credentials: Arc<Credentials>) {
        let _one = self.hold();
        let around = Surroundings {
            metrics: self.metrics.own(),
            is_unhealthy: &|cluster, address| {
                self.health.of(&cluster.key.service(), address) == Some(false)
            },
            now: tokio::time::Instant::now().into_std(),
        };
        let before = self.snapshot.load();
        let next = before.next(table, endpoints, credentials, &around);
        let next = Arc::new(next);
        self.snapshot.store(next.clone());
        if !Arc::ptr_eq(&before.workloads, &next.workloads) {
            self.peers.follow(&next.workloads);
        }
        next.catch_up(around.now);
        self.on_demand.follow(&next);
    }

    /// What is in force stays in force as long as this exists.
    pub(crate) fn hold(&self) -> MutexGuard<'_, ()> {
        self.publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the connections of a listener begin with. Those of a listener that is gone are told over HTTP.
    pub(crate) fn speaks(&self, connection: &ConnectionInfo) -> Speaks {
        let snapshot = self.snapshot.load();
        let listener = connection.listener_in(&snapshot.table);
        match listener.map(|listener| &listener.serves) {
            Some(Serves::Tls(_)) => Speaks::Tls,
            Some(Serves::Tcp(_)) => Speaks::Tcp,
            Some(Serves::ForwardProxy(_)) => Speaks::ForwardProxy,
            Some(Serves::Outbound(_)) => Speaks::Outbound,
            Some(Serves::Inbound(_)) => Speaks::Inbound,
            Some(Serves::Http(_)) | None => Speaks::Http,
        }
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

/// What a listener's connections begin with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    /// HTTP in clear.
    Http,
    /// HTTP in clear, to a forward proxy.
    ForwardProxy,
    /// A ClientHello.
    Tls,
    /// Anything, or nothing.
    Tcp,
    /// What a workload says, to whomever.
    Outbound,
    /// What is said to a workload.
    Inbound,
}
