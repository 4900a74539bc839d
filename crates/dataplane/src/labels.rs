//! Who sends, and who serves, in the labels of metrics.
//!
//! A workload is known by its address, from what is published; of what a peer itself says only the identity of a
//! verified certificate counts. So the number of series is that of the configuration (promise 18).

use crate::upstream::{Cluster, Snapshot, Upstream};
use crate::{ConnectionInfo, Shared, Side, TlsFacts};
use ahash::HashMap;
use rules::{EndpointAddr, ServerNames, ServerVerification, UpstreamTls};
use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use telemetry::metrics::{Destination, Reporter, RequestLabels, SecurityPolicy, Workload};

/// Stands for requests and connections that reached no cluster.
const NO_DESTINATION: u64 = 0;
/// Stands for those that may not go where they want to.
const BLACK_HOLE: u64 = u32::MAX as u64;
/// Stands for workloads that nobody knows.
const NOBODY: u32 = 0;
/// Peers that are told apart. Those beyond are nobody.
const MOST_PEERS: usize = 10_000;

/// A workload, as its labels have it.
#[derive(Debug, Default)]
pub(crate) struct Labelled {
    /// Stands for the labels; no others ever had it.
    id: u32,
    workload: Workload,
    /// Whether it came in mutual TLS.
    mutual: bool,
}

impl Labelled {
    fn new(workload: Workload, mutual: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(NOBODY + 1);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            workload,
            mutual,
        }
    }
}

/// Workloads as they are published.
type Published = Arc<HashMap<IpAddr, Arc<rules::Workload>>>;

/// The workloads of a snapshot, by address.
#[derive(Debug, Default)]
pub(crate) struct Workloads {
    published: Published,
    by_address: HashMap<IpAddr, Arc<Labelled>>,
}

impl Workloads {
    /// Those after these. Who is the same keeps its series.
    pub(crate) fn next(self: &Arc<Self>, published: &Published) -> Arc<Self> {
        if Arc::ptr_eq(&self.published, published) {
            return self.clone();
        }
        let labelled = published.iter().map(|(address, workload)| {
            let known = self
                .published
                .get(address)
                .filter(|known| *known == workload);
            let known = known.and_then(|_| self.by_address.get(address)).cloned();
            let labelled =
                known.unwrap_or_else(|| Arc::new(Labelled::new(labels(workload), false)));
            (*address, labelled)
        });
        Arc::new(Self {
            by_address: labelled.collect(),
            published: published.clone(),
        })
    }

    /// Whether a workload speaks the mesh's TLS, as far as it is known.
    pub(crate) fn is_in_mesh(&self, address: IpAddr) -> bool {
        let workload = self.published.get(&address.to_canonical());
        workload.is_some_and(|workload| workload.in_mesh)
    }

    fn of(&self, address: IpAddr) -> Option<&Arc<Labelled>> {
        self.by_address.get(&address.to_canonical())
    }

    fn identity(&self, address: IpAddr, tls: &UpstreamTls) -> Option<String> {
        let ServerVerification::Verified { names, .. } = &tls.verification else {
            return None;
        };
        let ServerNames::Workload(names) = names else {
            return None;
        };
        let workload = self.published.get(&address.to_canonical())?;
        workload.identity(names.trust_domains.first()?)
    }
}

/// Source: Istio, `canonical_name`, `canonical_revision`, `app` and `version` of a workload.
fn labels(workload: &rules::Workload) -> Workload {
    let label = |name: &str| workload.labels.get(name).cloned();
    let first = |names: [&str; 3]| names.iter().find_map(|name| label(name));
    let name = first([
        "service.istio.io/canonical-name",
        "app.kubernetes.io/name",
        "app",
    ]);
    let revision = first([
        "service.istio.io/canonical-revision",
        "app.kubernetes.io/version",
        "version",
    ]);
    Workload {
        workload: workload.name.to_string(),
        namespace: workload.namespace.to_string(),
        canonical_service: name.unwrap_or_else(|| workload.name.to_string()),
        canonical_revision: revision.unwrap_or_default(),
        app: label("app").unwrap_or_default(),
        version: label("version").unwrap_or_default(),
        ..Workload::default()
    }
}

/// Those who connect to a sidecar's workload.
#[derive(Default)]
pub(crate) struct Peers(Mutex<HashMap<PeerKey, Arc<Labelled>>>);

/// What tells peers apart.
#[derive(Eq, Hash, PartialEq)]
struct PeerKey {
    workload: u32,
    principal: Option<Box<str>>,
    mutual: bool,
}

impl Peers {
    fn of(&self, workloads: &Workloads, connection: &ConnectionInfo) -> Arc<Labelled> {
        let facts = connection.tls.as_deref();
        let client = facts.and_then(TlsFacts::verified_client);
        let workload = workloads.of(connection.peer.ip());
        let key = PeerKey {
            workload: workload.map_or(NOBODY, |workload| workload.id),
            principal: client
                .and_then(|client| client.uris().next())
                .map(Into::into),
            mutual: client.is_some(),
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&key) {
            return known.clone();
        }
        if known.len() >= MOST_PEERS {
            return Arc::default();
        }
        let labels = Workload {
            principal: key.principal.as_deref().unwrap_or_default().to_owned(),
            ..workload.map_or_else(Workload::default, |one| one.workload.clone())
        };
        let labelled = Arc::new(Labelled::new(labels, key.mutual));
        known.insert(key, labelled.clone());
        labelled
    }
}

/// The ends of a request or connection, of which labels are made when they are not known yet.
pub(crate) struct Ends<'e> {
    shared: &'e Shared,
    workloads: &'e Workloads,
    cluster: Option<&'e Cluster>,
    upstream: Option<&'e Upstream>,
    /// Who connects to the workload. Absent: the workload, or a gateway, is the one who does.
    peer: Option<&'e Labelled>,
    /// Whether it may not go where it wants to.
    denied: bool,
    made: OnceCell<(Workload, Destination)>,
}

impl<'e> Ends<'e> {
    pub(crate) fn new(
        shared: &'e Shared,
        snapshot: &'e Snapshot,
        connection: &'e ConnectionInfo,
        cluster: Option<&'e Cluster>,
        upstream: Option<&'e Upstream>,
    ) -> Self {
        let workloads = &*snapshot.workloads;
        let peer = (connection.side == Side::Inbound).then(|| {
            let labelled = &connection.state.peer_labels;
            &**labelled.get_or_init(|| shared.peers.of(workloads, connection))
        });
        Self {
            shared,
            workloads,
            cluster,
            upstream,
            peer,
            denied: false,
            made: OnceCell::new(),
        }
    }

    /// The same, of what may not go where it wants to.
    pub(crate) fn denied(self, denied: bool) -> Self {
        Self {
            cluster: self.cluster.filter(|_| !denied),
            denied,
            ..self
        }
    }

    /// Stands for the labels.
    pub(crate) fn id(&self) -> u64 {
        let cluster = match (self.cluster, self.denied) {
            (Some(cluster), _) => cluster.labels_id,
            (None, true) => BLACK_HOLE,
            (None, false) => NO_DESTINATION,
        };
        let other = match self.peer {
            Some(peer) => peer.id,
            None => self.serving().map_or(NOBODY, |serving| serving.id),
        };
        (cluster << 32) | u64::from(other)
    }

    /// The labels.
    pub(crate) fn labels(&self) -> RequestLabels<'_> {
        let (own, destination) = self.made.get_or_init(|| self.make());
        match self.peer {
            Some(peer) => RequestLabels {
                reporter: Reporter::Destination,
                source: &peer.workload,
                destination,
                security: match peer.mutual {
                    true => SecurityPolicy::MutualTls,
                    false => SecurityPolicy::None,
                },
            },
            None => RequestLabels {
                reporter: Reporter::Source,
                source: own,
                destination,
                security: SecurityPolicy::Unknown,
            },
        }
    }

    fn make(&self) -> (Workload, Destination) {
        let own = &self.shared.settings.workload;
        let mut destination = match self.cluster {
            Some(cluster) => cluster.labels.clone(),
            None if self.denied => black_hole(),
            None => Destination::default(),
        };
        match self.peer {
            // Who came in clear text was not told who this is.
            Some(peer) if !peer.mutual => {
                destination.workload = Workload {
                    principal: String::new(),
                    ..own.clone()
                };
            }
            Some(_) => destination.workload = own.clone(),
            None => {
                if let Some(serving) = self.serving() {
                    destination.workload = serving.workload.clone();
                    destination.workload.principal = self.principal().unwrap_or_default();
                }
            }
        }
        (own.clone(), destination)
    }

    /// The workload that serves, where it is known.
    fn serving(&self) -> Option<&Labelled> {
        Some(self.workloads.of(self.address()?)?)
    }

    fn address(&self) -> Option<IpAddr> {
        match &self.upstream?.address {
            EndpointAddr::Tcp(address) => Some(address.ip()),
            EndpointAddr::Unix(_) => None,
        }
    }

    /// Who the server has shown to be.
    fn principal(&self) -> Option<String> {
        let tls = self.cluster?.definition.tls.settings()?;
        self.workloads.identity(self.address()?, tls)
    }
}

/// Istio's name for where they go that may not go where they want to.
fn black_hole() -> Destination {
    Destination {
        service_name: "BlackHoleCluster".to_owned(),
        ..Destination::default()
    }
}
