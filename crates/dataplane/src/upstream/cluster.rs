//! A cluster with its endpoints and what is counted about them.

use super::{KeepAlive, Upstream};
use ahash::HashMap;
use rules::{Endpoint, EndpointAddr, LoadBalancing};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use telemetry::metrics::{Destination, Workload};
use traffic::{Balancer, EndpointSet, EndpointState, Member, Turn};

/// A cluster of the table, ready to be dialled.
#[derive(Debug)]
pub struct Cluster {
    /// What the rules say about it.
    pub definition: Arc<rules::Cluster>,
    /// Its endpoints with their counters.
    pub endpoints: EndpointSet<Upstream>,
    /// Its name in the access log: `outbound|8000|v1|httpbin.default.svc.cluster.local`.
    pub name: Box<str>,
    /// Its labels in Istio's metrics.
    pub labels: Destination,
    /// Stands for `labels`; no other cluster ever had it.
    pub labels_id: u64,
    /// The published list that the endpoints were taken from, to see whether it changed.
    source: Option<Arc<[Endpoint]>>,
    turn: Arc<Turn>,
}

impl Cluster {
    /// Endpoints that were here `before` keep their counters, whatever else changed.
    pub(super) fn build(
        definition: Arc<rules::Cluster>,
        source: Option<Arc<[Endpoint]>>,
        before: Option<&Self>,
    ) -> Self {
        let known = before.map(Self::by_address).unwrap_or_default();
        let members = source.as_deref().unwrap_or_default().iter();
        let members = members
            .filter(|endpoint| belongs(endpoint, &definition))
            .filter_map(|endpoint| {
                member(endpoint, &definition, known.get(&endpoint.address).copied())
            })
            .collect();
        let labels = labels(&definition);
        let labels_id = match before {
            Some(before) if before.labels == labels => before.labels_id,
            _ => next_labels_id(),
        };
        Self {
            endpoints: EndpointSet::new(members),
            name: definition.key.to_string().into(),
            labels,
            labels_id,
            source,
            turn: before.map_or_else(first_turn, |before| before.turn.clone()),
            definition,
        }
    }

    /// Whether a cluster built from these would be the same.
    pub(super) fn is_of(
        &self,
        definition: &Arc<rules::Cluster>,
        source: Option<&Arc<[Endpoint]>>,
    ) -> bool {
        let same_source = match (&self.source, source) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old == new,
            (old, new) => old.is_none() && new.is_none(),
        };
        same_source && (Arc::ptr_eq(&self.definition, definition) || self.definition == *definition)
    }

    /// Selects an endpoint by the cluster's policy, one not `tried` as long as there is one.
    pub fn select(&self, tried: &[usize], dice: &mut impl FnMut(u32) -> u32) -> Option<usize> {
        let balancer = match self.definition.load_balancing {
            LoadBalancing::LeastRequest => Balancer::LeastRequest,
            LoadBalancing::RoundRobin => Balancer::RoundRobin,
            LoadBalancing::Random | LoadBalancing::ConsistentHash { .. } => Balancer::Random,
        };
        balancer.select(&self.endpoints, &self.turn, tried, dice)
    }

    fn by_address(&self) -> HashMap<&EndpointAddr, &Member<Upstream>> {
        self.endpoints
            .members()
            .iter()
            .map(|member| (&member.value.address, member))
            .collect()
    }
}

fn belongs(endpoint: &Endpoint, cluster: &rules::Cluster) -> bool {
    cluster
        .subset_labels
        .iter()
        .all(|(name, value)| endpoint.labels.get(name) == Some(value))
}

fn member(
    endpoint: &Endpoint,
    cluster: &rules::Cluster,
    known: Option<&Member<Upstream>>,
) -> Option<Member<Upstream>> {
    let state: Arc<EndpointState> = known.map(|known| known.state.clone()).unwrap_or_default();
    let keep_alive: Arc<KeepAlive> = known
        .map(|known| known.value.keep_alive.clone())
        .unwrap_or_default();
    let Some(value) = Upstream::new(&endpoint.address, cluster, keep_alive) else {
        tracing::warn!(cluster = %cluster.key, address = %endpoint.address, "endpoint cannot be dialled");
        return None;
    };
    Some(Member {
        value,
        weight: endpoint.weight,
        state,
    })
}

fn labels(cluster: &rules::Cluster) -> Destination {
    Destination {
        // Which workload serves is not known to a gateway without the registry's pods.
        workload: Workload::default(),
        service: cluster.key.host.to_string(),
        service_name: cluster.service_name.to_string(),
        service_namespace: cluster.namespace.to_string(),
    }
}

/// 0 stands for requests without a cluster.
fn next_labels_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

fn first_turn() -> Arc<Turn> {
    Arc::new(Turn::starting_at(crate::http::roll(u32::MAX)))
}
