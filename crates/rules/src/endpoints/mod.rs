//! The endpoints of service ports: from EndpointSlices, Pods, WorkloadEntries and ServiceEntries.
//!
//! Names are not resolved here: what they stand for is handed in, and what is not known yet is asked for. They
//! change far more often than rules, so the table does not contain them. Only services of which something
//! changed are compiled again.

mod alias;
mod changes;
mod compiled;
mod index;
mod kubernetes;
mod locality;
mod names;
mod naming;
mod slices;
mod workloads;

#[cfg(test)]
mod tests;

pub use changes::ENDPOINT_KINDS;
pub(crate) use index::WorkloadIndex;
pub use names::{NameAnswer, NameAnswers};

use crate::compile::{Registry, ServiceView, Source};
use crate::inbound::PeerModes;
use crate::{Endpoint, EndpointAddr, Endpoints, ForbiddenNetworks, ServicePort, Workload};
use ahash::{HashMap, HashMapExt};
use changes::{Changes, Inputs};
use compiled::{Compiled, Finding};
use model::{
    Diagnostic, EndpointSlice, Hostname, Labels, Node, ObjectKey, Pod, Resources, Service,
    SliceEndpoint, WorkloadEntry, selects,
};
use slices::SliceIndex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Compiles endpoints again and again, and keeps those of services of which nothing changed.
#[derive(Debug, Default)]
pub(crate) struct EndpointCompiler {
    /// Whose view of the registry it is. Absent: the proxy's own.
    view: Option<Arc<str>>,
    inputs: Inputs,
    slices: SliceIndex,
    /// That of the registry it was compiled for last. Absent: never, or not to the end.
    revision: Option<u64>,
    services: HashMap<Arc<str>, Compiled>,
    /// What all of them have.
    all: Endpoints,
    names: BTreeSet<Hostname>,
    /// How many services were compiled the last time.
    compiled: usize,
}

/// What all compilers share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shared<'s> {
    /// What names stand for.
    pub(crate) answers: &'s Arc<NameAnswers>,
    /// Addresses that no name may stand for.
    pub(crate) forbidden: &'s ForbiddenNetworks,
    /// The namespace whose objects hold for everybody.
    pub(crate) root_namespace: &'s Arc<str>,
    /// The workloads of the resources.
    pub(crate) workloads: &'s WorkloadIndex,
    /// Whether the mesh's TLS is begun with whoever is in the mesh.
    pub(crate) auto_mtls: bool,
}

impl EndpointCompiler {
    /// For another view than the proxy's own.
    pub(crate) fn of_view(view: Arc<str>) -> Self {
        Self {
            view: Some(view),
            ..Self::default()
        }
    }

    /// The endpoints of the services that a proxy sees. Lists that did not change are the same as before.
    pub(crate) fn compile(
        &mut self,
        services: &Registry,
        resources: &Resources,
        shared: Shared<'_>,
    ) -> (Endpoints, Vec<Diagnostic>) {
        let inputs = Inputs::of(resources, shared.answers);
        let before = std::mem::take(&mut self.inputs);
        let changes = Changes::between(&before, &inputs, shared.root_namespace);
        let mut slices = std::mem::take(&mut self.slices);
        slices.update(&resources.endpoint_slices);
        let workloads = Workloads::new(resources, shared, &slices);
        // Unknown until this is done: what was done half is done again.
        let revision = self.revision.take();
        if revision.is_none() {
            self.services.clear();
        }
        match concerned(&changes, services, revision) {
            Some(hosts) => self.compile_some(&hosts, services, &workloads),
            None => self.compile_all(&changes, services, &workloads),
        }
        let names = self.services.values().flat_map(|service| &service.names);
        self.names = names.cloned().collect();
        let diagnostics = self.services.values().flat_map(|one| &one.diagnostics);
        let diagnostics = diagnostics.cloned().collect();
        self.revision = Some(services.revision());
        self.slices = slices;
        self.inputs = inputs;
        (self.all.clone(), diagnostics)
    }

    /// Looks at all services, for nothing tells which are concerned.
    fn compile_all(
        &mut self,
        changes: &Changes<'_>,
        services: &Registry,
        workloads: &Workloads<'_>,
    ) {
        let mut known = std::mem::take(&mut self.services);
        let mut next = HashMap::with_capacity(known.len());
        let (aliases, others): (Vec<_>, Vec<_>) = services
            .iter()
            .partition(|view| alias::is_alias(view, services));
        self.compiled = 0;
        for view in others {
            let before = known.remove(&view.host);
            let is_same = |before: &Compiled| {
                !before.is_copy
                    && before.source.is(&view.source)
                    && !changes.concern(&before.source, &before.names, workloads)
            };
            let compiled = match before {
                Some(same) if is_same(&same) => same,
                before => {
                    self.compiled += 1;
                    workloads.compile(view).sharing(before.as_ref())
                }
            };
            next.insert(view.host.clone(), compiled);
        }
        // They have what the others have.
        let aliases = aliases.into_iter();
        let aliases =
            aliases.map(|view| (view.host.clone(), alias::compile(view, services, &next)));
        let aliases: Vec<_> = aliases.collect();
        next.extend(aliases);
        self.services = next;
        let before = std::mem::take(&mut self.all.services);
        self.all = Endpoints::default();
        for (host, service) in &self.services {
            place(&mut self.all, self.view.as_ref(), host, service);
        }
        // What stays is shared with what was published.
        let all = std::mem::replace(&mut self.all.services, before);
        self.all.services.become_these(all);
    }

    /// Looks at the services of these hosts.
    fn compile_some(
        &mut self,
        hosts: &BTreeSet<Arc<str>>,
        services: &Registry,
        workloads: &Workloads<'_>,
    ) {
        self.compiled = 0;
        for host in hosts {
            let before = self.services.remove(host);
            let now = services.get(host).map(|view| {
                self.compiled += 1;
                workloads.compile(view).sharing(before.as_ref())
            });
            if let Some(before) = &before {
                displace(
                    &mut self.all,
                    self.view.as_ref(),
                    host,
                    (before, now.as_ref()),
                );
            }
            if let Some(now) = now {
                place(&mut self.all, self.view.as_ref(), host, &now);
                self.services.insert(host.clone(), now);
            }
        }
    }

    /// How many services were compiled the last time.
    pub(crate) fn compiled(&self) -> usize {
        self.compiled
    }

    /// The names that the endpoints compiled last are found by.
    pub(crate) fn names(&self) -> &BTreeSet<Hostname> {
        &self.names
    }
}

/// The hosts of the services that can have other endpoints. `None`: nothing tells which.
fn concerned(
    changes: &Changes<'_>,
    services: &Registry,
    revision: Option<u64>,
) -> Option<BTreeSet<Arc<str>>> {
    let slices = changes.of_slices_alone()?;
    let touched = services.touched_since(revision?)?;
    // Whoever has another name is there twice.
    if services.has_other_names() {
        return None;
    }
    let of_slices = slices.iter();
    let of_slices = of_slices.filter_map(|(namespace, name)| services.of_service(namespace, name));
    let of_slices = of_slices.map(|view| view.host.clone());
    Some(of_slices.chain(touched.iter().cloned()).collect())
}

/// Takes out the ports that a service has not any more.
fn displace(
    all: &mut Endpoints,
    view: Option<&Arc<str>>,
    host: &Arc<str>,
    (before, now): (&Compiled, Option<&Compiled>),
) {
    for port in &before.ports {
        if now.is_some_and(|now| now.port(port.number).is_some()) {
            continue;
        }
        let key = key(view, host, port.number);
        all.unresolved.remove(&key);
        all.members.remove(&key);
        all.services.remove(&key);
    }
}

/// Puts what a service has in the place of what it had.
fn place(all: &mut Endpoints, view: Option<&Arc<str>>, host: &Arc<str>, service: &Compiled) {
    for port in &service.ports {
        let key = key(view, host, port.number);
        match port.unresolved.is_empty() {
            true => drop(all.unresolved.remove(&key)),
            false => drop(all.unresolved.insert(key.clone(), port.unresolved.clone())),
        }
        match &port.members {
            Some(members) => drop(all.members.insert(key.clone(), members.clone())),
            None => drop(all.members.remove(&key)),
        }
        let before = all.services.get(&key);
        if before.is_none_or(|before| !Arc::ptr_eq(before, &port.endpoints)) {
            all.services.insert(key, port.endpoints.clone());
        }
    }
}

fn key(view: Option<&Arc<str>>, host: &Arc<str>, port: u16) -> ServicePort {
    ServicePort {
        view: view.cloned(),
        host: host.clone(),
        port,
    }
}

/// Whether an endpoint is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Always.
    Ready,
    /// It terminates and still serves: used when no other is ready, as Kubernetes does.
    Leaving,
}

/// What may serve.
struct Workloads<'r> {
    resources: &'r Resources,
    shared: Shared<'r>,
    slices: &'r SliceIndex,
    peers: PeerModes<'r>,
    nodes: HashMap<&'r str, &'r Node>,
}

impl<'r> Workloads<'r> {
    fn new(resources: &'r Resources, shared: Shared<'r>, slices: &'r SliceIndex) -> Self {
        let nodes = resources.nodes.values();
        Self {
            resources,
            shared,
            slices,
            peers: PeerModes::new(&resources.peer_authentications, shared.root_namespace),
            nodes: nodes.map(|node| (node.meta.name(), &**node)).collect(),
        }
    }

    fn compile(&self, view: &ServiceView) -> Compiled {
        let mut compiled = Compiled::new(&view.source);
        match &view.source {
            Source::Service(service) => {
                for port in kubernetes::ports(service) {
                    let mut finding = Finding::default();
                    match alias::name_of(view) {
                        Some(_) => self.of_external_name(service, port, &mut finding),
                        None => self.of_service(service, port, &mut finding),
                    }
                    compiled.add(port.port, finding);
                }
            }
            Source::Entry(entry) => {
                for port in &entry.ports {
                    let mut finding = Finding::default();
                    self.of_entry(view, entry, port, &mut finding);
                    compiled.add(port.number, finding);
                }
            }
        }
        compiled
    }

    /// The EndpointSlices of a service. Absent: it has none.
    fn slices_of(&self, service: &Service) -> Option<&'r [Arc<EndpointSlice>]> {
        self.slices.of(service)
    }

    /// The Pod behind an endpoint, which is one of the slice's namespace: the one that it names, else the one that has
    /// its address, as of endpoints that somebody wrote by hand.
    fn pod_of(&self, slice: &EndpointSlice, endpoint: &SliceEndpoint) -> Option<&'r Pod> {
        let key = match &endpoint.pod {
            Some(of) => ObjectKey {
                namespace: of.namespace.clone(),
                name: of.name.clone(),
            },
            None => {
                let address = endpoint.addresses.first()?;
                self.shared.workloads.pod_at(*address)?.clone()
            }
        };
        let pod = self.resources.pods.get(&key)?;
        (*key.namespace == *slice.meta.namespace()).then_some(&**pod)
    }

    /// An endpoint of a workload, of which nothing else is known.
    fn endpoint(&self, address: EndpointAddr, workload: Option<Arc<Workload>>) -> Endpoint {
        Endpoint {
            takes_mesh_tls: workload
                .as_deref()
                .is_some_and(|workload| self.takes_mesh_tls(workload, &address)),
            workload,
            ..Endpoint::at(address)
        }
    }

    fn takes_mesh_tls(&self, workload: &Workload, address: &EndpointAddr) -> bool {
        // A socket has no port that anybody could name.
        let port = match address {
            EndpointAddr::Tcp(address) => address.port(),
            EndpointAddr::Unix(_) => 0,
        };
        let (namespace, labels) = (&workload.namespace, &workload.labels);
        workload.in_mesh && self.peers.accepts_mtls(namespace, labels, port)
    }

    /// The Pods that a selector selects.
    fn selected_pods(
        &self,
        namespace: &Arc<str>,
        selector: &Labels,
    ) -> impl Iterator<Item = &'r Pod> {
        let pods = self.resources.pods.of_namespace(namespace).map(Arc::as_ref);
        pods.filter(move |pod| selects(selector, &pod.meta.labels))
    }

    /// The WorkloadEntries that a selector selects.
    fn selected_entries(
        &self,
        namespace: &Arc<str>,
        selector: &Labels,
    ) -> impl Iterator<Item = &'r WorkloadEntry> {
        let entries = (self.resources.workload_entries.of_namespace(namespace)).map(Arc::as_ref);
        entries.filter(move |entry| selects(selector, &entry.workload.labels))
    }
}

/// How a Pod stands. Absent: it is not used. A hand-written one has an address and no status beside.
fn standing(pod: &Pod, publishes_not_ready: bool) -> Option<Standing> {
    match (pod.ready, pod.terminating) {
        _ if !index::runs(pod) => None,
        _ if publishes_not_ready => Some(Standing::Ready),
        (true, false) => Some(Standing::Ready),
        (true, true) => Some(Standing::Leaving),
        (false, _) => None,
    }
}

/// What runs behind a name of which nothing but these labels is known.
fn unknown(labels: &Labels) -> Option<Arc<Workload>> {
    let workload = || Workload {
        labels: Arc::new(labels.clone()),
        ..Workload::default()
    };
    (!labels.is_empty()).then(|| Arc::new(workload()))
}
