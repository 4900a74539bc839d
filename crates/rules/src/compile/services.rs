//! The services that a proxy sees: Kubernetes Services and ServiceEntries, by host.

use super::diagnostics::{Help, warning};
use super::{Mesh, Proxy};
use crate::UpstreamProtocol;
use ahash::{HashMap, HashSet};
use model::{
    At, Diagnostic, HostPattern, Location, Objects, PortProtocol, ResourceRef, Resources, Service,
    ServiceEntry, ServiceType, Timestamp, Transport,
};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
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

    /// Services come before ServiceEntries.
    fn order(&self) -> (bool, &ResourceRef) {
        (matches!(self, Self::Entry(_)), self.reference())
    }

    /// Whether it is another name of whatever there is.
    fn is_other_name(&self) -> bool {
        matches!(self, Self::Service(service) if service.service_type == ServiceType::ExternalName)
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
///
/// Brought up to date with what changed alone.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    services: Objects<Service>,
    entries: Objects<ServiceEntry>,
    domain_suffix: Arc<str>,
    /// Who provides each host, or would for another proxy: Services first, and of a kind by namespace and name.
    claims: HashMap<Arc<str>, Claims>,
    by_host: HashMap<Arc<str>, Arc<ServiceView>>,
    /// Hosts of objects that are not exported to the proxy, to say so.
    hidden: HashMap<Arc<str>, ResourceRef>,
    /// Services of hosts that another object of their namespace provides for everyone, with that object; by host.
    outranked: BTreeMap<Arc<str>, Vec<(Arc<ServiceView>, ResourceRef)>>,
    /// The hosts of ExternalName Services.
    other_names: HashSet<Arc<str>>,
    /// Counts changes.
    revision: u64,
    /// The hosts that the last change was about.
    touched: BTreeSet<Arc<str>>,
}

/// Mostly one.
type Claims = SmallVec<[Arc<ServiceView>; 1]>;

impl Registry {
    /// Takes over what changed; says whether anything did.
    pub(crate) fn update(&mut self, proxy: &Proxy, mesh: &Mesh, resources: &Resources) -> bool {
        let services = std::mem::replace(&mut self.services, resources.services.clone());
        let entries = std::mem::replace(&mut self.entries, resources.service_entries.clone());
        self.domain_suffix = mesh.domain_suffix.clone();
        let mut touched = BTreeSet::new();
        for (before, now) in resources.services.since(&services) {
            if let Some(before) = before {
                let of = Source::Service(before.clone());
                self.take_back(service_host(before, mesh), &of, &mut touched);
            }
            if let Some(now) = now {
                self.claim(view_of_service(now, mesh), &mut touched);
            }
        }
        for (before, now) in resources.service_entries.since(&entries) {
            for before in before.iter().copied() {
                let of = Source::Entry(before.clone());
                for host in &before.hosts {
                    self.take_back(host.value.shared(), &of, &mut touched);
                }
            }
            for now in now.iter().copied() {
                for host in &now.hosts {
                    self.claim(view_of_entry(now, &host.value), &mut touched);
                }
            }
        }
        for host in &touched {
            self.settle(host, proxy);
        }
        let is_changed = !touched.is_empty();
        if is_changed {
            self.revision += 1;
            self.touched = touched;
        }
        is_changed
    }

    /// As long as it is the same, so are all services.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The hosts of which something is different since an earlier revision. `None`: it is not known of one so old.
    pub(crate) fn touched_since(&self, revision: u64) -> Option<&BTreeSet<Arc<str>>> {
        const NONE: &BTreeSet<Arc<str>> = &BTreeSet::new();
        match self.revision.checked_sub(revision)? {
            0 => Some(NONE),
            1 => Some(&self.touched),
            _ => None,
        }
    }

    /// Whether some services are other names of whatever there is.
    pub(crate) fn has_other_names(&self) -> bool {
        !self.other_names.is_empty()
    }

    /// What a Kubernetes Service is here. Absent: nobody, or somebody else, provides its host.
    pub(crate) fn of_service(&self, namespace: &str, name: &str) -> Option<&Arc<ServiceView>> {
        let host = format!("{name}.{namespace}.svc.{}", self.domain_suffix);
        let view = self.by_host.get(&*host);
        view.filter(|view| matches!(view.source, Source::Service(_)))
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
            .values()
            .flatten()
            .filter_map(|(view, by)| host_is_taken(view, by))
    }

    /// All services.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<ServiceView>> {
        self.by_host.values()
    }

    fn claim(&mut self, view: ServiceView, touched: &mut BTreeSet<Arc<str>>) {
        touched.insert(view.host.clone());
        let claims = self.claims.entry(view.host.clone()).or_default();
        let order = view.source.order();
        let place = claims.partition_point(|one| one.source.order() <= order);
        claims.insert(place, Arc::new(view));
    }

    fn take_back(&mut self, host: Arc<str>, of: &Source, touched: &mut BTreeSet<Arc<str>>) {
        if let Some(claims) = self.claims.get_mut(&host) {
            claims.retain(|view| !view.source.is(of));
            if claims.is_empty() {
                self.claims.remove(&host);
            }
        }
        touched.insert(host);
    }

    /// Decides who provides a host.
    fn settle(&mut self, host: &Arc<str>, proxy: &Proxy) {
        let mut held: Option<Arc<ServiceView>> = None;
        let (mut hidden, mut outranked) = (None, Vec::new());
        for view in self.claims.get(host).into_iter().flatten() {
            if !is_visible(view, proxy) {
                hidden = Some(view.source.reference().clone());
                continue;
            }
            let Some(holder) = held.take() else {
                held = Some(view.clone());
                continue;
            };
            let (winner, loser) = match rank(&holder, proxy) <= rank(view, proxy) {
                true => (holder, view.clone()),
                false => (view.clone(), holder),
            };
            if loser.namespace() == winner.namespace() && !loser.source.is(&winner.source) {
                outranked.push((loser, winner.source.reference().clone()));
            }
            held = Some(winner);
        }
        match held
            .as_ref()
            .is_some_and(|view| view.source.is_other_name())
        {
            true => self.other_names.insert(host.clone()),
            false => self.other_names.remove(host),
        };
        put(&mut self.by_host, host, held);
        put(&mut self.hidden, host, hidden);
        match outranked.is_empty() {
            true => self.outranked.remove(host),
            false => self.outranked.insert(host.clone(), outranked),
        };
    }
}

fn put<V>(map: &mut HashMap<Arc<str>, V>, host: &Arc<str>, value: Option<V>) {
    match value {
        Some(value) => map.insert(host.clone(), value),
        None => map.remove(host),
    };
}

fn is_visible(view: &ServiceView, proxy: &Proxy) -> bool {
    match &view.source {
        Source::Service(service) => service.export_to.reaches(&proxy.namespace),
        Source::Entry(entry) => entry.export_to.reaches(&proxy.namespace),
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
