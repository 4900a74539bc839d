//! Endpoints of a ServiceEntry, and of what is no Pod.

use super::kubernetes::of_pod;
use super::{Workloads, distinct};
use crate::{Endpoint, EndpointAddr};
use model::{Resolution, ServiceEntry, ServiceEntryPort, Workload, WorkloadAddress};
use std::net::SocketAddr;
use std::sync::Arc;

impl Workloads<'_> {
    /// The addresses among its endpoints, and the workloads it selects. Names are left to a resolver.
    pub(super) fn of_entry(&self, entry: &ServiceEntry, port: &ServiceEntryPort) -> Vec<Endpoint> {
        if matches!(entry.resolution, Resolution::None | Resolution::DynamicDns) {
            return Vec::new();
        }
        let target = port.target_port.unwrap_or(port.number);
        let own = entry.endpoints.iter();
        let mut endpoints: Vec<_> = own
            .filter_map(|workload| endpoint(workload, &port.name, target))
            .collect();
        if let Some(selector) = &entry.workload_selector {
            let namespace = entry.meta.namespace();
            let entries = self.selected_entries(namespace, selector);
            endpoints
                .extend(entries.filter_map(|entry| endpoint(&entry.workload, &port.name, target)));
            let pods = self
                .selected_pods(namespace, selector)
                .filter(|pod| pod.ready);
            endpoints.extend(pods.filter_map(|pod| of_pod(pod, target)));
        }
        distinct(endpoints)
    }
}

/// The endpoint of a workload for the service port of this name. `None`: its name has to be resolved.
pub(super) fn endpoint(workload: &Workload, port_name: &str, target: u16) -> Option<Endpoint> {
    let port = workload.ports.get(port_name).copied().unwrap_or(target);
    let address = match workload.address.as_ref()? {
        WorkloadAddress::Ip(address) => EndpointAddr::Tcp(SocketAddr::new(*address, port)),
        WorkloadAddress::Unix(path) => EndpointAddr::Unix(path.as_str().into()),
        WorkloadAddress::Host(_) => return None,
    };
    Some(Endpoint {
        address,
        weight: workload.weight.unwrap_or(1).max(1),
        labels: Arc::new(workload.labels.clone()),
        locality: workload.locality.as_deref().unwrap_or_default().into(),
    })
}
