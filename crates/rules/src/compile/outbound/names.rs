//! The names of a view, and virtual addresses for what has none.

use super::super::CompileOptions;
use super::super::diagnostics::{Help, warning};
use super::super::services::{PortView, Registry, ServiceView, Source, place_of};
use super::build::Build;
use super::service::{aliases, networks};
use crate::{AutoAllocate, Claim, NameMeaning, NameTable, ServicePort, VirtualAddresses};
use model::{
    Diagnostic, HostPattern, Meta, Resolution, Service, ServiceEntry, ServiceType, Timestamp,
};
use std::net::IpAddr;
use std::sync::Arc;

/// The label, or annotation, of a ServiceEntry that says whether it may get virtual addresses.
///
/// Source: Istio.
const ENABLE_AUTO_ALLOCATE: &str = "networking.istio.io/enable-autoallocate-ip";

/// A port for which no service is asked: what is seen there is what is seen on any port that is not named.
const NO_PORT: u16 = 0;

/// Gives virtual addresses to the services of a registry that need them; who was there first chooses first.
pub(super) fn virtual_addresses(
    registry: &Registry,
    options: &CompileOptions,
    diagnostics: &mut Vec<Diagnostic>,
) -> VirtualAddresses {
    let kinds = options.names.map(|names| names.auto_allocate);
    let kinds = kinds.unwrap_or_default();
    if kinds == AutoAllocate::Off {
        return VirtualAddresses::default();
    }
    let mut claiming: Vec<_> = registry.iter().filter(|one| needs_address(one)).collect();
    claiming.sort_by(|one, other| seniority(one).cmp(&seniority(other)));
    let claims = claiming.iter().map(|service| Claim {
        namespace: service.namespace(),
        host: &service.host,
    });
    let taken = registry.iter().flat_map(|service| networks(service));
    let (given, left_out) = VirtualAddresses::allocate(kinds, taken.map(|one| one.addr()), claims);
    let left_out = left_out.iter().filter_map(|host| registry.get(host));
    diagnostics.extend(left_out.filter_map(|service| no_address_left(service)));
    given
}

fn seniority(service: &ServiceView) -> (Option<Timestamp>, &str, &str) {
    let created = meta_of(service).creation_timestamp;
    (created, service.namespace(), &service.host)
}

fn meta_of(service: &ServiceView) -> &Meta {
    match &service.source {
        Source::Service(service) => &service.meta,
        Source::Entry(entry) => &entry.meta,
    }
}

/// A Service has an address from Kubernetes, unless it comes from a file that does not say which.
fn needs_address(service: &ServiceView) -> bool {
    match &service.source {
        Source::Service(service) => {
            let is_alias = service.service_type == ServiceType::ExternalName;
            !is_alias && !service.headless && service.cluster_ips.is_empty()
        }
        Source::Entry(entry) => may_have_address(entry) && is_name(&service.host),
    }
}

/// Without a resolution connections go where the client's own addresses lead.
fn may_have_address(entry: &ServiceEntry) -> bool {
    let says_no =
        |value: Option<&String>| value.is_some_and(|one| one.eq_ignore_ascii_case("false"));
    let meta = &entry.meta;
    entry.resolution != Resolution::None
        && entry.addresses.is_empty()
        && !says_no(meta.labels.get(ENABLE_AUTO_ALLOCATE))
        && !says_no(meta.annotations.get(ENABLE_AUTO_ALLOCATE))
}

/// Neither a wildcard nor an address.
fn is_name(host: &str) -> bool {
    let host = HostPattern::try_from(host);
    host.is_ok_and(|host| !host.is_wildcard() && host.ip().is_none())
}

fn no_address_left(service: &ServiceView) -> Option<Diagnostic> {
    let (path, at) = match &service.source {
        Source::Entry(entry) => place_of(entry, &service.host)?,
        Source::Service(_) => ("spec.clusterIP".to_owned(), model::At::default()),
    };
    let message = format!("no virtual address is left for host {:?}", service.host);
    let told = warning(meta_of(service), "no_address_left", path, at, message);
    Some(told.help("give it addresses, or let fewer services be seen, by exportTo or by a Sidecar"))
}

impl Build<'_> {
    /// What names stand for. Empty where nobody asks for them.
    pub(super) fn names(&self) -> NameTable {
        if self.of.options.names.is_none() {
            return NameTable::default();
        }
        let registry = self.of.resolver.services();
        let mut services: Vec<_> = registry.iter().collect();
        services.sort_by(|one, other| one.host.cmp(&other.host));
        let named = services.into_iter().map(|service| NamedService {
            hosts: self.seen_hosts(service),
            service,
            meaning: Arc::new(self.meaning(service)),
        });
        let named: Vec<_> = named.filter(|one| !one.hosts.is_empty()).collect();
        table_of(&named, &self.of.options.proxy.namespace)
    }

    /// The hosts of a service that are seen on any of its ports.
    fn seen_hosts(&self, service: &ServiceView) -> Vec<Arc<str>> {
        let limits = self.of.limits;
        let mut seen: Vec<Arc<str>> = Vec::new();
        for port in ports_of(service) {
            let hosts = limits.hosts(service, port).into_iter();
            let new: Vec<_> = hosts.filter(|host| !seen.contains(host)).collect();
            seen.extend(new);
        }
        seen
    }

    fn meaning(&self, service: &ServiceView) -> NameMeaning {
        let own: Vec<IpAddr> = own_addresses(service).collect();
        if !own.is_empty() {
            return NameMeaning::Addresses(own);
        }
        let given: Vec<IpAddr> = self.virtual_addresses.of(&service.host).collect();
        if !given.is_empty() {
            return NameMeaning::Addresses(given);
        }
        match &service.source {
            Source::Service(of) => match alias_of(of) {
                Some(name) => NameMeaning::Alias(name),
                None if of.headless => self.endpoints_of(service),
                None => NameMeaning::Elsewhere,
            },
            Source::Entry(entry) => match entry.resolution {
                // With networks for addresses it is the client who says which of them is meant.
                Resolution::Static if entry.addresses.is_empty() => self.endpoints_of(service),
                _ => NameMeaning::Elsewhere,
            },
        }
    }

    /// As in Istio those of the first port, which all of them have as a rule.
    fn endpoints_of(&self, service: &ServiceView) -> NameMeaning {
        match service.ports.first() {
            Some(PortView { number, .. }) => NameMeaning::Endpoints(ServicePort {
                host: service.host.clone(),
                port: *number,
                view: self.of.view.cloned(),
            }),
            None => NameMeaning::Elsewhere,
        }
    }
}

/// A service with what its names stand for.
struct NamedService<'s> {
    service: &'s ServiceView,
    hosts: Vec<Arc<str>>,
    meaning: Arc<NameMeaning>,
}

/// A service's own host comes before other names of others.
fn table_of(named: &[NamedService<'_>], namespace: &str) -> NameTable {
    let mut table = NameTable::default();
    for one in named {
        for host in &one.hosts {
            table.add(host, one.meaning.clone());
            add_addresses(&mut table, &one.meaning, host);
        }
    }
    for one in named {
        for name in aliases(one.service, namespace) {
            table.add(&name, one.meaning.clone());
        }
    }
    table
}

fn add_addresses(table: &mut NameTable, meaning: &NameMeaning, host: &Arc<str>) {
    let NameMeaning::Addresses(addresses) = meaning else {
        return;
    };
    if !host.starts_with('*') {
        for address in addresses {
            table.add_address(*address, host);
        }
    }
}

/// The numbers of its ports, of whatever transport. One that is nobody's where it has none.
fn ports_of(service: &ServiceView) -> Vec<u16> {
    let ports: Vec<_> = match &service.source {
        Source::Service(service) => service.ports.iter().map(|port| port.port).collect(),
        Source::Entry(entry) => entry.ports.iter().map(|port| port.number).collect(),
    };
    match ports.is_empty() {
        true => vec![NO_PORT],
        false => ports,
    }
}

/// The addresses that a service has of its own. A network is none.
fn own_addresses(service: &ServiceView) -> impl Iterator<Item = IpAddr> {
    let all = networks(service).into_iter();
    let addresses = all.filter(|one| one.prefix_len() == one.max_prefix_len());
    addresses.map(|one| one.addr())
}

fn alias_of(service: &Service) -> Option<Arc<str>> {
    let name = service.external_name.as_ref();
    let name = name.filter(|_| service.service_type == ServiceType::ExternalName);
    name.map(model::Hostname::shared)
}
