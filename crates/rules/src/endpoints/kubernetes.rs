//! Endpoints of a Kubernetes Service.

use super::{Workloads, distinct, pod_locality};
use crate::compile::warning;
use crate::{Endpoint, EndpointAddr};
use ahash::{HashMap, HashMapExt};
use model::{
    AddressType, Diagnostic, EndpointSlice, Labels, Pod, PodRef, Service, ServicePort,
    SliceEndpoint, SlicePort, TargetPort, Transport,
};
use std::net::SocketAddr;
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
    pub(super) fn of_service(
        &self,
        service: &Service,
        port: &ServicePort,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Endpoint> {
        let namespace = service.meta.namespace();
        let mut endpoints = match self.slices.get(&(namespace, service.meta.name())) {
            Some(slices) => self.of_slices(service, port, slices, diagnostics),
            None => self.of_pods(service, port, diagnostics),
        };
        if !service.selector.is_empty() {
            let target = match &port.target_port {
                TargetPort::Number(number) => *number,
                TargetPort::Name(_) => port.port,
            };
            let entries = self.selected_entries(namespace, &service.selector);
            let name = port.name.as_deref().unwrap_or_default();
            endpoints.extend(
                entries
                    .filter_map(|entry| super::workloads::endpoint(&entry.workload, name, target)),
            );
        }
        distinct(endpoints)
    }

    fn of_slices(
        &self,
        service: &Service,
        port: &ServicePort,
        slices: &[&'r EndpointSlice],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Endpoint> {
        let mut slices = slices.to_vec();
        slices.sort_by_key(|slice| slice.address_type != AddressType::Ipv4);
        let mut families = HashMap::new();
        let mut endpoints = Vec::new();
        for slice in slices {
            if slice.address_type == AddressType::Fqdn {
                diagnostics.push(names_are_not_used(slice));
                continue;
            }
            let Some(number) = slice.ports.iter().find_map(|own| number_of(own, port)) else {
                continue;
            };
            for endpoint in &slice.endpoints {
                let ready = endpoint.ready || service.publish_not_ready_addresses;
                if ready && is_of_first_family(&mut families, endpoint, slice.address_type) {
                    endpoints.extend(self.of_slice_endpoint(endpoint, number));
                }
            }
        }
        endpoints
    }

    fn of_slice_endpoint(&self, endpoint: &SliceEndpoint, port: u16) -> Option<Endpoint> {
        let address = endpoint.addresses.first()?;
        let pod = endpoint
            .pod
            .as_ref()
            .and_then(|pod| self.pod(&pod.namespace, &pod.name));
        let locality = match (pod, &endpoint.zone) {
            (Some(pod), _) if pod.meta.labels.contains_key("istio-locality") => pod_locality(pod),
            (_, Some(zone)) => format!("/{zone}/").into(),
            _ => "".into(),
        };
        Some(Endpoint {
            address: EndpointAddr::Tcp(SocketAddr::new(*address, port)),
            weight: 1,
            labels: Arc::new(pod.map(|pod| pod.meta.labels.clone()).unwrap_or_default()),
            locality,
        })
    }

    fn of_pods(
        &self,
        service: &Service,
        port: &ServicePort,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Endpoint> {
        if service.selector.is_empty() {
            return Vec::new();
        }
        let pods = self.selected_pods(service.meta.namespace(), &service.selector);
        let pods = pods.filter(|pod| pod.ready || service.publish_not_ready_addresses);
        let mut endpoints = Vec::new();
        for pod in pods {
            let Some(number) = target_of(pod, &port.target_port) else {
                diagnostics.push(no_such_port(service, port, pod));
                continue;
            };
            endpoints.extend(of_pod(pod, number));
        }
        endpoints
    }
}

/// A Pod's endpoint on a port: its first address.
pub(super) fn of_pod(pod: &Pod, port: u16) -> Option<Endpoint> {
    let address = pod.pod_ips.first()?;
    Some(Endpoint {
        address: EndpointAddr::Tcp(SocketAddr::new(*address, port)),
        weight: 1,
        labels: Arc::new(Labels::clone(&pod.meta.labels)),
        locality: pod_locality(pod),
    })
}

/// The number behind a target port: by number, or by the name of a container's port.
pub(super) fn target_of(pod: &Pod, target: &TargetPort) -> Option<u16> {
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

/// The endpoints' port, when it is that of the Service port.
fn number_of(own: &SlicePort, port: &ServicePort) -> Option<u16> {
    if own.transport != Transport::Tcp || own.name != port.name.as_deref().unwrap_or_default() {
        return None;
    }
    Some(own.port.unwrap_or(match &port.target_port {
        TargetPort::Number(number) => *number,
        TargetPort::Name(_) => port.port,
    }))
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

fn names_are_not_used(slice: &EndpointSlice) -> Diagnostic {
    let message = "endpoints of addressType FQDN are not used";
    warning(
        &slice.meta,
        "address_type",
        "addressType",
        model::At::default(),
        message,
    )
}

fn no_such_port(service: &Service, port: &ServicePort, pod: &Pod) -> Diagnostic {
    let name = match &port.target_port {
        TargetPort::Name(name) => name.clone(),
        TargetPort::Number(number) => number.to_string(),
    };
    let pod = &pod.meta.reference;
    let message =
        format!("{pod} has no container port named {name:?}, so it does not serve this port");
    warning(
        &service.meta,
        "unknown_target_port",
        "spec.ports",
        port.at,
        message,
    )
}
