//! The endpoints of service ports: from EndpointSlices, Pods, WorkloadEntries and ServiceEntries.
//!
//! Names are not resolved here. They change far more often than rules, so the table does not contain them.

mod kubernetes;
mod workloads;

#[cfg(test)]
mod tests;

use crate::compile::{Registry, Source};
use crate::{Endpoint, EndpointAddr, Endpoints, ServicePort};
use ahash::{HashMap, HashMapExt, HashSet};
use model::{Diagnostic, EndpointSlice, Labels, Pod, PodPhase, Resources, WorkloadEntry, selects};
use std::sync::Arc;

/// The endpoints of the services that a proxy sees. Lists that did not change are those of `previous`.
pub(crate) fn compile(
    services: &Registry,
    resources: &Resources,
    previous: &Endpoints,
) -> (Endpoints, Vec<Diagnostic>) {
    let workloads = Workloads::new(resources);
    let mut diagnostics = Vec::new();
    let mut endpoints = Endpoints {
        services: HashMap::with_capacity(previous.services.len()),
    };
    let mut add = |host: &Arc<str>, port, list: Vec<Endpoint>| {
        let key = ServicePort {
            host: host.clone(),
            port,
        };
        let kept = previous
            .services
            .get(&key)
            .filter(|before| ***before == *list)
            .cloned();
        endpoints
            .services
            .insert(key, kept.unwrap_or_else(|| list.into()));
    };
    for view in services.iter() {
        match &view.source {
            Source::Service(service) => {
                let ports = kubernetes::ports(service);
                ports.for_each(|port| {
                    add(
                        &view.host,
                        port.port,
                        workloads.of_service(service, port, &mut diagnostics),
                    );
                });
            }
            Source::Entry(entry) => {
                for port in &entry.ports {
                    add(&view.host, port.number, workloads.of_entry(entry, port));
                }
            }
        }
    }
    (endpoints, diagnostics)
}

/// What may serve, by namespace.
struct Workloads<'r> {
    slices: HashMap<(&'r str, &'r str), Vec<&'r EndpointSlice>>,
    pods: HashMap<&'r str, HashMap<&'r str, &'r Pod>>,
    /// The same Pods in the order of their names.
    pods_in_order: HashMap<&'r str, Vec<&'r Pod>>,
    entries: HashMap<&'r str, Vec<&'r WorkloadEntry>>,
}

impl<'r> Workloads<'r> {
    fn new(resources: &'r Resources) -> Self {
        let mut all = Self {
            slices: HashMap::new(),
            pods: HashMap::new(),
            pods_in_order: HashMap::new(),
            entries: HashMap::new(),
        };
        for slice in resources.endpoint_slices.values() {
            if let Some(service) = &slice.service_name {
                all.slices
                    .entry((slice.meta.namespace(), service))
                    .or_default()
                    .push(slice);
            }
        }
        for pod in resources.pods.values() {
            let namespace = pod.meta.namespace();
            all.pods
                .entry(namespace)
                .or_default()
                .insert(pod.meta.name(), pod);
            all.pods_in_order.entry(namespace).or_default().push(pod);
        }
        for entry in resources.workload_entries.values() {
            all.entries
                .entry(entry.meta.namespace())
                .or_default()
                .push(entry);
        }
        all
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<&'r Pod> {
        self.pods.get(namespace)?.get(name).copied()
    }

    /// The Pods that a selector selects and that have started.
    fn selected_pods(&self, namespace: &str, selector: &Labels) -> impl Iterator<Item = &'r Pod> {
        let pods = self
            .pods_in_order
            .get(namespace)
            .into_iter()
            .flatten()
            .copied();
        pods.filter(move |pod| selects(selector, &pod.meta.labels) && has_started(pod))
    }

    /// The WorkloadEntries that a selector selects.
    fn selected_entries(
        &self,
        namespace: &str,
        selector: &Labels,
    ) -> impl Iterator<Item = &'r WorkloadEntry> {
        let entries = self.entries.get(namespace).into_iter().flatten().copied();
        entries.filter(move |entry| selects(selector, &entry.workload.labels))
    }
}

/// Whether it runs, as far as is known: a hand-written Pod has an address and no status beside.
fn has_started(pod: &Pod) -> bool {
    !pod.terminating
        && matches!(
            pod.phase,
            None | Some(PodPhase::Running | PodPhase::Unknown)
        )
}

/// Where a Pod is: `region.zone.subzone` in its label, with dots since labels hold no slashes.
fn pod_locality(pod: &Pod) -> Arc<str> {
    match pod.meta.labels.get("istio-locality") {
        Some(locality) => locality.replace('.', "/").into(),
        None => "".into(),
    }
}

/// The first of each address.
fn distinct(endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    let mut seen: HashSet<EndpointAddr> = HashSet::default();
    endpoints
        .into_iter()
        .filter(|endpoint| seen.insert(endpoint.address.clone()))
        .collect()
}
