//! What is different from the compilation before, and whom it concerns.

use super::{NameAnswers, Workloads};
use crate::compile::Source;
use ahash::HashSet;
use model::{
    EndpointSlice, Hostname, Labels, Node, Objects, PeerAuthentication, Pod, Resources, Service,
    SliceEndpoint, WorkloadEntry, selects,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The kinds of objects that endpoints are compiled of: those of `Inputs`, what has ports, and Sidecars, which say where
/// their workloads' applications are.
pub const ENDPOINT_KINDS: [&str; 8] = [
    "EndpointSlice",
    "Node",
    "PeerAuthentication",
    "Pod",
    "Service",
    "ServiceEntry",
    "Sidecar",
    "WorkloadEntry",
];

/// What endpoints are compiled of beside the services. A clone shares the objects.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    slices: Objects<EndpointSlice>,
    pods: Objects<Pod>,
    entries: Objects<WorkloadEntry>,
    nodes: Objects<Node>,
    peers: Objects<PeerAuthentication>,
    answers: Arc<NameAnswers>,
}

impl Inputs {
    pub(super) fn of(resources: &Resources, answers: &Arc<NameAnswers>) -> Self {
        Self {
            slices: resources.endpoint_slices.clone(),
            pods: resources.pods.clone(),
            entries: resources.workload_entries.clone(),
            nodes: resources.nodes.clone(),
            peers: resources.peer_authentications.clone(),
            answers: answers.clone(),
        }
    }
}

/// What is different, as it was before and as it is now.
pub(super) struct Changes<'i> {
    /// Services whose EndpointSlices changed, by namespace and name.
    slices: HashSet<(&'i str, &'i str)>,
    pods: Vec<&'i Pod>,
    entries: Vec<&'i WorkloadEntry>,
    nodes_moved: bool,
    /// Namespaces whose workloads may take other TLS.
    peers: HashSet<&'i str>,
    /// Whether those of all namespaces may.
    peers_of_all: bool,
    names: HashSet<&'i Hostname>,
}

impl<'i> Changes<'i> {
    pub(super) fn between(before: &'i Inputs, now: &'i Inputs, root_namespace: &str) -> Self {
        let slices = different(&before.slices, &now.slices);
        let slices = slices.into_iter().filter_map(|slice| {
            let service = slice.service_name.as_deref()?;
            Some((slice.meta.namespace(), service))
        });
        let peers = different(&before.peers, &now.peers);
        let peers: HashSet<_> = peers.iter().map(|one| one.meta.namespace()).collect();
        Self {
            slices: slices.collect(),
            peers_of_all: peers.contains(root_namespace),
            peers,
            pods: different(&before.pods, &now.pods),
            entries: different(&before.entries, &now.entries),
            nodes_moved: have_moved(&before.nodes, &now.nodes),
            names: different_names(&before.answers, &now.answers),
        }
    }

    /// The services whose EndpointSlices changed, by namespace and name, if nothing else did.
    pub(super) fn of_slices_alone(&self) -> Option<&HashSet<(&'i str, &'i str)>> {
        let others = !self.pods.is_empty()
            || !self.entries.is_empty()
            || !self.peers.is_empty()
            || !self.names.is_empty()
            || self.nodes_moved;
        (!others).then_some(&self.slices)
    }

    /// Whether the endpoints of a service can be others, which named `names` before.
    pub(super) fn concern(
        &self,
        source: &Source,
        names: &BTreeSet<Hostname>,
        workloads: &Workloads<'_>,
    ) -> bool {
        let namespace = &*source.reference().namespace;
        let is_of_all = self.nodes_moved || self.peers_of_all;
        if is_of_all || self.peers.contains(namespace) {
            return true;
        }
        if names.iter().any(|name| self.names.contains(name)) {
            return true;
        }
        match source {
            Source::Service(service) => self.concern_service(service, workloads),
            Source::Entry(entry) => entry
                .workload_selector
                .as_ref()
                .is_some_and(|selector| self.concern_selector(entry.meta.namespace(), selector)),
        }
    }

    fn concern_service(&self, service: &Service, workloads: &Workloads<'_>) -> bool {
        let meta = &service.meta;
        let has_selector = !service.selector.is_empty();
        self.slices.contains(&(meta.namespace(), meta.name()))
            || has_selector && self.concern_selector(meta.namespace(), &service.selector)
            || workloads
                .slices_of(service)
                .is_some_and(|slices| self.concern_slices(slices))
    }

    fn concern_selector(&self, namespace: &str, selector: &Labels) -> bool {
        let is_selected = |of: &str, labels: &Labels| of == namespace && selects(selector, labels);
        let mut pods = self.pods.iter();
        let mut entries = self.entries.iter();
        pods.any(|pod| is_selected(pod.meta.namespace(), &pod.meta.labels))
            || entries.any(|entry| is_selected(entry.meta.namespace(), &entry.workload.labels))
    }

    fn concern_slices(&self, slices: &[Arc<EndpointSlice>]) -> bool {
        if self.pods.is_empty() {
            return false;
        }
        let mut endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
        endpoints.any(|endpoint| self.pods.iter().any(|pod| is_behind(endpoint, pod)))
    }
}

/// Whether a Pod may be the one behind an endpoint.
fn is_behind(endpoint: &SliceEndpoint, pod: &Pod) -> bool {
    match &endpoint.pod {
        Some(of) => pod.meta.name() == &*of.name && pod.meta.namespace() == &*of.namespace,
        None => {
            let mut addresses = endpoint.addresses.iter().take(1);
            addresses.any(|address| pod.pod_ips.contains(address))
        }
    }
}

/// Objects that came, went, or are others, by identity: of these both.
fn different<'i, T>(before: &'i Objects<T>, now: &'i Objects<T>) -> Vec<&'i T> {
    let differences = now.since(before).into_iter();
    let objects = differences.flat_map(|(before, now)| [before, now]);
    objects.flatten().map(|object| &**object).collect()
}

/// Whether any node is elsewhere. Much else about nodes changes all the time.
fn have_moved(before: &Objects<Node>, now: &Objects<Node>) -> bool {
    let mut pairs = before.values().zip(now.values());
    before.len() != now.len()
        || pairs.any(|(old, new)| {
            !Arc::ptr_eq(old, new)
                && (old.meta.reference != new.meta.reference || old.meta.labels != new.meta.labels)
        })
}

fn different_names<'i>(before: &'i NameAnswers, now: &'i NameAnswers) -> HashSet<&'i Hostname> {
    let names = before.keys().chain(now.keys());
    names
        .filter(|name| before.get(*name) != now.get(*name))
        .collect()
}
