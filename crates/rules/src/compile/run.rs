//! One compilation: listeners, and the virtual hosts of those in clear.

use super::bindings::Bindings;
use super::extent::{Changed, Extent};
use super::gateways::{PlannedListener, PlannedServer, ServerHosts, domain_of};
use super::moved::Moved;
use super::part::{Layer, Part, PartKey};
use super::secure::{CompiledServer, NamedServers, ServerKey};
use super::spelled::SpelledClusters;
use super::virtual_hosts::{CompiledHost, HostPlan, HostPlans, Indexes};
use super::{Compiler, HostKey, Scope};
use crate::{HostMap, Listener, ListenerKey, Serves, TlsServer, VirtualHost, VirtualHosts};
use ahash::{HashMap, HashMapExt};
use model::{Diagnostic, GatewayRef, Resources, ServerKind, VirtualService};
use std::sync::Arc;

/// One compilation: what is used of the last one, and what is new.
pub(super) struct Run<'c> {
    pub(super) before: &'c mut Compiler,
    pub(super) resources: &'c Resources,
    pub(super) parts: HashMap<PartKey, Arc<Part>>,
    pub(super) hosts: HashMap<HostKey, CompiledHost>,
    pub(super) servers: HashMap<ServerKey, CompiledServer>,
    pub(super) spelled: HashMap<ServerKey, Arc<SpelledClusters>>,
    /// What was noticed of listeners as a whole.
    pub(super) findings: Vec<Diagnostic>,
    /// Where it is not about everything, all that was compiled before is here already, but for what is to be again.
    changed: Option<&'c Changed>,
    indexes: Indexes,
}

impl<'c> Run<'c> {
    pub(super) fn new(
        before: &'c mut Compiler,
        resources: &'c Resources,
        extent: &'c Extent,
    ) -> Self {
        let (mut parts, mut hosts, mut changed) = (HashMap::new(), HashMap::new(), None);
        if let Extent::Domains(of) = extent {
            parts = std::mem::take(&mut before.parts);
            let of_changed = parts.extract_if(|key, _| of.services.contains(&key.virtual_service));
            before.parts = of_changed.collect();
            hosts = std::mem::take(&mut before.hosts);
            changed = Some(of);
        }
        Self {
            before,
            resources,
            changed,
            parts,
            hosts,
            servers: HashMap::new(),
            spelled: HashMap::new(),
            findings: Vec::new(),
            indexes: Indexes::default(),
        }
    }

    /// Where what changed leads, and where it led. `None`: that is not all that may lead elsewhere.
    pub(super) fn moved(&self) -> Option<Moved> {
        let changed = self.changed.filter(|_| self.spelled.is_empty())?;
        let now = self.parts.iter();
        let now = now.filter(|(key, _)| changed.services.contains(&key.virtual_service));
        let now = now.map(|(_, part)| part);
        Some(Moved::of(self.before.parts.values(), now))
    }

    pub(super) fn listener(
        &mut self,
        planned: &PlannedListener,
        bindings: &Bindings,
    ) -> (ListenerKey, Arc<Listener>) {
        let origins: Vec<_> = planned
            .servers
            .iter()
            .map(|server| Arc::new(server.origin()))
            .collect();
        let before = self.before.listeners.get(&planned.key).cloned();
        let before = before.filter(|listener| listener.origins == origins);
        let held = before.as_ref().map(|listener| &listener.serves);
        let listener = match (self.content(planned, bindings, held), before) {
            (None, Some(before)) => before,
            (serves, _) => Arc::new(Listener {
                key: planned.key,
                serves: serves.unwrap_or_else(|| Serves::Http(VirtualHosts::default())),
                origins,
            }),
        };
        (planned.key, listener)
    }

    /// The first server decides what the port speaks. `None`: what it has.
    fn content(
        &mut self,
        planned: &PlannedListener,
        bindings: &Bindings,
        held: Option<&Serves>,
    ) -> Option<Serves> {
        let port = planned.key.port;
        match planned.servers.first() {
            Some(first) if first.server().kind() == ServerKind::Tcp => {
                let routes = self.tcp_routes(first, port, bindings);
                let is_same = matches!(held, Some(Serves::Tcp(held)) if routes.is(held));
                (!is_same).then_some(Serves::Tcp(routes))
            }
            Some(first) if first.server().kind() != ServerKind::Http => {
                let servers = self.tls_servers(planned, bindings);
                let is_same =
                    matches!(held, Some(Serves::Tls(held)) if same_servers(held, &servers));
                (!is_same).then(|| Serves::Tls(named(servers)))
            }
            _ => {
                let mut plans = HostPlans::new();
                for server in &planned.servers {
                    self.plan_server(server, port, bindings, &mut plans);
                }
                let held = match held {
                    Some(Serves::Http(held)) => Some(held),
                    _ => None,
                };
                let hosts = self.virtual_hosts(planned.key, None, plans, held);
                hosts.map(Serves::Http)
            }
        }
    }

    /// Adds the rules of the VirtualServices of a server's Gateway to the hosts they have in common.
    pub(super) fn plan_server(
        &mut self,
        server: &PlannedServer,
        port: u16,
        bindings: &Bindings,
        plans: &mut HostPlans,
    ) {
        let via = server.via();
        let mut served = ServerHosts::default();
        served.add(server.server());
        let redirects = server.server().redirects_to_https();
        let https_redirect = redirects.then(|| Arc::new(server.origin()));
        let options = &self.before.options;
        let services = match self.changed {
            None => bindings.of(&via, server.server(), options),
            Some(changed) => bindings.of_domains(&via, &changed.domains, options),
        };
        for service in services {
            let mut domains = self.domains(service, &served);
            domains.retain(|domain| self.is_looked_at(domain));
            if domains.is_empty() || service.http.is_empty() {
                continue;
            }
            let part = self.part(service, Layer::Http, port, &via);
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
                let domain = domain_of(&host.host);
                if self.is_looked_at(&domain) {
                    let plan = plans.entry(domain).or_default();
                    plan.redirect(https_redirect.as_ref());
                }
            }
        }
    }

    fn is_looked_at(&self, domain: &Arc<str>) -> bool {
        self.changed
            .is_none_or(|changed| changed.domains.contains(domain))
    }

    /// The hosts that a VirtualService and a server have in common.
    pub(super) fn domains(
        &self,
        service: &VirtualService,
        served: &ServerHosts<'_>,
    ) -> Vec<Arc<str>> {
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

    /// The rules of one kind of a VirtualService on a port.
    pub(super) fn part(
        &mut self,
        service: &Arc<VirtualService>,
        layer: Layer,
        port: u16,
        via: &GatewayRef,
    ) -> Arc<Part> {
        let mut scope = Scope {
            options: &self.before.options,
            resources: self.resources,
            resolver: &mut self.before.resolver,
            clusters: &mut self.before.clusters,
            layer,
            port,
            via,
            view: None,
        };
        let key = PartKey::of(service, &scope);
        part_of(
            service,
            &key,
            &mut scope,
            &mut self.parts,
            &self.before.parts,
        )
    }

    /// The virtual hosts of a listener, or of one of its TLS servers; those that did not change as they were. `None`: all
    /// are those `held`.
    pub(super) fn virtual_hosts(
        &mut self,
        listener: ListenerKey,
        server: Option<&Arc<str>>,
        plans: HostPlans,
        held: Option<&VirtualHosts>,
    ) -> Option<VirtualHosts> {
        match (self.changed, held) {
            (Some(changed), Some(held)) => {
                self.changed_hosts(listener, server, plans, changed, held)
            }
            _ => {
                let hosts = self.all_hosts(listener, server, plans);
                let is_same = held.is_some_and(|held| same_hosts(held, &hosts));
                (!is_same).then(|| VirtualHosts::new(hosts))
            }
        }
    }

    fn all_hosts(
        &mut self,
        listener: ListenerKey,
        server: Option<&Arc<str>>,
        plans: HostPlans,
    ) -> Vec<Arc<VirtualHost>> {
        let mut virtual_hosts = Vec::with_capacity(plans.len());
        let mut changed = Vec::new();
        for (domain, plan) in plans {
            let key = HostKey {
                listener,
                server: server.cloned(),
                domain,
            };
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
                None => changed.push((key, plan)),
            }
        }
        for (key, plan) in changed {
            virtual_hosts.push(self.host(key, plan));
        }
        virtual_hosts
    }

    fn host(&mut self, key: HostKey, plan: HostPlan) -> Arc<VirtualHost> {
        let port = key.listener.port;
        let compiled = CompiledHost::compile(port, &key.domain, plan, &mut self.indexes);
        let host = compiled.host.clone();
        self.hosts.insert(key, compiled);
        host
    }

    /// Those that are held, with others for the domains that changed.
    fn changed_hosts(
        &mut self,
        listener: ListenerKey,
        server: Option<&Arc<str>>,
        mut plans: HostPlans,
        changed: &Changed,
        held: &VirtualHosts,
    ) -> Option<VirtualHosts> {
        let mut hosts = None;
        for domain in &changed.domains {
            let key = HostKey {
                listener,
                server: server.cloned(),
                domain: domain.clone(),
            };
            let (before, plan) = (self.hosts.remove(&key), plans.remove(domain));
            match (before, plan) {
                (None, None) => {}
                (Some(before), Some(plan)) if before.is_current(&plan) => {
                    self.hosts.insert(key, before);
                }
                (_, plan) => {
                    let hosts = hosts.get_or_insert_with(|| held.clone());
                    hosts.remove(domain);
                    if let Some(plan) = plan {
                        hosts.add(domain, self.host(key, plan));
                    }
                }
            }
        }
        hosts
    }
}

/// The rules of one kind of a VirtualService: those of this compilation, else those of the last if they are current.
pub(super) fn part_of(
    service: &Arc<VirtualService>,
    key: &PartKey,
    scope: &mut Scope<'_>,
    now: &mut HashMap<PartKey, Arc<Part>>,
    before: &HashMap<PartKey, Arc<Part>>,
) -> Arc<Part> {
    if let Some(part) = now.get(key) {
        return part.clone();
    }
    let part = match before.get(key) {
        Some(part) if part.is_current(service, scope) => part.clone(),
        _ => Arc::new(Part::compile(service, scope)),
    };
    now.insert(key.clone(), part.clone());
    part
}

fn named(servers: NamedServers) -> HostMap<TlsServer> {
    let mut map = HostMap::default();
    for (name, server) in servers {
        map.add(&name, server);
    }
    map
}

/// Whether `held` consists of just these hosts.
fn same_hosts(held: &VirtualHosts, hosts: &[Arc<VirtualHost>]) -> bool {
    let same = |host: &Arc<VirtualHost>| {
        held.lookup(&host.domain)
            .is_some_and(|one| Arc::ptr_eq(one, host))
    };
    held.len() == hosts.len() && hosts.iter().all(same)
}

fn same_servers(held: &HostMap<TlsServer>, servers: &NamedServers) -> bool {
    let mut each = servers.iter();
    held.len() == servers.len()
        && each.all(|(name, server)| {
            held.lookup(name)
                .is_some_and(|one| Arc::ptr_eq(one, server))
        })
}
