//! One compilation: listeners, and the virtual hosts of those in clear.

use super::bindings::Bindings;
use super::gateways::{PlannedListener, PlannedServer, ServerHosts, domain_of};
use super::part::{Layer, Part, PartKey};
use super::secure::{CompiledServer, NamedServers, ServerKey};
use super::spelled::SpelledClusters;
use super::virtual_hosts::{CompiledHost, HostPlans, Indexes};
use super::{Compiler, HostKey, Scope};
use crate::{HostMap, Listener, ListenerKey, Serves, TcpRoutes, VirtualHost, VirtualHosts};
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
    indexes: Indexes,
}

/// What a listener is to be made of.
enum Content {
    Http(Vec<Arc<VirtualHost>>),
    Tls(NamedServers),
    Tcp(TcpRoutes),
}

impl<'c> Run<'c> {
    pub(super) fn new(before: &'c mut Compiler, resources: &'c Resources) -> Self {
        Self {
            before,
            resources,
            parts: HashMap::new(),
            hosts: HashMap::new(),
            servers: HashMap::new(),
            spelled: HashMap::new(),
            findings: Vec::new(),
            indexes: Indexes::default(),
        }
    }

    pub(super) fn listener(
        &mut self,
        planned: &PlannedListener,
        bindings: &Bindings,
    ) -> (ListenerKey, Arc<Listener>) {
        let content = self.content(planned, bindings);
        let origins: Vec<_> = planned
            .servers
            .iter()
            .map(|server| Arc::new(server.origin()))
            .collect();
        let unchanged =
            |listener: &&Arc<Listener>| listener.origins == origins && content.is(&listener.serves);
        let before = self.before.listeners.get(&planned.key);
        let listener = match before.filter(unchanged) {
            Some(listener) => listener.clone(),
            None => Arc::new(Listener {
                key: planned.key,
                serves: content.into(),
                origins,
            }),
        };
        (planned.key, listener)
    }

    /// The first server decides what the port speaks.
    fn content(&mut self, planned: &PlannedListener, bindings: &Bindings) -> Content {
        let port = planned.key.port;
        match planned.servers.first() {
            Some(first) if first.server().kind() == ServerKind::Tcp => {
                Content::Tcp(self.tcp_routes(first, port, bindings))
            }
            Some(first) if first.server().kind() != ServerKind::Http => {
                Content::Tls(self.tls_servers(planned, bindings))
            }
            _ => {
                let mut plans = HostPlans::new();
                for server in &planned.servers {
                    self.plan_server(server, port, bindings, &mut plans);
                }
                Content::Http(self.virtual_hosts(planned.key, None, plans))
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
        for service in bindings.of(&via, server.server()) {
            let domains = self.domains(service, &served);
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
                let plan = plans.entry(domain_of(&host.host)).or_default();
                plan.redirect(https_redirect.as_ref());
            }
        }
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

    /// The virtual hosts of a listener, or of one of its TLS servers, by domain; those that did not change as
    /// they were.
    pub(super) fn virtual_hosts(
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
            let host = CompiledHost::compile(listener.port, &key.domain, plan, &mut self.indexes);
            virtual_hosts.push(host.host.clone());
            self.hosts.insert(key, host);
        }
        virtual_hosts
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

impl Content {
    /// Whether a listener serves just this.
    fn is(&self, serves: &Serves) -> bool {
        match (self, serves) {
            (Self::Http(hosts), Serves::Http(held)) => same_hosts(held, hosts),
            (Self::Tls(servers), Serves::Tls(held)) => same_servers(held, servers),
            (Self::Tcp(routes), Serves::Tcp(held)) => routes.is(held),
            _ => false,
        }
    }
}

impl From<Content> for Serves {
    fn from(content: Content) -> Self {
        match content {
            Content::Http(hosts) => Self::Http(VirtualHosts::new(hosts)),
            Content::Tcp(routes) => Self::Tcp(routes),
            Content::Tls(servers) => {
                let mut map = HostMap::default();
                for (name, server) in servers {
                    map.add(&name, server);
                }
                Self::Tls(map)
            }
        }
    }
}

/// Whether `held` consists of just these hosts.
pub(super) fn same_hosts(held: &VirtualHosts, hosts: &[Arc<VirtualHost>]) -> bool {
    let same = |host: &Arc<VirtualHost>| {
        held.lookup(&host.domain)
            .is_some_and(|one| Arc::ptr_eq(one, host))
    };
    held.len() == hosts.len() && hosts.iter().all(same)
}

fn same_servers(held: &HostMap<crate::TlsServer>, servers: &NamedServers) -> bool {
    let mut each = servers.iter();
    held.len() == servers.len()
        && each.all(|(name, server)| {
            held.lookup(name)
                .is_some_and(|one| Arc::ptr_eq(one, server))
        })
}
