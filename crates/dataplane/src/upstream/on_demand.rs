//! Clusters whose endpoint is what a client asks for: one for each host and port that is asked for.
//!
//! They share the limits and connections of the cluster that they are made of, and are counted as that cluster.

use super::cluster::{Derived, Surroundings};
use super::tls::ClientTlsStore;
use super::{Cluster, Snapshot};
use crate::net::OwnPorts;
use crate::{Resolve, Shared, Unresolved};
use ahash::HashMap;
use model::Hostname;
use rules::{ClusterKey, Denial, OnDemand, Target};
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// As many hosts are kept. Who asks for one more has those forgotten that nobody has asked for in the longest time.
const MOST_HOSTS: usize = 10_000;
/// They are forgotten so many at a time, since all are looked at to find them.
const FORGOTTEN_AT_ONCE: usize = MOST_HOSTS / 8;
/// Addresses of one name that are looked at. No answer of good will has more.
const MOST_ADDRESSES: usize = 64;

/// Addresses that are dialled.
type Addresses = SmallVec<[SocketAddr; 8]>;

/// The clusters of hosts that were asked for.
pub(crate) struct OnDemandClusters {
    resolver: Arc<dyn Resolve>,
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    by_key: HashMap<Key, Host>,
    /// Goes on with each that is asked for.
    time: u64,
}

/// What tells hosts apart.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    cluster: ClusterKey,
    target: Target,
}

struct Host {
    cluster: Arc<Cluster>,
    of: Basis,
    /// When it was asked for last, in [`Hosts::time`].
    used: u64,
    needs_sweeps: bool,
}

/// What a host's cluster is made of. It is made anew when any of it changes.
#[derive(Clone)]
struct Basis {
    parent: Arc<Cluster>,
    tls: Arc<ClientTlsStore>,
    /// What the resolver said. Absent: an address is asked for.
    answer: Option<Arc<[IpAddr]>>,
    /// The ports that this process listened on, as [`OwnPorts::changes`] has it.
    own_ports: u64,
}

/// Why there is no endpoint for what a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NotFound {
    /// It asks for no host.
    NoHost,
    /// The cluster does not have this host, or address.
    NotAllowed,
    /// The name stands for addresses that no name may stand for.
    Forbidden,
    /// It would be this process itself.
    Itself,
    /// No address is known.
    Unresolved(Unresolved),
}

impl NotFound {
    /// Stable, for access logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoHost => "no_host_asked_for",
            Self::NotAllowed => "host_not_allowed",
            Self::Forbidden => Denial::Address.code(),
            Self::Itself => Denial::Itself.code(),
            Self::Unresolved(unresolved) => unresolved.reason,
        }
    }

    /// What is told to a client that asked for it. Absent: it is not refused, but failed.
    pub(crate) fn denial(&self) -> Option<Denial> {
        match self {
            Self::Forbidden => Some(Denial::Address),
            Self::Itself => Some(Denial::Itself),
            Self::NoHost | Self::NotAllowed | Self::Unresolved(_) => None,
        }
    }
}

/// What a name, or an address, that stands in a request or in TLS asks of a cluster. `None`: nothing, so that its
/// published endpoints are meant.
pub(crate) fn implied(cluster: &rules::Cluster, host: &str) -> Option<Target> {
    let on_demand = cluster.on_demand.as_ref()?;
    if cluster.key.port == 0 {
        return None;
    }
    let target = Target::new(host, cluster.key.port).ok()?;
    // A client of an exact host may have it under another name, as under an address of the gateway.
    let may_ask = |address| on_demand.names.is_some() || on_demand.has(address);
    target.address().is_none_or(may_ask).then_some(target)
}

impl Shared {
    /// The cluster of what a client asks for. It is the cluster itself where its published endpoints are meant.
    pub(crate) async fn find(
        &self,
        snapshot: &Snapshot,
        parent: &Arc<Cluster>,
        target: Option<Target>,
    ) -> Result<Arc<Cluster>, NotFound> {
        let Some(on_demand) = parent.definition.on_demand.as_deref() else {
            return Ok(parent.clone());
        };
        let Some(target) = target else {
            return match on_demand.names {
                Some(_) => Err(NotFound::NoHost),
                None => Ok(parent.clone()),
            };
        };
        let answer = match target.address() {
            Some(address) if on_demand.has(address) => None,
            Some(address) if on_demand.lists(address) => return Err(NotFound::Forbidden),
            None if on_demand.names.is_none() => return Ok(parent.clone()),
            None if on_demand.resolves(target.authority()) => {
                Some(self.on_demand.resolve(target.authority()).await?)
            }
            _ => return Err(NotFound::NotAllowed),
        };
        let basis = Basis {
            parent: parent.clone(),
            tls: snapshot.client_tls.clone(),
            answer,
            own_ports: self.own_ports.changes(),
        };
        let key = Key {
            cluster: parent.definition.key.clone(),
            target,
        };
        match self.on_demand.known(&key, &basis) {
            Ok(known) => Ok(known),
            Err(before) => {
                let addresses = addresses(on_demand, &key.target, &basis, &self.own_ports)?;
                let made = self.derive(&key, &basis, &addresses, before.as_deref());
                Ok(self.on_demand.keep(key, basis, made))
            }
        }
    }

    fn derive(
        &self,
        key: &Key,
        basis: &Basis,
        addresses: &[SocketAddr],
        before: Option<&Cluster>,
    ) -> Arc<Cluster> {
        let around = Surroundings {
            metrics: self.metrics.own(),
            // Only what is published is checked.
            is_unhealthy: &|_, _| false,
            now: now(),
        };
        let derived = Derived {
            target: &key.target,
            addresses,
            tls: &basis.tls,
        };
        Arc::new(Cluster::derive(&basis.parent, &derived, before, &around))
    }

    /// The clusters of hosts that were asked for, for pages that show them. Each knows [for what](Cluster::asked).
    pub fn on_demand_clusters(&self) -> impl Iterator<Item = Arc<Cluster>> + use<> {
        let hosts = self.on_demand.hosts();
        let clusters = hosts.by_key.values().map(|host| host.cluster.clone());
        clusters.collect::<Vec<_>>().into_iter()
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The addresses of a host that may be dialled.
fn addresses(
    on_demand: &OnDemand,
    target: &Target,
    basis: &Basis,
    own_ports: &OwnPorts,
) -> Result<Addresses, NotFound> {
    let port = on_demand.port.unwrap_or_else(|| target.port());
    let asked = target.address();
    let told = basis
        .answer
        .iter()
        .flat_map(|answer| answer.iter().copied());
    let admitted = told.filter(|address| on_demand.admits(*address));
    let mut allowed = Addresses::new();
    // What is asked for as such was looked at.
    for address in asked.into_iter().chain(admitted).take(MOST_ADDRESSES) {
        let address = SocketAddr::new(address.to_canonical(), port);
        if !allowed.contains(&address) {
            allowed.push(address);
        }
    }
    if allowed.is_empty() {
        return Err(match basis.answer.as_deref() {
            Some([]) | None => NotFound::Unresolved(Unresolved {
                reason: "dns_no_address",
                text: "the answer is empty".to_owned(),
            }),
            Some(_) => NotFound::Forbidden,
        });
    }
    allowed.retain(|address| !own_ports.lead_to_itself(*address));
    match allowed.is_empty() {
        true => Err(NotFound::Itself),
        false => Ok(allowed),
    }
}

impl OnDemandClusters {
    pub(crate) fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self {
            resolver,
            hosts: Mutex::default(),
        }
    }

    async fn resolve(&self, name: &str) -> Result<Arc<[IpAddr]>, NotFound> {
        let name = Hostname::try_from(name).map_err(|error| {
            NotFound::Unresolved(Unresolved {
                reason: "dns_no_such_name",
                text: error.to_string(),
            })
        })?;
        let resolved = self.resolver.resolve(&name).await;
        resolved.map_err(NotFound::Unresolved)
    }

    /// The cluster of a host, or the one that there was when it was made of something else.
    fn known(&self, key: &Key, basis: &Basis) -> Result<Arc<Cluster>, Option<Arc<Cluster>>> {
        let mut hosts = self.hosts();
        hosts.time += 1;
        let time = hosts.time;
        let Some(host) = hosts.by_key.get_mut(key) else {
            return Err(None);
        };
        host.used = time;
        match host.is_of(basis) {
            true => Ok(host.cluster.clone()),
            false => Err(Some(host.cluster.clone())),
        }
    }

    /// Keeps what was made, unless somebody else was faster.
    fn keep(&self, key: Key, basis: Basis, made: Arc<Cluster>) -> Arc<Cluster> {
        let mut hosts = self.hosts();
        if let Some(host) = hosts.by_key.get_mut(&key)
            && host.is_of(&basis)
        {
            return host.cluster.clone();
        }
        let forgotten = hosts.make_room();
        hosts.time += 1;
        let host = Host {
            needs_sweeps: made.needs_sweeps(),
            cluster: made.clone(),
            of: basis,
            used: hosts.time,
        };
        let replaced = hosts.by_key.insert(key, host);
        drop(hosts);
        drop((forgotten, replaced));
        // An endpoint may have been ejected, or have come back, while this was made.
        made.endpoints.refresh(now());
        made
    }

    /// The cluster of a host that is in force.
    pub(super) fn present(&self, cluster: &ClusterKey, target: &Target) -> Option<Arc<Cluster>> {
        let key = Key {
            cluster: cluster.clone(),
            target: target.clone(),
        };
        Some(self.hosts().by_key.get(&key)?.cluster.clone())
    }

    /// Forgets the hosts of clusters that are gone, or do not find endpoints any more.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        let mut hosts = self.hosts();
        let gone: Vec<_> = hosts
            .by_key
            .extract_if(|key, _| !snapshot.finds_on_demand(&key.cluster))
            .collect();
        drop(hosts);
        drop(gone);
    }

    /// Clusters that somebody has to look after as time goes by. Hosts whose cluster ejects nobody any more are looked
    /// after when they are asked for again.
    pub(super) fn swept(&self, snapshot: &Snapshot) -> Vec<Arc<Cluster>> {
        let change = |whole: &Arc<Cluster>| whole.is_to_be_found() && whole.has_changing_hosts();
        if !snapshot.swept().iter().any(change) {
            return Vec::new();
        }
        let hosts = self.hosts();
        let swept = hosts.by_key.values().filter(|host| host.needs_sweeps);
        swept.map(|host| host.cluster.clone()).collect()
    }

    fn hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hosts {
    /// Makes room for one more. What is forgotten is handed out, to be dropped when nothing is locked.
    fn make_room(&mut self) -> Vec<(Key, Host)> {
        if self.by_key.len() < MOST_HOSTS {
            return Vec::new();
        }
        let mut used: Vec<_> = self.by_key.values().map(|host| host.used).collect();
        let (_, last, _) = used.select_nth_unstable(FORGOTTEN_AT_ONCE);
        let last = *last;
        let old = |_: &Key, host: &mut Host| host.used <= last;
        self.by_key.extract_if(old).collect()
    }
}

impl Host {
    /// Whether it would be made the same way of this.
    fn is_of(&mut self, basis: &Basis) -> bool {
        let own = &mut self.of;
        let same_answer = match (&own.answer, &basis.answer) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own == other,
            (own, other) => own.is_none() && other.is_none(),
        };
        let same = Arc::ptr_eq(&own.parent, &basis.parent)
            && same_answer
            && own.own_ports == basis.own_ports
            && (Arc::ptr_eq(&own.tls, &basis.tls) || self.cluster.speaks_tls_of(&basis.tls));
        if same {
            // The next comparison is by address again.
            own.answer.clone_from(&basis.answer);
            own.tls.clone_from(&basis.tls);
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use rules::{ForbiddenNetworks, UpstreamProtocol};
    use telemetry::{AccessLog, Metrics};

    fn shared(on_demand: OnDemand) -> (Arc<Shared>, Arc<Cluster>) {
        let metrics = Arc::new(Metrics::new("test"));
        let log = Arc::new(AccessLog::off());
        let shared = Shared::new(Settings::default(), metrics, log);
        let key = ClusterKey {
            view: None,
            host: "*.wild.test".into(),
            subset: None,
            port: 80,
        };
        let mut definition = rules::Cluster::plain(key.clone(), UpstreamProtocol::Http1);
        definition.on_demand = Some(Arc::new(on_demand));
        let mut table = rules::Table::default();
        table.clusters.insert(key.clone(), Arc::new(definition));
        shared.publish(
            Arc::new(table),
            &rules::Endpoints::default(),
            Arc::default(),
        );
        let cluster = shared.snapshot().clusters[&key].clone();
        (shared, cluster)
    }

    fn any() -> OnDemand {
        OnDemand {
            names: Some("*.wild.test".try_into().unwrap()),
            addresses: Vec::new(),
            any_address: true,
            port: None,
            forbidden: ForbiddenNetworks::default(),
        }
    }

    async fn ask(shared: &Shared, cluster: &Arc<Cluster>, number: usize) -> Arc<Cluster> {
        let number = u32::try_from(number).unwrap();
        let address = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let target = Target::of_address(address, 80);
        let found = shared.find(&shared.snapshot(), cluster, Some(target)).await;
        found.unwrap()
    }

    /// Clients decide how many hosts they ask for.
    #[tokio::test]
    async fn only_so_many_hosts_are_kept_those_that_were_asked_for_last() {
        let (shared, cluster) = shared(any());
        let first = ask(&shared, &cluster, 0).await;
        let second = ask(&shared, &cluster, 1).await;
        for number in 2..MOST_HOSTS {
            ask(&shared, &cluster, number).await;
        }
        assert_eq!(shared.on_demand_clusters().count(), MOST_HOSTS);
        assert!(Arc::ptr_eq(&first, &ask(&shared, &cluster, 0).await));
        for number in 0..MOST_HOSTS {
            ask(&shared, &cluster, MOST_HOSTS + number).await;
            assert!(shared.on_demand.hosts().by_key.len() <= MOST_HOSTS);
            ask(&shared, &cluster, 0).await;
        }
        assert!(Arc::ptr_eq(&first, &ask(&shared, &cluster, 0).await));
        assert!(!Arc::ptr_eq(&second, &ask(&shared, &cluster, 1).await));
    }

    #[tokio::test]
    async fn a_client_that_asks_for_nothing_gets_nothing_of_a_wildcard() {
        let (one, cluster) = shared(any());
        let found = one.find(&one.snapshot(), &cluster, None).await;
        assert_eq!(found.unwrap_err(), NotFound::NoHost);
        let exact = OnDemand {
            names: None,
            ..any()
        };
        let (other, cluster) = shared(exact);
        let found = other.find(&other.snapshot(), &cluster, None).await;
        assert!(Arc::ptr_eq(&found.unwrap(), &cluster));
    }

    #[tokio::test]
    async fn a_name_cannot_be_resolved_where_nobody_does_it() {
        let (shared, cluster) = shared(any());
        let target = Target::new("a.wild.test", 80).unwrap();
        let found = shared
            .find(&shared.snapshot(), &cluster, Some(target))
            .await;
        assert_eq!(found.unwrap_err().reason(), "dns_failure");
    }

    /// A list without end would make as many endpoints.
    #[test]
    fn only_so_many_addresses_of_a_name_are_dialled() {
        let (_, cluster) = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async { shared(any()) });
        let answer = (0..1000_u32).map(|number| (0x0a00_0000 + number / 2).to_be_bytes());
        let basis = Basis {
            parent: cluster,
            tls: Arc::default(),
            answer: Some(answer.map(IpAddr::from).collect()),
            own_ports: 0,
        };
        let target = Target::new("a.wild.test", 80).unwrap();
        let found = addresses(&any(), &target, &basis, &OwnPorts::default()).unwrap();
        assert_eq!(found.len(), MOST_ADDRESSES / 2);
    }
}
