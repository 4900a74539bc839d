//! A cluster with its endpoints and what is counted about them.

use super::kept::Kept;
use super::peer::{Attempt, Common};
use super::streams::Admission;
use super::tls::ClientTlsStore;
use super::{KeepAlive, Upstream};
use crate::{ConnectionInfo, Side};
use ahash::{HashMap, HashSet};
use model::HashAlgorithm;
use rules::{Endpoint, EndpointAddr, LoadBalancing, Rank, Target, UpstreamProtocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use telemetry::metrics::{Destination, Workload};
use traffic::{
    Algorithm, Balancing, Choice, EndpointSet, EndpointState, LocalityShare, Member, Place, Turn,
    Warmup,
};

/// A cluster of the table, ready to be dialled.
#[derive(Debug)]
pub struct Cluster {
    /// What the rules say about it.
    pub definition: Arc<rules::Cluster>,
    /// Its endpoints with their counters.
    pub endpoints: EndpointSet<Upstream>,
    /// Its name in the access log: `outbound|8000|v1|httpbin.default.svc.cluster.local`.
    pub name: Arc<str>,
    /// Its labels in Istio's metrics.
    pub labels: Destination,
    /// Stands for `labels`; no other cluster ever had it.
    pub labels_id: u64,
    pub(crate) kept: Arc<Kept>,
    source: Option<Arc<[Endpoint]>>,
    /// The host that it was found for. Absent: its endpoints are the published ones.
    asked: Option<Target>,
}

/// What of a cluster's limits is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Open connections, idle ones too.
    pub connections: usize,
    /// Requests that wait for a connection.
    pub pending: usize,
    /// Requests from their first attempt to their end.
    pub requests: usize,
    /// Retries under way.
    pub retries: usize,
}

/// What a cluster is made of.
pub(super) struct Parts<'p> {
    pub(super) definition: &'p Arc<rules::Cluster>,
    /// The published list that the endpoints are taken from.
    pub(super) source: Option<&'p Arc<[Endpoint]>>,
    /// How TLS is spoken.
    pub(super) tls: &'p ClientTlsStore,
}

/// What the cluster of a host that a client asks for is made of.
pub(super) struct Derived<'d> {
    pub(super) target: &'d Target,
    /// Where it is dialled.
    pub(super) addresses: &'d [SocketAddr],
    pub(super) tls: &'d ClientTlsStore,
}

/// What the making of clusters takes from around it.
pub(crate) struct Surroundings<'s> {
    pub(crate) metrics: &'s telemetry::metrics::Own,
    /// Whether active checks found an endpoint of a service port unhealthy.
    pub(crate) is_unhealthy: &'s dyn Fn(&rules::Cluster, &EndpointAddr) -> bool,
    pub(crate) now: Instant,
}

impl Cluster {
    /// Endpoints that were here `before` keep their counters, whatever else changed.
    pub(super) fn build(
        parts: &Parts<'_>,
        before: Option<&Self>,
        around: &Surroundings<'_>,
    ) -> Self {
        let Parts {
            definition,
            source,
            tls,
        } = parts;
        let (definition, source) = (*definition, *source);
        let name = before.map_or_else(
            || definition.key.to_string().into(),
            |before| before.name.clone(),
        );
        let kept = kept(definition, &name, before, around);
        let tls = tls.of(&definition.tls);
        let common = Common {
            cluster: definition,
            connections: &kept.connections,
            tls: tls.as_ref(),
            asked: None,
        };
        let members = Members {
            known: before.map(Self::by_address),
            common: &common,
            around,
        };
        let members = members.of(source.map_or(&[], |source| source));
        let labels = labels(definition);
        let labels_id = match before {
            Some(before) if before.labels == labels => before.labels_id,
            _ => next_labels_id(),
        };
        let built = Self {
            endpoints: endpoints(members, balancing(definition), before, around.now),
            name,
            labels,
            labels_id,
            kept,
            source: source.cloned(),
            asked: None,
            definition: definition.clone(),
        };
        if let Some(before) = before {
            built.close_what_leads_nowhere(before);
        }
        built
    }

    /// The cluster of a host that a client asks for. Limits and connections are those of the whole, ejections its own.
    /// Endpoints that were here `before` keep their counters.
    pub(super) fn derive(
        whole: &Self,
        derived: &Derived<'_>,
        before: Option<&Self>,
        around: &Surroundings<'_>,
    ) -> Self {
        let definition = &whole.definition;
        let kept = match before {
            Some(before) if before.kept.shares_limits(&whole.kept) => {
                before.kept.judge_by(definition);
                before.kept.clone()
            }
            _ => Arc::new(whole.kept.of_host(definition, around.now)),
        };
        let tls = derived.tls.of(&definition.tls);
        let common = Common {
            cluster: definition,
            connections: &kept.connections,
            tls: tls.as_ref(),
            asked: Some(derived.target),
        };
        let members = Members {
            known: before.map(Self::by_address),
            common: &common,
            around,
        };
        let found = derived.addresses.iter().map(found);
        let members = found
            .filter_map(|endpoint| {
                let rank = definition.localities.rank(&endpoint).unwrap_or_default();
                members.member(&endpoint, rank)
            })
            .collect();
        let built = Self {
            endpoints: endpoints(members, balancing(definition), before, around.now),
            name: whole.name.clone(),
            labels: whole.labels.clone(),
            labels_id: whole.labels_id,
            kept,
            source: None,
            asked: Some(derived.target.clone()),
            definition: definition.clone(),
        };
        if definition.outlier_detection.is_none() {
            // Nobody is ejected any longer, and nobody has to wait for the next sweep.
            built.kept.outlier.sweep(&built.endpoints, around.now);
        }
        built
    }

    /// The host and port for which it was found. Absent: its endpoints are the published ones.
    pub fn asked(&self) -> Option<&Target> {
        self.asked.as_ref()
    }

    /// Whether it depends on what a client asks for where its endpoints are.
    pub(crate) fn is_to_be_found(&self) -> bool {
        self.definition.on_demand.is_some() && self.asked.is_none()
    }

    /// Whether TLS would be begun in the same way with another store.
    pub(super) fn speaks_tls_of(&self, tls: &ClientTlsStore) -> bool {
        let now = tls.of(&self.definition.tls);
        let mut members = self.endpoints.members().iter();
        members.all(|member| member.value.way.dialer.is_current(now.as_ref()))
    }

    /// Whether a cluster built from these would be the same. `same_tls`: whether the store is that which it was built from, or
    /// compared with last.
    pub(super) fn is_of(&self, parts: &Parts<'_>, same_tls: bool) -> bool {
        let same_source = match (&self.source, parts.source) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            (old, new) => old.is_none() && new.is_none(),
        };
        let definition = parts.definition;
        same_source
            && (same_tls || self.speaks_tls_of(parts.tls))
            && (Arc::ptr_eq(&self.definition, definition) || self.definition == *definition)
    }

    /// The endpoint that a client has chosen itself, where it does.
    pub(crate) fn chosen_by(&self, connection: &ConnectionInfo) -> Option<usize> {
        if !self.definition.headless || connection.side != Side::Outbound {
            return None;
        }
        let chosen = EndpointAddr::Tcp(connection.local);
        let mut members = self.endpoints.members().iter();
        members.position(|member| member.value.address == chosen)
    }

    /// Selects an endpoint by the cluster's policy.
    pub fn select(&self, choice: Choice<'_>, dice: &mut impl FnMut(u32) -> u32) -> Option<usize> {
        self.endpoints.select(choice, dice)
    }

    /// Whether requests of such a client are sent in HTTP/2.
    pub(crate) fn speaks_http2(&self, client_http2: bool) -> bool {
        match self.definition.protocol {
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::AsClient => client_http2,
            UpstreamProtocol::Http1 | UpstreamProtocol::Tcp => false,
        }
    }

    /// Asks for a stream on a connection in HTTP/2 to one of its endpoints.
    pub(crate) fn stream(&self, upstream: &Upstream, attempt: &Attempt<'_>) -> Admission {
        let (key, recipe) = upstream.sharing(attempt);
        self.kept.streams.enter(key, recipe, attempt.fresh)
    }

    /// Whether somebody has to look after it as time goes by: endpoints may come back, or become warm.
    pub(super) fn needs_sweeps(&self) -> bool {
        self.definition.outlier_detection.is_some()
            || self.endpoints.is_warming()
            || self.ejected() > 0
            // What is told of it is the sum of its hosts.
            || self.is_to_be_found()
    }

    /// Whether its hosts change as time goes by.
    pub(super) fn has_changing_hosts(&self) -> bool {
        self.definition.outlier_detection.is_some() || self.definition.warmup.is_some()
    }

    /// Endpoints that were ejected.
    pub fn ejected(&self) -> usize {
        let members = self.endpoints.members().iter();
        members.filter(|member| member.state.is_ejected()).count()
    }

    /// What of its limits is used.
    pub fn usage(&self) -> Usage {
        let limits = &self.kept.limits;
        Usage {
            connections: self.kept.connections.open(),
            pending: limits.pending() as usize,
            requests: limits.active_requests() as usize,
            retries: limits.active_retries() as usize,
        }
    }

    /// Connections to endpoints that are not there any more are of no use. Others may be to hosts that were asked for.
    fn close_what_leads_nowhere(&self, before: &Self) {
        let members = self.endpoints.members().iter();
        let dialled = members.filter(|member| !member.value.is_forbidden());
        let here: HashSet<_> = dialled.map(|member| &member.value.address).collect();
        let known = before.by_address();
        let finds = self.definition.on_demand.is_some();
        let is_published = |address: &EndpointAddr| !finds || known.contains_key(address);
        self.kept
            .connections
            .dismiss(|address| !here.contains(address) && is_published(address));
    }

    /// No route leads here any more: what is idle is closed, and nothing is told of it any longer.
    pub(super) fn retire(&self, around: &Surroundings<'_>) {
        self.kept.connections.dismiss(|_| true);
        around.metrics.forget_cluster(&self.name);
    }

    fn by_address(&self) -> HashMap<&EndpointAddr, &Member<Upstream>> {
        self.endpoints
            .members()
            .iter()
            .map(|member| (&member.value.address, member))
            .collect()
    }
}

fn kept(
    definition: &rules::Cluster,
    name: &Arc<str>,
    before: Option<&Cluster>,
    around: &Surroundings<'_>,
) -> Arc<Kept> {
    match before {
        Some(before) => {
            before.kept.follow(definition);
            before.kept.clone()
        }
        None => Arc::new(Kept::new(
            definition,
            around.metrics.cluster(name),
            around.now,
        )),
    }
}

/// The round goes on where the one before was, and hash tables stay where they can.
fn endpoints(
    members: Vec<Member<Upstream>>,
    balancing: Balancing,
    before: Option<&Cluster>,
    now: Instant,
) -> EndpointSet<Upstream> {
    match before {
        Some(before) => before.endpoints.next(members, balancing, now),
        None => {
            let turn = Turn::starting_at(crate::http::roll(u32::MAX));
            EndpointSet::new(members, balancing, Arc::new(turn), now)
        }
    }
}

/// Makes the members of a set.
struct Members<'m> {
    /// Those before. Absent: the cluster is new, so that nobody has to be warmed up.
    known: Option<HashMap<&'m EndpointAddr, &'m Member<Upstream>>>,
    common: &'m Common<'m>,
    around: &'m Surroundings<'m>,
}

impl Members<'_> {
    fn of(&self, source: &[Endpoint]) -> Vec<Member<Upstream>> {
        let cluster = self.common.cluster;
        let own = source.iter().filter(|endpoint| belongs(endpoint, cluster));
        let ranked =
            own.filter_map(|endpoint| Some((endpoint, cluster.localities.rank(endpoint)?)));
        // What is forbidden stays where there is nothing else, so that whoever asks is told why.
        let (forbidden, allowed): (Vec<_>, Vec<_>) =
            ranked.partition(|(endpoint, _)| endpoint.forbidden);
        let members = match allowed.is_empty() {
            true => forbidden,
            false => allowed,
        };
        members
            .into_iter()
            .filter_map(|(endpoint, rank)| self.member(endpoint, rank))
            .collect()
    }

    fn member(&self, endpoint: &Endpoint, rank: Rank) -> Option<Member<Upstream>> {
        let known = self.known.as_ref();
        let known = known.and_then(|known| known.get(&endpoint.address));
        let keep_alive: Arc<KeepAlive> = known
            .map(|known| known.value.keep_alive.clone())
            .unwrap_or_default();
        let address = &endpoint.address;
        let Some(value) = Upstream::new(endpoint, self.common, keep_alive) else {
            let cluster = &self.common.cluster.key;
            tracing::warn!(%cluster, %address, "endpoint cannot be dialled");
            return None;
        };
        let state = known.map_or_else(|| self.new_state(), |known| known.state.clone());
        let is_unhealthy = (self.around.is_unhealthy)(self.common.cluster, address);
        state.set_unhealthy(is_unhealthy);
        Some(Member {
            value,
            weight: endpoint.weight,
            key: address.to_string().into(),
            place: place(rank),
            state,
        })
    }

    fn new_state(&self) -> Arc<EndpointState> {
        match &self.known {
            Some(_) => Arc::new(EndpointState::new(self.around.now)),
            None => Arc::default(),
        }
    }
}

/// An endpoint that a client asked for. Those that are forbidden are not among what is found.
fn found(address: &SocketAddr) -> Endpoint {
    Endpoint::at(EndpointAddr::Tcp(*address))
}

fn belongs(endpoint: &Endpoint, cluster: &rules::Cluster) -> bool {
    model::selects(&cluster.subset_labels, endpoint.labels())
}

fn place(rank: Rank) -> Place {
    Place {
        priority: rank.priority,
        locality: rank.share.map(|(id, weight)| LocalityShare { id, weight }),
    }
}

fn balancing(cluster: &rules::Cluster) -> Balancing {
    let outliers = cluster.outlier_detection.as_ref();
    Balancing {
        algorithm: algorithm(&cluster.load_balancing),
        warmup: cluster.warmup.as_ref().map(|warmup| Warmup {
            duration: warmup.duration,
            minimum_percent: f64::from(warmup.minimum_percent.parts_per_million()) / 10_000.0,
            aggression: warmup.aggression,
        }),
        panic_threshold: outliers.map_or(0, |outliers| outliers.min_health_percent),
    }
}

fn algorithm(balancing: &LoadBalancing) -> Algorithm {
    match balancing {
        LoadBalancing::LeastRequest => Algorithm::LeastRequest,
        LoadBalancing::RoundRobin => Algorithm::RoundRobin,
        LoadBalancing::Random => Algorithm::Random,
        LoadBalancing::ConsistentHash { algorithm, .. } => match *algorithm {
            HashAlgorithm::RingHash { minimum_ring_size } => Algorithm::RingHash {
                minimum_size: minimum_ring_size,
            },
            HashAlgorithm::Maglev { table_size } => Algorithm::Maglev { table_size },
        },
    }
}

fn labels(cluster: &rules::Cluster) -> Destination {
    Destination {
        // It is known of each endpoint.
        workload: Workload::default(),
        service: cluster.service_host.to_string(),
        service_name: cluster.service_name.to_string(),
        service_namespace: cluster.namespace.to_string(),
    }
}

/// 0 stands for requests without a cluster.
fn next_labels_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}
