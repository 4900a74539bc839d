//! The services that a proxy sees: Kubernetes Services and ServiceEntries, by host.

use super::diagnostics::{Help, warning};
use super::{Mesh, Proxy};
use crate::UpstreamProtocol;
use ahash::{HashMap, HashMapExt};
use model::{
    At, Diagnostic, HostPattern, Location, ObjectKey, Objects, PortProtocol, ResourceRef,
    Resources, Service, ServiceEntry, Timestamp, Transport,
};
use std::sync::Arc;

/// A service under one of its hosts.
#[derive(Clone, Debug)]
pub(crate) struct ServiceView {
    /// Fully qualified, lower case.
    pub(crate) host: Arc<str>,
    /// What it was made of.
    pub(crate) source: Source,
    /// Its TCP ports.
    pub(crate) ports: Vec<PortView>,
}

/// What a service was made of.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A Kubernetes Service.
    Service(Arc<Service>),
    /// A ServiceEntry.
    Entry(Arc<ServiceEntry>),
}

/// A port of a service.
#[derive(Clone, Debug)]
pub(crate) struct PortView {
    /// The service port.
    pub(crate) number: u16,
    /// What is spoken there.
    pub(crate) protocol: PortProtocol,
    /// The endpoints' port, where it is one for all of them.
    pub(crate) target: u16,
}

impl ServiceView {
    /// Its namespace.
    pub(crate) fn namespace(&self) -> &Arc<str> {
        &self.source.reference().namespace
    }

    /// Its name in metrics: a Service's own, a ServiceEntry's host.
    pub(crate) fn display_name(&self) -> Arc<str> {
        match &self.source {
            Source::Service(service) => service.meta.reference.name.clone(),
            Source::Entry(_) => self.host.clone(),
        }
    }

    /// Names that the certificates of its endpoints have. A Kubernetes Service says nothing about them.
    pub(crate) fn subject_alt_names(&self) -> &[String] {
        match &self.source {
            Source::Service(_) => &[],
            Source::Entry(entry) => &entry.subject_alt_names,
        }
    }

    /// Whether it is outside of the mesh, whatever is said about its endpoints.
    pub(crate) fn is_external(&self) -> bool {
        match &self.source {
            Source::Service(_) => false,
            Source::Entry(entry) => entry.location == Location::MeshExternal,
        }
    }

    /// The port of this number.
    pub(crate) fn port(&self, number: u16) -> Option<&PortView> {
        self.ports.iter().find(|port| port.number == number)
    }
}

impl PortView {
    /// What is spoken to its endpoints when no DestinationRule says otherwise.
    pub(crate) fn upstream(&self) -> UpstreamProtocol {
        if self.protocol.is_http2() {
            UpstreamProtocol::Http2
        } else {
            UpstreamProtocol::Http1
        }
    }
}

impl Source {
    /// The object.
    pub(crate) fn reference(&self) -> &ResourceRef {
        match self {
            Self::Service(service) => &service.meta.reference,
            Self::Entry(entry) => &entry.meta.reference,
        }
    }

    /// Whether it is the same object, unchanged.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Service(one), Self::Service(other)) => Arc::ptr_eq(one, other),
            (Self::Entry(one), Self::Entry(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// The services that a proxy sees, by host. Of several with one host there is the one that a request is sent to.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    services: Objects<Service>,
    entries: Objects<ServiceEntry>,
    by_host: HashMap<Arc<str>, Arc<ServiceView>>,
    /// Hosts of objects that are not exported to the proxy, to say so.
    hidden: HashMap<Arc<str>, ResourceRef>,
    /// The host of each Kubernetes Service that provides its own.
    of_services: HashMap<ObjectKey, Arc<str>>,
    /// Counts changes.
    revision: u64,
    /// Services of hosts that another object of their namespace provides for everyone, with that object.
    outranked: Vec<(Arc<ServiceView>, ResourceRef)>,
}

impl Registry {
    /// Takes over what changed; says whether anything did.
    pub(crate) fn update(&mut self, proxy: &Proxy, mesh: &Mesh, resources: &Resources) -> bool {
        if self.services.are(&resources.services) && self.entries.are(&resources.service_entries) {
            return false;
        }
        self.services = resources.services.clone();
        self.entries = resources.service_entries.clone();
        self.rebuild(proxy, mesh);
        self.revision += 1;
        true
    }

    /// As long as it is the same, so are all services.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What a Kubernetes Service is here. Absent: nobody, or somebody else, provides its host.
    pub(crate) fn of_service(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceView>> {
        let key = ObjectKey {
            namespace: namespace.into(),
            name: name.into(),
        };
        self.by_host.get(self.of_services.get(&key)?)
    }

    /// The service of a fully qualified host.
    pub(crate) fn get(&self, host: &str) -> Option<&Arc<ServiceView>> {
        self.by_host.get(host)
    }

    /// Whether any service has `host`, be it under a wildcard.
    pub(crate) fn provides(&self, host: &str) -> bool {
        let mut wildcards = host.match_indices('.').map(|(at, _)| &host[at..]);
        self.by_host.contains_key(host)
            || wildcards.any(|end| self.by_host.contains_key(&*format!("*{end}")))
    }

    /// An object that provides `host`, but not for this proxy.
    pub(crate) fn hidden(&self, host: &str) -> Option<&ResourceRef> {
        self.hidden.get(host)
    }

    /// Objects that are not exported to the proxy, by host.
    pub(crate) fn all_hidden(&self) -> impl Iterator<Item = (&Arc<str>, &ResourceRef)> {
        self.hidden.iter()
    }

    /// What is to be said about hosts that several objects of one namespace provide.
    pub(crate) fn outranked(&self) -> impl Iterator<Item = Diagnostic> {
        self.outranked
            .iter()
            .filter_map(|(view, by)| host_is_taken(view, by))
    }

    /// All services.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ServiceView>> {
        self.by_host.values()
    }

    /// Views of entries that did not change are the same as before.
    fn rebuild(&mut self, proxy: &Proxy, mesh: &Mesh) {
        let capacity = self.services.len() + self.entries.len();
        let before = std::mem::replace(&mut self.by_host, HashMap::with_capacity(capacity));
        self.hidden = HashMap::new();
        self.outranked = Vec::new();
        let services = self.services.clone();
        for service in services.values() {
            self.place(Arc::new(view_of_service(service, mesh)), proxy);
        }
        let entries = self.entries.clone();
        for entry in entries.values() {
            for host in &entry.hosts {
                let is_same = |view: &&Arc<ServiceView>| matches!(&view.source, Source::Entry(known) if Arc::ptr_eq(known, entry));
                let view = match before.get(host.value.as_str()).filter(is_same) {
                    Some(view) => view.clone(),
                    None => Arc::new(view_of_entry(entry, &host.value)),
                };
                self.place(view, proxy);
            }
        }
        let own = self.by_host.values().filter_map(|view| match &view.source {
            Source::Service(service) => Some((&service.meta.reference, &view.host)),
            Source::Entry(_) => None,
        });
        self.of_services = own
            .map(|(reference, host)| (ObjectKey::from(reference), host.clone()))
            .collect();
    }

    fn place(&mut self, view: Arc<ServiceView>, proxy: &Proxy) {
        let visible = match &view.source {
            Source::Service(service) => service.export_to.reaches(&proxy.namespace),
            Source::Entry(entry) => entry.export_to.reaches(&proxy.namespace),
        };
        if !visible {
            let provider = view.source.reference().clone();
            self.hidden.insert(view.host.clone(), provider);
            return;
        }
        let Some(held) = self.by_host.get_mut(&view.host) else {
            self.by_host.insert(view.host.clone(), view);
            return;
        };
        let loser = match rank(held, proxy) <= rank(&view, proxy) {
            true => view,
            false => std::mem::replace(held, view),
        };
        if loser.namespace() == held.namespace() && !loser.source.is(&held.source) {
            let winner = held.source.reference().clone();
            self.outranked.push((loser, winner));
        }
    }
}

/// Where a ServiceEntry names a host.
pub(crate) fn place_of(entry: &ServiceEntry, host: &str) -> Option<(String, At)> {
    let mut hosts = entry.hosts.iter().enumerate();
    let (index, named) = hosts.find(|(_, one)| one.value.as_str() == host)?;
    Some((format!("spec.hosts[{index}]"), named.at))
}

/// A namespace that has the host too may mean another object; in one namespace only one of them has an effect.
fn host_is_taken(view: &ServiceView, by: &ResourceRef) -> Option<Diagnostic> {
    let Source::Entry(entry) = &view.source else {
        return None;
    };
    let host = &view.host;
    let (path, at) = place_of(entry, host)?;
    let told = warning(
        &entry.meta,
        "duplicate_host",
        path,
        at,
        format!("{by} provides host {host:?} in the same namespace, and comes before this object"),
    );
    Some(told.help(
        "this object has no effect for the host; put all ports and endpoints into one object",
    ))
}

/// Lower is better: the proxy's own namespace, then Services before ServiceEntries, then the oldest.
fn rank<'v>(
    view: &'v ServiceView,
    proxy: &Proxy,
) -> (bool, bool, Option<Timestamp>, &'v ResourceRef) {
    let (is_entry, meta) = match &view.source {
        Source::Service(service) => (false, &service.meta),
        Source::Entry(entry) => (true, &entry.meta),
    };
    let foreign = meta.reference.namespace != proxy.namespace;
    (foreign, is_entry, meta.creation_timestamp, &meta.reference)
}

/// The fully qualified host of a Service.
pub(crate) fn service_host(service: &Service, mesh: &Mesh) -> Arc<str> {
    let meta = &service.meta;
    format!(
        "{}.{}.svc.{}",
        meta.name(),
        meta.namespace(),
        mesh.domain_suffix
    )
    .into()
}

fn view_of_service(service: &Arc<Service>, mesh: &Mesh) -> ServiceView {
    let tcp = service
        .ports
        .iter()
        .filter(|port| port.transport == Transport::Tcp);
    ServiceView {
        host: service_host(service, mesh),
        source: Source::Service(service.clone()),
        ports: tcp
            .map(|port| PortView {
                number: port.port,
                protocol: port.protocol,
                target: port.port,
            })
            .collect(),
    }
}

/// Unlike those of other objects, a host without a dot is not expanded.
fn view_of_entry(entry: &Arc<ServiceEntry>, host: &HostPattern) -> ServiceView {
    let ports = entry.ports.iter().map(|port| PortView {
        number: port.number,
        protocol: port.protocol,
        target: port.target_port.unwrap_or(port.number),
    });
    ServiceView {
        host: host.shared(),
        source: Source::Entry(entry.clone()),
        ports: ports.collect(),
    }
}
