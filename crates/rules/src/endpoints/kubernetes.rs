//! Endpoints of a Kubernetes Service.

use super::names::{NameSite, NamedAddress};
use super::workloads::{Take, Wanted, tcp};
use super::{Finding, Standing, Workloads, standing};
use crate::Endpoint;
use crate::compile::warning;
use ahash::{HashMap, HashMapExt};
use model::{
    AddressType, At, Diagnostic, EndpointSlice, Pod, PodRef, ResourceRef, Service, ServicePort,
    SliceEndpoint, SlicePort, TargetPort, Transport,
};
use std::sync::Arc;

/// The TCP ports of a Service.
pub(super) fn ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service
        .ports
        .iter()
        .filter(|port| port.transport == Transport::Tcp)
}

impl<'r> Workloads<'r> {
    /// Those of its EndpointSlices. Where there are none, as in plain files, the Pods it selects. And the
    /// WorkloadEntries it selects.
    ///
    /// A headless Service is no different: who connects to its endpoints connects to their port, the target port.
    pub(super) fn of_service(&self, service: &Service, port: &ServicePort, finding: &mut Finding) {
        match self.slices_of(service) {
            Some(slices) => self.of_slices(service, port, slices, finding),
            None => self.of_pods(service, port, finding),
        }
        if service.selector.is_empty() {
            return;
        }
        let namespace = &service.meta.reference.namespace;
        for entry in self.selected_entries(namespace, &service.selector) {
            match wanted_of_entry(port, &entry.workload) {
                Some(wanted) => self.add_entry(entry, wanted, finding),
                None => finding.diagnostics.push(no_such_port(
                    service,
                    port,
                    "port",
                    &entry.meta.reference,
                )),
            }
        }
    }

    /// The name that an ExternalName Service is another name of.
    pub(super) fn of_external_name(
        &self,
        service: &Service,
        port: &ServicePort,
        finding: &mut Finding,
    ) {
        let Some(name) = &service.external_name else {
            return;
        };
        let wanted = Wanted {
            name: "",
            number: numbered(port),
            take: Take::All,
            named: &[],
        };
        let site = NameSite {
            meta: &service.meta,
            path: "spec.externalName".into(),
            at: At::default(),
        };
        // As in Istio, its endpoint has the Service's own labels.
        self.add_name(name, &service.meta.labels, wanted, &site, finding);
    }

    fn of_slices(
        &self,
        service: &Service,
        port: &ServicePort,
        slices: &'r [Arc<EndpointSlice>],
        finding: &mut Finding,
    ) {
        let first = first_family(service);
        let mut slices: Vec<_> = slices.iter().collect();
        slices.sort_by_key(|slice| slice.address_type != first);
        let mut families = HashMap::new();
        for slice in slices {
            let Some(number) = slice.ports.iter().find_map(|own| number_of(own, port)) else {
                continue;
            };
            for (index, endpoint) in slice.endpoints.iter().enumerate() {
                let standing = standing_of(endpoint, service.publish_not_ready_addresses);
                let Some(standing) = standing else {
                    continue;
                };
                if service.headless {
                    finding.add_member(endpoint);
                }
                if is_of_first_family(&mut families, endpoint, slice.address_type) {
                    self.of_slice_endpoint(slice, index, number, standing, finding);
                }
            }
        }
    }

    fn of_slice_endpoint(
        &self,
        slice: &EndpointSlice,
        index: usize,
        port: u16,
        standing: Standing,
        finding: &mut Finding,
    ) {
        let endpoint = &slice.endpoints[index];
        let site = NameSite {
            meta: &slice.meta,
            path: format!("endpoints[{index}].addresses"),
            at: endpoint.at,
        };
        let addresses = match endpoint.names.first() {
            Some(name) => self.addresses(name, &site, &[], finding),
            None => endpoint
                .addresses
                .first()
                .copied()
                .map(NamedAddress::written)
                .into_iter()
                .collect(),
        };
        let pod = self.pod_of(slice, endpoint);
        let workload = pod.and_then(|pod| self.shared.workloads.of_pod(pod));
        let (node, zone) = (endpoint.node_name.as_deref(), endpoint.zone.as_deref());
        let locality = self.locality(pod, node, zone);
        for found in addresses {
            let endpoint = Endpoint {
                locality: locality.clone(),
                forbidden: found.forbidden,
                ..self.endpoint(tcp(found.address, port), workload.clone())
            };
            finding.add(Some(endpoint), Some(standing));
        }
    }

    fn of_pods(&self, service: &Service, port: &ServicePort, finding: &mut Finding) {
        if service.selector.is_empty() {
            return;
        }
        let namespace = &service.meta.reference.namespace;
        for pod in self.selected_pods(namespace, &service.selector) {
            let Some(standing) = standing(pod, service.publish_not_ready_addresses) else {
                continue;
            };
            match target_of(pod, &port.target_port) {
                Some(number) => finding.add(self.of_pod(pod, number), Some(standing)),
                None => finding.diagnostics.push(no_such_port(
                    service,
                    port,
                    "container port",
                    &pod.meta.reference,
                )),
            }
        }
    }

    /// A Pod's endpoint on a port: its first address.
    pub(super) fn of_pod(&self, pod: &Pod, port: u16) -> Option<Endpoint> {
        let address = pod.pod_ips.first()?;
        let workload = self.shared.workloads.of_pod(pod);
        Some(Endpoint {
            locality: self.locality_of_pod(pod),
            ..self.endpoint(tcp(*address, port), workload)
        })
    }
}

/// How an endpoint stands. Ready is what says nothing else; ready and terminating at once is ready, too.
fn standing_of(endpoint: &SliceEndpoint, publishes_not_ready: bool) -> Option<Standing> {
    if endpoint.ready || publishes_not_ready {
        return Some(Standing::Ready);
    }
    (endpoint.terminating && endpoint.serving).then_some(Standing::Leaving)
}

/// Which address of an endpoint with both kinds counts: the kind of the Service's own first address.
fn first_family(service: &Service) -> AddressType {
    match service.cluster_ips.first() {
        Some(address) if address.is_ipv6() => AddressType::Ipv6,
        _ => AddressType::Ipv4,
    }
}

/// The number behind a target port: by number, or by the name of a container's port.
fn target_of(pod: &Pod, target: &TargetPort) -> Option<u16> {
    match target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let mut ports = pod
                .ports
                .iter()
                .filter(|port| port.transport == Transport::Tcp);
            Some(
                ports
                    .find(|port| port.name.as_deref() == Some(name))?
                    .container_port,
            )
        }
    }
}

/// The port wanted of a WorkloadEntry. Absent: the target port is a name that none of its ports has.
fn wanted_of_entry<'p>(port: &'p ServicePort, workload: &model::Workload) -> Option<Wanted<'p>> {
    let (name, number) = match &port.target_port {
        TargetPort::Number(number) => (port.name.as_deref().unwrap_or_default(), *number),
        TargetPort::Name(name) => (name.as_str(), *workload.ports.get(name)?),
    };
    Some(Wanted {
        name,
        number,
        take: Take::All,
        named: &[],
    })
}

/// The target port where nobody knows what a name of one would stand for.
fn numbered(port: &ServicePort) -> u16 {
    match &port.target_port {
        TargetPort::Number(number) => *number,
        TargetPort::Name(_) => port.port,
    }
}

/// The endpoints' port, when it is that of the Service port.
fn number_of(own: &SlicePort, port: &ServicePort) -> Option<u16> {
    if own.transport != Transport::Tcp || own.name != port.name.as_deref().unwrap_or_default() {
        return None;
    }
    Some(own.port.unwrap_or_else(|| numbered(port)))
}

/// A Pod with addresses of both families stands in two slices, and is one endpoint.
fn is_of_first_family<'e>(
    families: &mut HashMap<(&'e str, &'e str), AddressType>,
    endpoint: &'e SliceEndpoint,
    family: AddressType,
) -> bool {
    match &endpoint.pod {
        Some(PodRef { namespace, name }) => {
            *families.entry((namespace, name)).or_insert(family) == family
        }
        None => true,
    }
}

fn no_such_port(
    service: &Service,
    port: &ServicePort,
    what: &str,
    workload: &ResourceRef,
) -> Diagnostic {
    let name = match &port.target_port {
        TargetPort::Name(name) => name.clone(),
        TargetPort::Number(number) => number.to_string(),
    };
    let message =
        format!("{workload} has no {what} named {name:?}, so it does not serve this port");
    warning(
        &service.meta,
        "unknown_target_port",
        "spec.ports",
        port.at,
        message,
    )
}
