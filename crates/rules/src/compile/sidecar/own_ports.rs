//! The ports of a workload that services have.

use super::super::clusters::Traffic;
use super::super::diagnostics::{Help, warning};
use super::super::outbound::Surroundings;
use super::super::services::service_host;
use super::super::{CompileOptions, Proxy, pool};
use super::inbound::ServiceNames;
use crate::{ClusterKey, ConnectionPool};
use ahash::HashMap;
use model::{
    At, Diagnostic, Origin, PortProtocol, Resources, Service, ServiceEntry, ServicePort,
    TargetPort, Transport, selects,
};
use std::sync::Arc;

/// A port of the workload that a service has.
#[derive(Debug)]
pub(super) struct OwnPort {
    /// The workload's own number of it.
    pub(super) number: u16,
    pub(super) protocol: PortProtocol,
    pub(super) service: ServiceNames,
    /// What the service's DestinationRule says.
    pub(super) pool: ConnectionPool,
    pub(super) origin: Arc<Origin>,
}

/// The service's side of a port.
struct Site {
    service: ServiceNames,
    port: u16,
    number: u16,
    protocol: PortProtocol,
    origin: Origin,
}

/// Those of the Services and ServiceEntries of the workload's namespace that select it. Of several for one port the
/// oldest has it.
///
/// Source: Istio, inbound listeners of a proxy without `Sidecar.ingress`.
pub(super) fn of_workload(
    options: &CompileOptions,
    around: &mut Surroundings<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<OwnPort> {
    let mut known: HashMap<u16, OwnPort> = HashMap::default();
    for site in sites(options, around.resources, diagnostics) {
        known
            .entry(site.number)
            .or_insert_with(|| own(site, options, around));
    }
    known.into_values().collect()
}

fn own(site: Site, options: &CompileOptions, around: &mut Surroundings<'_>) -> OwnPort {
    let (proxy, mesh) = (&options.proxy, &options.mesh);
    let resolved = around.resolver.resolve(&site.service.host, proxy, mesh);
    let key = ClusterKey {
        host: site.service.host.clone(),
        subset: None,
        port: site.port,
        view: None,
    };
    let cluster = around
        .clusters
        .find(key, Traffic::Bytes, &resolved, options);
    OwnPort {
        number: site.number,
        protocol: site.protocol,
        service: site.service,
        pool: cluster.map_or_else(|_| pool::of_mesh(mesh), |cluster| cluster.pool.clone()),
        origin: Arc::new(site.origin),
    }
}

fn sites(
    options: &CompileOptions,
    resources: &Resources,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Site> {
    let proxy = &options.proxy;
    let services = resources.services.iter();
    let mut services: Vec<_> = services
        .filter(|(key, service)| *key.namespace == *proxy.namespace && is_of(service, proxy))
        .map(|(_, service)| service)
        .collect();
    services.sort_by_key(|service| service.meta.creation_timestamp);
    let entries = resources.service_entries.iter();
    let mut entries: Vec<_> = entries
        .filter(|(key, entry)| *key.namespace == *proxy.namespace && entry_is_of(entry, proxy))
        .map(|(_, entry)| entry)
        .collect();
    entries.sort_by_key(|entry| entry.meta.creation_timestamp);
    let mut sites = Vec::new();
    for service in services {
        let names = ServiceNames {
            host: service_host(service, &options.mesh),
            name: service.meta.reference.name.clone(),
            namespace: service.meta.reference.namespace.clone(),
        };
        let ports = service.ports.iter();
        for port in ports.filter(|port| port.transport == Transport::Tcp) {
            match number(port, options, resources) {
                Some(number) => sites.push(Site {
                    service: names.clone(),
                    port: port.port,
                    number,
                    protocol: port.protocol,
                    origin: service.meta.origin(String::new(), port.at),
                }),
                None => diagnostics.push(no_such_port(service, port)),
            }
        }
    }
    sites.extend(entries.into_iter().flat_map(|entry| of_entry(entry)));
    sites
}

fn is_of(service: &Service, proxy: &Proxy) -> bool {
    !service.selector.is_empty() && selects(&service.selector, &proxy.labels)
}

fn entry_is_of(entry: &ServiceEntry, proxy: &Proxy) -> bool {
    let selector = entry.workload_selector.as_ref();
    selector.is_some_and(|selector| selects(selector, &proxy.labels))
}

fn of_entry(entry: &ServiceEntry) -> Vec<Site> {
    let Some(host) = entry.hosts.first() else {
        return Vec::new();
    };
    let site = |(index, port): (usize, &model::ServiceEntryPort)| Site {
        service: ServiceNames {
            host: host.value.shared(),
            name: host.value.shared(),
            namespace: entry.meta.reference.namespace.clone(),
        },
        port: port.number,
        number: port.target_port.unwrap_or(port.number),
        protocol: port.protocol,
        origin: entry
            .meta
            .origin(format!("spec.ports[{index}]"), At::default()),
    };
    entry.ports.iter().enumerate().map(site).collect()
}

/// The number of a Service's target port. A name is that of a port of the workload's containers, else of those of a Pod
/// with its labels.
fn number(port: &ServicePort, options: &CompileOptions, resources: &Resources) -> Option<u16> {
    let name = match &port.target_port {
        TargetPort::Number(number) => return Some(*number),
        TargetPort::Name(name) => name,
    };
    let own = options.sidecar.as_ref();
    if let Some(number) = own.and_then(|own| own.named_ports.get(name.as_str())) {
        return Some(*number);
    }
    let proxy = &options.proxy;
    let pods = resources.pods.iter();
    let mut like_it = pods.filter(|(key, pod)| {
        *key.namespace == *proxy.namespace && selects(&proxy.labels, &pod.meta.labels)
    });
    like_it.find_map(|(_, pod)| {
        let mut ports = pod.ports.iter();
        let named = ports.find(|one| one.name.as_deref() == Some(name))?;
        Some(named.container_port)
    })
}

fn no_such_port(service: &Service, port: &ServicePort) -> Diagnostic {
    let name = match &port.target_port {
        TargetPort::Name(name) => name.as_str(),
        TargetPort::Number(_) => "",
    };
    let told = warning(
        &service.meta,
        "unknown_target_port",
        "spec.ports",
        port.at,
        format!("no Pod with the labels of this sidecar's workload has a port named {name:?}"),
    );
    told.help("connections to it are taken for those of a port that no service has: write its number, or add the Pod")
}
