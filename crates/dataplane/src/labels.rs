//! Who sends, and who serves, in the labels of metrics.
//!
//! A workload is known by its address, from what is published; of what a peer itself says only the identity of a
//! verified certificate counts. So the number of series is that of the configuration (promise 18).

use crate::upstream::{Cluster, Snapshot, Upstream};
use crate::{ConnectionInfo, Shared, Side};
use ahash::{HashMap, HashSet};
use rules::{EndpointAddr, ServerNames, ServerVerification, UpstreamTls};
use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use telemetry::metrics::{Destination, Reporter, RequestLabels, SecurityPolicy, Workload};

/// Stands for requests and connections that reached no cluster.
const NO_DESTINATION: u64 = 0;
/// Stands for those that may not go where they want to.
const BLACK_HOLE: u64 = u32::MAX as u64;
/// Stands for workloads that nobody knows.
const NOBODY: u32 = 0;
/// Peers that are remembered; those that came first are forgotten for others.
const MOST_PEERS: usize = 10_000;

/// A workload, as its labels have it.
#[derive(Debug, Default)]
pub(crate) struct Labelled {
    /// Stands for the labels; no others ever had it.
    id: u32,
    workload: Workload,
}

impl Labelled {
    fn new(workload: Workload) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(NOBODY + 1);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            workload,
        }
    }

    /// Whether it came in the mesh's TLS, and so has shown who it is.
    fn is_mutual(&self) -> bool {
        !self.workload.principal.is_empty()
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
                known.unwrap_or_else(|| Arc::new(Labelled::new(workload_labels(workload))));
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

/// A workload in the labels of metrics, but for who it has shown to be.
pub fn workload_labels(workload: &rules::Workload) -> Workload {
    let label = |name: &str| workload.labels.get(name).cloned();
    Workload {
        workload: workload.name.to_string(),
        namespace: workload.namespace.to_string(),
        canonical_service: workload.canonical_name().to_owned(),
        canonical_revision: workload.canonical_revision().unwrap_or_default().to_owned(),
        app: label("app").unwrap_or_default(),
        version: label("version").unwrap_or_default(),
        ..Workload::default()
    }
}

/// Those who connect to a sidecar's workload.
#[derive(Default)]
pub(crate) struct Peers(Mutex<Known>);

type Known = HashMap<PeerKey, Arc<Labelled>>;

/// What tells peers apart.
#[derive(Eq, Hash, PartialEq)]
struct PeerKey {
    workload: u32,
    principal: Option<Box<str>>,
}

impl Peers {
    /// Forgets those whose workloads are not published any more: each Pod that ever connected would be remembered.
    pub(crate) fn follow(&self, workloads: &Workloads) {
        let published = workloads.by_address.values().map(|one| one.id);
        let published: HashSet<u32> = published.chain([NOBODY]).collect();
        self.known()
            .retain(|peer, _| published.contains(&peer.workload));
    }

    /// Whoever connects from an address, and has shown to be `principal`.
    fn of(&self, workloads: &Workloads, address: IpAddr, principal: Option<&str>) -> Arc<Labelled> {
        let workload = workloads.of(address);
        let key = PeerKey {
            workload: workload.map_or(NOBODY, |workload| workload.id),
            principal: principal.map(Into::into),
        };
        let mut known = self.known();
        if let Some(known) = known.get(&key) {
            return known.clone();
        }
        if known.len() >= MOST_PEERS {
            forget_older_half(&mut known);
        }
        let labels = Workload {
            principal: key.principal.as_deref().unwrap_or_default().to_owned(),
            ..workload.map_or_else(Workload::default, |one| one.workload.clone())
        };
        let labelled = Arc::new(Labelled::new(labels));
        known.insert(key, labelled.clone());
        labelled
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By halves, so that not every newcomer has to look for who came first.
fn forget_older_half(known: &mut Known) {
    let mut ids: Vec<u32> = known.values().map(|one| one.id).collect();
    let half = ids.len() / 2;
    let (_, &mut first_kept, _) = ids.select_nth_unstable(half);
    known.retain(|_, one| one.id >= first_kept);
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
            let address = connection.peer.ip();
            let of = || shared.peers.of(workloads, address, connection.principal());
            &**labelled.get_or_init(of)
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
                security: match peer.is_mutual() {
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
            Some(peer) if !peer.is_mutual() => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const PRINCIPAL: &str = "spiffe://cluster.local/ns/default/sa/client";

    /// What is published while there is one Pod, at this address.
    fn pod(name: &str, address: Ipv4Addr) -> Published {
        let workload = rules::Workload {
            name: name.into(),
            ..rules::Workload::default()
        };
        Arc::new(HashMap::from_iter([(address.into(), Arc::new(workload))]))
    }

    #[test]
    fn pods_come_and_go_and_the_last_is_known_as_the_first() {
        let (peers, mut workloads) = (Peers::default(), Arc::new(Workloads::default()));
        let address = Ipv4Addr::new(10, 0, 0, 7);
        for number in 0..=MOST_PEERS {
            let name = format!("pod-{number}");
            workloads = workloads.next(&pod(&name, address));
            peers.follow(&workloads);
            let peer = peers.of(&workloads, address.into(), Some(PRINCIPAL));
            assert_eq!(peer.workload.workload, name);
            assert_eq!(peers.known().len(), 1, "{name}");
        }
    }

    #[test]
    fn a_peer_keeps_its_series_while_others_go() {
        let (peers, workloads) = (Peers::default(), Arc::new(Workloads::default()));
        let (one, other) = (Ipv4Addr::new(10, 0, 0, 7), Ipv4Addr::new(10, 0, 0, 8));
        let alone = pod("one", one);
        let mut both = (*alone).clone();
        both.extend(
            pod("other", other)
                .iter()
                .map(|(at, pod)| (*at, pod.clone())),
        );
        let workloads = workloads.next(&Arc::new(both));
        let id_of = |workloads: &Workloads, at: Ipv4Addr| peers.of(workloads, at.into(), None).id;
        let (id, _) = (id_of(&workloads, one), id_of(&workloads, other));
        let workloads = workloads.next(&alone);
        peers.follow(&workloads);
        assert_eq!(id_of(&workloads, one), id);
        assert_eq!(peers.known().len(), 1);
    }

    /// They are not published, so that nothing else has them forgotten.
    #[test]
    fn of_more_than_are_remembered_the_last_are() {
        let (peers, nowhere) = (Peers::default(), Workloads::default());
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        let of =
            |number: usize| peers.of(&nowhere, address, Some(&format!("{PRINCIPAL}-{number}")));
        for number in 0..=MOST_PEERS {
            let peer = of(number);
            assert!(peer.is_mutual());
            assert_eq!(peer.workload.principal, format!("{PRINCIPAL}-{number}"));
        }
        assert!(peers.known().len() <= MOST_PEERS);
        let before = peers.known().len();
        assert_eq!(of(MOST_PEERS).id, of(MOST_PEERS).id);
        assert_eq!(peers.known().len(), before, "it was remembered");
    }
}
