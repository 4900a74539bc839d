//! Resources to a [`Table`], incrementally: what did not change is compiled once.
//!
//! The unit is one VirtualService on one port (a part). Parts make virtual hosts, and these listeners; each of
//! them is kept, by the identity of what it was made of, until that changes. Nothing fails as a whole:
//! what cannot be obeyed is left out and told.

mod answers;
mod bindings;
mod clusters;
mod delegates;
mod destination_rules;
mod destinations;
mod diagnostics;
mod findings;
mod forwarding;
mod gateways;
mod matches;
mod merge;
mod mesh;
mod operations;
mod part;
mod policies;
mod policy;
mod resolve;
mod routes;
mod services;
mod shadow;
mod virtual_hosts;

#[cfg(test)]
mod tests;

pub(crate) use diagnostics::warning;
pub use mesh::{CompileOptions, Mesh, Proxy};
pub(crate) use services::{Registry, Source};

use crate::{
    Endpoints, Listener, ListenerKey, Serves, Table, VirtualHost, VirtualHosts, endpoints,
};
use ahash::{HashMap, HashMapExt};
use bindings::Bindings;
use clusters::Clusters;
use diagnostics::distinct;
use findings::{of_hosts, of_parts};
use gateways::{PlannedListener, PlannedServer, ServerHosts, domain_of};
use model::{Diagnostic, ObjectKey, Resources, VirtualService};
use part::{Part, PartKey, asks_for_gateways};
use resolve::{Resolved, Resolver};
use std::sync::Arc;
use virtual_hosts::{CompiledHost, HostPlans, Indexes};

/// Compiles generation after generation, and keeps what the next may share with the last.
#[derive(Debug)]
pub struct Compiler {
    options: CompileOptions,
    generation: u64,
    resolver: Resolver,
    clusters: Clusters,
    parts: HashMap<PartKey, Arc<Part>>,
    hosts: HashMap<HostKey, CompiledHost>,
    listeners: HashMap<ListenerKey, Arc<Listener>>,
    endpoints: Endpoints,
}

type HostKey = (ListenerKey, Arc<str>);

/// What the rules of one VirtualService are compiled in.
struct Scope<'c> {
    options: &'c CompileOptions,
    resources: &'c Resources,
    resolver: &'c mut Resolver,
    clusters: &'c mut Clusters,
    /// The listener's port.
    port: u16,
    /// The Gateway that leads to them.
    gateway: &'c ObjectKey,
}

impl Scope<'_> {
    fn resolve(&mut self, host: &Arc<str>) -> Arc<Resolved> {
        self.resolver
            .resolve(host, &self.options.proxy, &self.options.mesh)
    }
}

impl Compiler {
    /// Nothing is compiled yet.
    pub fn new(options: CompileOptions) -> Self {
        Self {
            options,
            generation: 0,
            resolver: Resolver::default(),
            clusters: Clusters::new(),
            parts: HashMap::new(),
            hosts: HashMap::new(),
            listeners: HashMap::new(),
            endpoints: Endpoints::default(),
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
        self.resolver
            .update(&self.options.proxy, &self.options.mesh, resources);
        self.generation += 1;
        let mut diagnostics = Vec::new();
        let gateways = gateways::selected(&self.options.proxy, resources);
        let plan = gateways::listeners(&gateways, &mut diagnostics);
        let bindings = bindings::bind(&self.options, resources, &gateways, &mut diagnostics);

        let mut run = Run::new(self, resources);
        let listeners = plan
            .iter()
            .map(|planned| run.listener(planned, &bindings))
            .collect();
        let Run { parts, hosts, .. } = run;

        diagnostics.extend(of_parts(&parts));
        diagnostics.extend(of_hosts(&hosts));
        let clusters = parts.values().flat_map(|part| &part.clusters);
        let table = Table {
            generation: self.generation,
            clusters: clusters
                .map(|cluster| (cluster.key.clone(), cluster.clone()))
                .collect(),
            listeners,
        };
        self.parts = parts;
        self.hosts = hosts;
        self.listeners = table.listeners.clone();
        self.resolver.forget_unused();
        self.clusters.forget_unused();
        (table, distinct(diagnostics))
    }

    /// The endpoints of all services of `resources`, and what is to be said about them.
    pub fn endpoints(&mut self, resources: &Resources) -> (Endpoints, Vec<Diagnostic>) {
        self.resolver
            .update(&self.options.proxy, &self.options.mesh, resources);
        let (endpoints, diagnostics) =
            endpoints::compile(self.resolver.services(), resources, &self.endpoints);
        self.endpoints = endpoints.clone();
        (endpoints, distinct(diagnostics))
    }
}

/// One compilation: what is used of the last one, and what is new.
struct Run<'c> {
    before: &'c mut Compiler,
    resources: &'c Resources,
    parts: HashMap<PartKey, Arc<Part>>,
    hosts: HashMap<HostKey, CompiledHost>,
    indexes: Indexes,
}

impl<'c> Run<'c> {
    fn new(before: &'c mut Compiler, resources: &'c Resources) -> Self {
        Self {
            before,
            resources,
            parts: HashMap::new(),
            hosts: HashMap::new(),
            indexes: Indexes::default(),
        }
    }

    fn listener(
        &mut self,
        planned: &PlannedListener,
        bindings: &Bindings,
    ) -> (ListenerKey, Arc<Listener>) {
        let mut plans = HostPlans::new();
        for server in &planned.servers {
            self.plan_server(server, planned.key.port, bindings, &mut plans);
        }
        let hosts = self.hosts(planned.key, plans);
        let origins: Vec<_> = planned
            .servers
            .iter()
            .map(|server| Arc::new(server.origin()))
            .collect();
        let unchanged =
            |listener: &&Arc<Listener>| listener.origins == origins && same_hosts(listener, &hosts);
        let listener = match self.before.listeners.get(&planned.key).filter(unchanged) {
            Some(listener) => listener.clone(),
            None => Arc::new(Listener {
                key: planned.key,
                serves: Serves::Http(VirtualHosts::new(hosts)),
                origins,
            }),
        };
        (planned.key, listener)
    }

    /// Adds the rules of the VirtualServices of a server's Gateway to the hosts they have in common.
    fn plan_server(
        &mut self,
        server: &PlannedServer,
        port: u16,
        bindings: &Bindings,
        plans: &mut HostPlans,
    ) {
        let gateway = server.gateway();
        let mut served = ServerHosts::default();
        served.add(server.server());
        let redirects = server.server().redirects_to_https();
        let https_redirect = redirects.then(|| Arc::new(server.origin()));
        for service in bindings.of(&gateway) {
            let domains = self.domains(service, &served);
            if domains.is_empty() || service.http.is_empty() {
                continue;
            }
            let part = self.part(service, port, &gateway);
            if part.routes.is_empty() {
                continue;
            }
            for domain in domains {
                let plan = plans.entry(domain).or_default();
                plan.add(&part);
                plan.redirect(https_redirect.as_ref());
            }
        }
        if redirects {
            for host in &server.server().hosts {
                let plan = plans.entry(domain_of(&host.host)).or_default();
                plan.redirect(https_redirect.as_ref());
            }
        }
    }

    fn domains(&self, service: &VirtualService, served: &ServerHosts<'_>) -> Vec<Arc<str>> {
        let namespace = service.meta.namespace();
        let mut domains = Vec::new();
        for host in &service.hosts {
            let host = host
                .value
                .expand(namespace, &self.before.options.mesh.domain_suffix);
            served.each(&host, namespace, &mut |common| {
                domains.push(domain_of(common))
            });
        }
        domains
    }

    fn part(&mut self, service: &Arc<VirtualService>, port: u16, gateway: &ObjectKey) -> Arc<Part> {
        let asks = asks_for_gateways(service, self.resources);
        let key = PartKey {
            virtual_service: ObjectKey::from(&service.meta.reference),
            port,
            gateway: asks.then(|| gateway.clone()),
        };
        if let Some(part) = self.parts.get(&key) {
            return part.clone();
        }
        let mut scope = Scope {
            options: &self.before.options,
            resources: self.resources,
            resolver: &mut self.before.resolver,
            clusters: &mut self.before.clusters,
            port,
            gateway,
        };
        let part = match self.before.parts.get(&key) {
            Some(part) if part.is_current(service, &mut scope) => part.clone(),
            _ => Arc::new(Part::compile(service, &mut scope)),
        };
        self.parts.insert(key, part.clone());
        part
    }

    /// The virtual hosts of a listener by domain, those that did not change as they were.
    fn hosts(&mut self, listener: ListenerKey, plans: HostPlans) -> Vec<Arc<VirtualHost>> {
        let mut virtual_hosts = Vec::with_capacity(plans.len());
        let mut changed = Vec::new();
        for (domain, plan) in plans {
            let key = (listener, domain);
            match self
                .before
                .hosts
                .remove(&key)
                .filter(|host| host.is_current(&plan))
            {
                Some(host) => {
                    self.indexes.keep(host.index());
                    virtual_hosts.push(host.host.clone());
                    self.hosts.insert(key, host);
                }
                None => changed.push((key.1, plan)),
            }
        }
        for (domain, plan) in changed {
            let host = CompiledHost::compile(listener, &domain, plan, &mut self.indexes);
            virtual_hosts.push(host.host.clone());
            self.hosts.insert((listener, domain), host);
        }
        virtual_hosts
    }
}

fn same_hosts(listener: &Listener, hosts: &[Arc<VirtualHost>]) -> bool {
    let Some(held) = listener.virtual_hosts() else {
        return false;
    };
    let same = |host: &Arc<VirtualHost>| {
        held.lookup(&host.domain)
            .is_some_and(|one| Arc::ptr_eq(one, host))
    };
    held.len() == hosts.len() && hosts.iter().all(same)
}
