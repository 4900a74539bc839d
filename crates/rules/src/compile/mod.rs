//! Resources to a [`Table`], incrementally: what did not change is compiled once.
//!
//! The unit is one VirtualService on one port (a part). Parts make virtual hosts and TLS servers, and these
//! listeners; each of them is kept, by the identity of what it was made of, until that changes. Nothing fails
//! as a whole: what cannot be obeyed is left out and told.

mod answers;
mod balancer_findings;
mod balancing;
mod bindings;
mod clusters;
mod connections;
mod delegates;
mod destination_rules;
mod destinations;
mod diagnostics;
mod extent;
mod findings;
mod forwarding;
mod gateways;
mod matches;
mod merge;
mod mesh;
mod moved;
mod namespaces;
mod operations;
mod outbound;
mod part;
mod policies;
mod policy;
mod policy_levels;
mod pool;
mod resolve;
mod routes;
mod run;
mod secure;
mod services;
mod shadow;
mod sidecar;
mod spelled;
mod termination;
mod upstream_tls;
mod upstream_tls_findings;
mod virtual_hosts;

#[cfg(test)]
mod tests;

pub(crate) use diagnostics::{Help, error, warning};
pub use mesh::{
    CallerOptions, ClientOptions, CompileOptions, ForwardProxyOptions, LocalPortOptions, Mesh,
    NameOptions, Proxy, SidecarOptions,
};
pub use namespaces::{Namespaces, namespaces};
pub(crate) use services::{Registry, ServiceView, Source};

use crate::endpoints::{self, EndpointCompiler, WorkloadIndex};
use crate::inbound::unenforced;
use crate::{
    Cluster, ClusterKey, EndpointAddr, Endpoints, Listener, ListenerKey, NameAnswers, ServicePort,
    Table,
};
use ahash::{HashMap, HashMapExt};
use bindings::Bindings;
use clusters::Clusters;
use diagnostics::distinct;
use extent::Compiled;
use findings::{of_hosts, of_parts};
use model::{ArcMap, Diagnostic, GatewayRef, Hostname, Resources};
use outbound::{ForwardProxyCompiler, Surroundings};
use part::{Layer, Part, PartKey};
use resolve::Resolver;
use run::Run;
use secure::{CompiledServer, ServerKey};
use sidecar::SidecarCompiler;
use spelled::SpelledClusters;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use virtual_hosts::CompiledHost;

/// Compiles generation after generation, and keeps what the next may share with the last.
#[derive(Debug)]
pub struct Compiler {
    options: CompileOptions,
    generation: u64,
    /// What all below was made of. Absent: nothing was, or a compilation has failed.
    last: Option<Compiled>,
    resolver: Resolver,
    clusters: Clusters,
    bindings: Bindings,
    parts: HashMap<PartKey, Arc<Part>>,
    hosts: HashMap<HostKey, CompiledHost>,
    servers: HashMap<ServerKey, CompiledServer>,
    spelled: HashMap<ServerKey, Arc<SpelledClusters>>,
    listeners: HashMap<ListenerKey, Arc<Listener>>,
    workloads: WorkloadIndex,
    endpoints: EndpointCompiler,
    forward_proxy: Option<ForwardProxyCompiler>,
    sidecar: Option<SidecarCompiler>,
    /// Those of all views.
    names: BTreeSet<Hostname>,
    /// The clusters of the last table.
    led_to: ArcMap<ClusterKey, Cluster>,
}

/// The identity of a virtual host between compilations.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct HostKey {
    listener: ListenerKey,
    /// The TLS server whose it is. Absent: the listener's own, in clear.
    server: Option<Arc<str>>,
    domain: Arc<str>,
}

/// What the rules of one VirtualService are compiled in.
struct Scope<'c> {
    options: &'c CompileOptions,
    resources: &'c Resources,
    resolver: &'c mut Resolver,
    clusters: &'c mut Clusters,
    /// Which of the rules.
    layer: Layer,
    /// The listener's port.
    port: u16,
    /// What leads to them.
    via: &'c GatewayRef,
    /// Whose view of the registry it is. Absent: the proxy's own.
    view: Option<&'c Arc<str>>,
}

impl Compiler {
    /// Nothing is compiled yet.
    pub fn new(options: CompileOptions) -> Self {
        Self {
            forward_proxy: ForwardProxyCompiler::new(&options),
            sidecar: SidecarCompiler::new(&options),
            names: BTreeSet::new(),
            led_to: ArcMap::default(),
            options,
            generation: 0,
            last: None,
            resolver: Resolver::default(),
            clusters: Clusters::new(),
            bindings: Bindings::default(),
            parts: HashMap::new(),
            hosts: HashMap::new(),
            servers: HashMap::new(),
            spelled: HashMap::new(),
            listeners: HashMap::new(),
            workloads: WorkloadIndex::default(),
            endpoints: EndpointCompiler::default(),
        }
    }

    /// Whom it compiles for.
    pub fn options(&self) -> &CompileOptions {
        &self.options
    }

    /// The table of `resources`, and what is to be said about them. Never fails as a whole.
    ///
    /// Objects are compared by identity: an unchanged object must be the same `Arc` as before to be recognised.
    pub fn compile(&mut self, resources: &Resources) -> (Table, Vec<Diagnostic>) {
        let last = self.last.take();
        self.resolver
            .update(&self.options.proxy, &self.options.mesh, resources);
        self.generation += 1;
        let mut diagnostics = Vec::new();
        // Gateways are for proxies of their own, whose labels they select: a workload's are not meant.
        let gateways = match self.options.sidecar {
            Some(_) => Vec::new(),
            None => gateways::selected(&self.options.proxy, resources),
        };
        let plan = gateways::listeners(&gateways, &mut diagnostics);
        let extent = self.rebind(last.as_ref(), resources, &gateways);
        let bindings = std::mem::take(&mut self.bindings);
        diagnostics.extend(bindings.diagnostics().cloned());

        let mut run = Run::new(self, resources, &extent);
        let mut listeners: HashMap<_, _> = plan
            .iter()
            .map(|planned| run.listener(planned, &bindings))
            .collect();
        let moved = run.moved();
        let Run {
            mut parts,
            hosts,
            servers,
            spelled,
            findings,
            ..
        } = run;
        diagnostics.extend(self.forward_proxy(resources, &mut parts, &mut listeners));
        diagnostics.extend(self.sidecar(resources, &mut parts, &mut listeners));
        diagnostics.extend(unenforced(&self.options, resources));

        let clients = self.forward_proxy.iter();
        let registries = clients.flat_map(|proxy| proxy.registries());
        let of_registries = std::iter::once(self.resolver.services()).chain(registries.clone());
        diagnostics.extend(of_registries.flat_map(|registry| registry.outranked()));
        diagnostics.extend(self.resolver.unprovided(registries, &self.options.proxy));
        diagnostics.extend(findings);
        diagnostics.extend(of_parts(&parts));
        diagnostics.extend(of_hosts(&hosts));
        match moved {
            Some(moved) => moved.apply(&parts, &mut self.led_to),
            None => {
                let of_parts = parts.values().flat_map(|part| &part.clusters);
                let of_names = spelled.values().flat_map(|names| &names.clusters);
                let of_clients = self.forward_proxy.iter().flat_map(|proxy| proxy.clusters());
                let of_workload = self.sidecar.iter().flat_map(|sidecar| sidecar.clusters());
                let all = of_parts
                    .chain(of_names)
                    .chain(of_clients)
                    .chain(of_workload);
                let all = all.map(|cluster| (cluster.key.clone(), cluster.clone()));
                self.led_to.become_these(all.collect());
            }
        }
        let table = Table {
            generation: self.generation,
            clusters: self.led_to.clone(),
            listeners,
        };
        self.parts = parts;
        self.hosts = hosts;
        self.servers = servers;
        self.spelled = spelled;
        self.bindings = bindings;
        self.listeners = table.listeners.clone();
        self.last = Some(self.compiled(resources));
        self.resolver.forget_unused();
        self.clusters.forget_unused();
        (table, distinct(diagnostics))
    }

    /// Adds the forward proxy, which has its address before any Gateway.
    fn forward_proxy(
        &mut self,
        resources: &Resources,
        parts: &mut HashMap<PartKey, Arc<Part>>,
        listeners: &mut HashMap<ListenerKey, Arc<Listener>>,
    ) -> Vec<Diagnostic> {
        let Some(proxy) = &mut self.forward_proxy else {
            return Vec::new();
        };
        let listener = proxy.compile(Surroundings {
            resources,
            resolver: &mut self.resolver,
            clusters: &mut self.clusters,
            parts,
            parts_before: &self.parts,
        });
        listeners.insert(listener.key, listener);
        proxy.diagnostics().collect()
    }

    /// Adds the listeners of the workload.
    fn sidecar(
        &mut self,
        resources: &Resources,
        parts: &mut HashMap<PartKey, Arc<Part>>,
        listeners: &mut HashMap<ListenerKey, Arc<Listener>>,
    ) -> Vec<Diagnostic> {
        let Some(sidecar) = &mut self.sidecar else {
            return Vec::new();
        };
        let around = Surroundings {
            resources,
            resolver: &mut self.resolver,
            clusters: &mut self.clusters,
            parts,
            parts_before: &self.parts,
        };
        for listener in sidecar.compile(&self.options, around) {
            listeners.entry(listener.key).or_insert(listener);
        }
        sidecar.diagnostics().collect()
    }

    /// The endpoints of all services of `resources`, where names stand for what `answers` say, and what is to be
    /// said about them. Costs what changed, by the identity of objects.
    pub fn endpoints(
        &mut self,
        resources: &Resources,
        answers: &Arc<NameAnswers>,
    ) -> (Endpoints, Vec<Diagnostic>) {
        self.resolver
            .update(&self.options.proxy, &self.options.mesh, resources);
        self.workloads.update(resources);
        let shared = endpoints::Shared {
            answers,
            forbidden: &self.options.forbidden,
            root_namespace: &self.options.mesh.root_namespace,
            workloads: &self.workloads,
            auto_mtls: self.options.auto_mtls,
        };
        let services = self.resolver.services();
        let compiled = self.endpoints.compile(services, resources, shared);
        let (mut endpoints, mut diagnostics) = compiled;
        self.names = self.endpoints.names().clone();
        if let Some(proxy) = &mut self.forward_proxy {
            diagnostics.extend(proxy.add_endpoints(resources, shared, &mut endpoints));
            self.names.extend(proxy.names().cloned());
        }
        if let Some(sidecar) = &self.sidecar {
            sidecar.add_endpoints(&mut endpoints);
            endpoints.headless = Arc::new(headless(self.resolver.services(), &endpoints));
        }
        endpoints.workloads = self.workloads.by_address().clone();
        (endpoints, distinct(diagnostics))
    }

    /// How many services the last [`Self::endpoints`] compiled, rather than keep what it had of them.
    pub fn endpoints_compiled(&self) -> usize {
        self.endpoints.compiled()
    }

    /// The names that endpoints are found by, as of the last [`Self::endpoints`].
    pub fn names(&self) -> &BTreeSet<Hostname> {
        &self.names
    }
}

/// Whose endpoint an address is that clients of a headless Service connect to.
fn headless(services: &Registry, endpoints: &Endpoints) -> HashMap<SocketAddr, ServicePort> {
    let mut all = HashMap::new();
    let of_pods = services
        .iter()
        .filter(|view| matches!(&view.source, Source::Service(service) if service.headless));
    for view in of_pods {
        for port in &view.ports {
            let port = ServicePort {
                host: view.host.clone(),
                port: port.number,
                view: None,
            };
            let addresses = endpoints
                .services
                .get(&port)
                .into_iter()
                .flat_map(|all| all.iter());
            for endpoint in addresses {
                if let EndpointAddr::Tcp(address) = endpoint.address {
                    all.entry(address).or_insert_with(|| port.clone());
                }
            }
        }
    }
    all
}
