//! One compilation of a view.

use super::super::clusters::Clusters;
use super::super::part::{Layer, Part, PartKey};
use super::super::resolve::Resolver;
use super::super::run::part_of;
use super::super::services::ServiceView;
use super::super::virtual_hosts::{CompiledHost, HostPlan, Indexes};
use super::super::{CompileOptions, Scope};
use super::mesh_rules::{MeshRules, RuledHost};
use super::names::virtual_addresses;
use super::service::{Plain, aliases, networks, origin_of, spelled};
use super::sidecar::Limits;
use crate::{
    Cluster, HostMap, OutboundPort, OutboundProtocol, OutboundService, TcpRoute, TcpRoutes,
    VirtualAddresses, VirtualHost,
};
use ahash::{HashMap, HashSet};
use model::{Diagnostic, GatewayRef, HostPattern, Origin, ResourceRef, Resources, VirtualService};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The port on which hosts are served that only rules know.
///
/// Source: Istio, `http_proxy`.
const PORT_OF_LITERALS: u16 = 80;

/// A host of a port.
type HostKey = (u16, Arc<str>);

/// What of one compilation the next may use again.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The rules that are in use.
    pub(super) parts: HashMap<PartKey, Arc<Part>>,
    ruled: HashMap<HostKey, CompiledHost>,
    plain: HashMap<HostKey, Arc<Plain>>,
}

impl Kept {
    /// The clusters of services without rules.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.plain.values().filter_map(|plain| plain.cluster())
    }
}

/// What a view is compiled of.
pub(super) struct Inputs<'b> {
    pub(super) options: &'b CompileOptions,
    pub(super) resources: &'b Resources,
    /// Absent: it is the proxy's own view.
    pub(super) view: Option<&'b Arc<str>>,
    pub(super) limits: &'b Limits,
    pub(super) rules: &'b MeshRules,
    pub(super) resolver: &'b mut Resolver,
    pub(super) clusters: &'b mut Clusters,
    /// The parts of this compilation, and of the last.
    pub(super) parts: &'b mut HashMap<PartKey, Arc<Part>>,
    pub(super) parts_before: &'b HashMap<PartKey, Arc<Part>>,
}

/// One compilation of a view.
pub(super) struct Build<'b> {
    pub(super) of: Inputs<'b>,
    before: Kept,
    kept: Kept,
    indexes: Indexes,
    ports: BTreeMap<u16, OutboundPort>,
    /// Hosts of rules that some service has.
    attached: HashSet<Arc<str>>,
    pub(super) virtual_addresses: VirtualAddresses,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// A host on a port that is seen, and who provides it.
struct Site<'s> {
    host: &'s Arc<str>,
    service: &'s ServiceView,
    port: u16,
    protocol: OutboundProtocol,
    origin: &'s Arc<Origin>,
    rules: Option<Arc<VirtualService>>,
}

impl Site<'_> {
    /// Whether there are rules that need a name to be found.
    fn has_rules_by_name(&self) -> bool {
        let rules = self.rules.as_ref();
        self.protocol == OutboundProtocol::Tls && rules.is_some_and(|rules| !rules.tls.is_empty())
    }
}

/// What was added for a host on a port.
struct Added {
    port: u16,
    virtual_host: Option<Arc<VirtualHost>>,
    service: Option<Arc<OutboundService>>,
    /// For who comes by an address. Names in TLS are asked before.
    at_address: Option<Arc<OutboundService>>,
}

impl<'b> Build<'b> {
    /// Nothing yet, with what there was `before`.
    pub(super) fn new(of: Inputs<'b>, before: Kept) -> Self {
        Self {
            of,
            before,
            kept: Kept::default(),
            indexes: Indexes::default(),
            ports: BTreeMap::new(),
            attached: HashSet::default(),
            virtual_addresses: VirtualAddresses::default(),
            diagnostics: Vec::new(),
        }
    }

    /// Adds all services that are seen. Returns who provides those that are not.
    pub(super) fn services(&mut self) -> HostMap<ResourceRef> {
        let registry = self.of.resolver.services();
        self.virtual_addresses =
            virtual_addresses(registry, self.of.options, &mut self.diagnostics);
        let mut hidden = HostMap::default();
        for (host, provider) in registry.all_hidden() {
            hidden.add(&spelled(host), Arc::new(provider.clone()));
        }
        let mut services: Vec<_> = registry.iter().cloned().collect();
        services.sort_by(|one, other| one.host.cmp(&other.host));
        let mut with_aliases = Vec::new();
        for service in &services {
            let added = self.service(service);
            if added.is_empty() && !service.ports.is_empty() {
                let provider = service.source.reference();
                hidden.add(&spelled(&service.host), Arc::new(provider.clone()));
            }
            with_aliases.push((service, added));
        }
        // A service's own host comes before other names of others.
        for (service, added) in with_aliases {
            self.aliases(service, added);
        }
        hidden
    }

    fn service(&mut self, service: &ServiceView) -> Vec<Added> {
        let origin = Arc::new(origin_of(service));
        let mut all = Vec::new();
        for port in &service.ports {
            for host in self.of.limits.hosts(service, port.number) {
                let site = Site {
                    host: &host,
                    service,
                    port: port.number,
                    protocol: port.protocol.into(),
                    origin: &origin,
                    rules: self.rules_of(&host),
                };
                all.push(self.host(&site));
            }
        }
        all
    }

    fn rules_of(&mut self, host: &str) -> Option<Arc<VirtualService>> {
        let ruled = self.of.rules.of(host)?;
        self.attached.insert(ruled.host.shared());
        Some(ruled.rules.clone())
    }

    fn host(&mut self, site: &Site<'_>) -> Added {
        let is_http = matches!(
            site.protocol,
            OutboundProtocol::Http | OutboundProtocol::Unspecified
        );
        let virtual_host = is_http.then(|| self.virtual_host(site));
        let mut service = None;
        for (host, routes) in self.connections(site) {
            service = Some(self.add(site, &host, routes));
        }
        let at_address = match site.has_rules_by_name() {
            true => Some(Arc::new(self.plain_service(site))),
            false => service.clone(),
        };
        if let Some(one) = &virtual_host {
            let port = self.ports.entry(site.port).or_default();
            port.virtual_hosts.add(&spelled(site.host), one.clone());
        }
        Added {
            port: site.port,
            virtual_host,
            service,
            at_address,
        }
    }

    /// The service as no rule has it.
    fn plain_service(&mut self, site: &Site<'_>) -> OutboundService {
        OutboundService {
            host: site.host.clone(),
            protocol: site.protocol,
            routes: TcpRoutes(vec![self.plain(site).route()]),
            origin: site.origin.clone(),
        }
    }

    fn add(&mut self, site: &Site<'_>, host: &Arc<str>, routes: TcpRoutes) -> Arc<OutboundService> {
        let service = Arc::new(OutboundService {
            host: host.clone(),
            protocol: site.protocol,
            routes,
            origin: site.origin.clone(),
        });
        let port = self.ports.entry(site.port).or_default();
        port.services.add(&spelled(host), service.clone());
        service
    }

    /// The other names and the addresses of a service.
    fn aliases(&mut self, service: &ServiceView, added: Vec<Added>) {
        let namespace = &self.of.options.proxy.namespace;
        let names = aliases(service, namespace);
        let mut networks = networks(service);
        networks.extend(self.virtual_addresses.networks(&service.host));
        for one in added {
            let port = self.ports.entry(one.port).or_default();
            for name in &names {
                if let Some(host) = &one.virtual_host {
                    port.virtual_hosts.add(name, host.clone());
                }
                if let Some(service) = &one.service {
                    port.services.add(name, service.clone());
                }
            }
            for network in &networks {
                if let Some(host) = &one.virtual_host {
                    port.virtual_hosts_at.add(*network, host.clone());
                }
                if let Some(service) = &one.at_address {
                    port.addresses.add(*network, service.clone());
                }
            }
        }
    }

    fn virtual_host(&mut self, site: &Site<'_>) -> Arc<VirtualHost> {
        if let Some(rules) = site.rules.as_ref().filter(|rules| !rules.http.is_empty()) {
            let part = self.part(rules, Layer::Http, site.port);
            if !part.routes.is_empty() {
                return self.ruled(site.host, site.port, part);
            }
        }
        self.plain(site).virtual_host()
    }

    /// Where connections go, by name.
    fn connections(&mut self, site: &Site<'_>) -> Vec<(Arc<str>, TcpRoutes)> {
        let host = site.host.clone();
        let found = match site.protocol {
            OutboundProtocol::Http => return vec![(host, TcpRoutes::default())],
            OutboundProtocol::Tls => self.tls_routes(site),
            OutboundProtocol::Tcp | OutboundProtocol::Unspecified => self.tcp_routes(site),
        };
        match found.is_empty() {
            false => found,
            true => vec![(host, TcpRoutes(vec![self.plain(site).route()]))],
        }
    }

    /// Those of rules for names that the service has.
    fn tls_routes(&mut self, site: &Site<'_>) -> Vec<(Arc<str>, TcpRoutes)> {
        let rules = site.rules.as_ref().filter(|rules| !rules.tls.is_empty());
        let (Some(rules), Ok(host)) = (rules, HostPattern::try_from(&**site.host)) else {
            return Vec::new();
        };
        let part = self.part(rules, Layer::Tls, site.port);
        let mut by_name: BTreeMap<Arc<str>, Vec<Arc<TcpRoute>>> = BTreeMap::new();
        for one in &part.connections {
            let common = one.sni.as_ref().and_then(|sni| sni.intersection(&host));
            let Some(name) = common else {
                continue;
            };
            let routes = by_name.entry(name.shared()).or_default();
            if routes.last().is_none_or(|last| !last.takes_all()) {
                routes.push(one.route.clone());
            }
        }
        let routes = by_name.into_iter();
        routes
            .map(|(name, routes)| (name, TcpRoutes(routes)))
            .collect()
    }

    fn tcp_routes(&mut self, site: &Site<'_>) -> Vec<(Arc<str>, TcpRoutes)> {
        let Some(rules) = site.rules.as_ref().filter(|rules| !rules.tcp.is_empty()) else {
            return Vec::new();
        };
        let part = self.part(rules, Layer::Tcp, site.port);
        let routes: Vec<_> = part
            .connections
            .iter()
            .map(|one| one.route.clone())
            .collect();
        match routes.is_empty() {
            true => Vec::new(),
            false => vec![(site.host.clone(), TcpRoutes(routes))],
        }
    }

    /// Adds hosts that no service has and rules are for.
    ///
    /// As in Istio they are served on port 80; other than there, also on ports where a service has them under a
    /// wildcard, so that rules for one of its hosts hold wherever the service is.
    pub(super) fn literal_hosts(&mut self) {
        let rules = self.of.rules;
        for ruled in rules.hosts() {
            let host = ruled.host.shared();
            let is_of_service = self.of.resolver.services().get(&host).is_some();
            if !is_of_service && !self.attached.contains(&host) {
                self.literal_host(ruled, &host);
            }
        }
    }

    fn literal_host(&mut self, ruled: &RuledHost, host: &Arc<str>) {
        let covering = self.ports.iter().filter_map(|(number, port)| {
            let service = port.services.lookup(host)?;
            Some((*number, service.protocol, service.origin.clone()))
        });
        let covering: Vec<_> = covering.collect();
        if !covering.iter().any(|(port, ..)| *port == PORT_OF_LITERALS) {
            let meta = &ruled.rules.meta;
            let origin = Arc::new(meta.origin(ruled.path.clone(), ruled.at));
            self.literal(
                ruled,
                host,
                (PORT_OF_LITERALS, OutboundProtocol::Http, origin),
            );
        }
        for one in covering {
            self.literal(ruled, host, one);
        }
    }

    fn literal(
        &mut self,
        ruled: &RuledHost,
        host: &Arc<str>,
        (port, protocol, origin): (u16, OutboundProtocol, Arc<Origin>),
    ) {
        let layer = match protocol {
            OutboundProtocol::Http | OutboundProtocol::Unspecified => Layer::Http,
            OutboundProtocol::Tls => Layer::Tls,
            OutboundProtocol::Tcp => Layer::Tcp,
        };
        let rules = &ruled.rules;
        let has_none = match layer {
            Layer::Http => rules.http.is_empty(),
            Layer::Tls => rules.tls.is_empty(),
            Layer::Tcp => rules.tcp.is_empty(),
        };
        if has_none {
            return;
        }
        let part = self.part(rules, layer, port);
        if part.is_empty() {
            return;
        }
        let virtual_host = (layer == Layer::Http).then(|| self.ruled(host, port, part.clone()));
        let is_for =
            |sni: &Option<HostPattern>| sni.as_ref().is_none_or(|sni| sni.covers(&ruled.host));
        let routes = part.connections.iter().filter(|one| is_for(&one.sni));
        let service = OutboundService {
            host: host.clone(),
            protocol,
            routes: TcpRoutes(routes.map(|one| one.route.clone()).collect()),
            origin,
        };
        let place = self.ports.entry(port).or_default();
        if let Some(one) = virtual_host {
            place.virtual_hosts.add(host, one);
        }
        if layer == Layer::Http || !service.routes.0.is_empty() {
            place.services.add(host, Arc::new(service));
        }
    }

    fn part(&mut self, rules: &Arc<VirtualService>, layer: Layer, port: u16) -> Arc<Part> {
        let of = &mut self.of;
        let mut scope = Scope {
            options: of.options,
            resources: of.resources,
            resolver: of.resolver,
            clusters: of.clusters,
            layer,
            port,
            via: &GatewayRef::Mesh,
            view: of.view,
        };
        let key = PartKey::of(rules, &scope);
        let part = part_of(rules, &key, &mut scope, of.parts, of.parts_before);
        self.kept.parts.insert(key, part.clone());
        part
    }

    fn ruled(&mut self, host: &Arc<str>, port: u16, part: Arc<Part>) -> Arc<VirtualHost> {
        let key = (port, host.clone());
        let plan = HostPlan {
            parts: vec![part],
            https_redirect: None,
        };
        let before = self.before.ruled.remove(&key);
        let compiled = match before.filter(|before| before.is_current(&plan)) {
            Some(before) => {
                self.indexes.keep(before.index());
                before
            }
            None => CompiledHost::compile(port, host, plan, &mut self.indexes),
        };
        let virtual_host = compiled.host.clone();
        self.kept.ruled.insert(key, compiled);
        virtual_host
    }

    /// The service itself, where no rules say otherwise.
    fn plain(&mut self, site: &Site<'_>) -> Arc<Plain> {
        let key = (site.port, site.host.clone());
        if let Some(known) = self.kept.plain.get(&key) {
            return known.clone();
        }
        let of = &mut self.of;
        let (proxy, mesh) = (&of.options.proxy, &of.options.mesh);
        let resolved = of.resolver.resolve(&site.service.host, proxy, mesh);
        let before = self.before.plain.remove(&key);
        let plain = match before.filter(|before| before.is_of(&resolved)) {
            Some(before) => before,
            None => Arc::new(Plain::new(
                &key,
                resolved,
                of.view,
                of.clusters,
                of.options,
                site.origin,
            )),
        };
        self.kept.plain.insert(key, plain.clone());
        plain
    }

    /// What was built, and what of it the next may use.
    pub(super) fn finish(self) -> (HashMap<u16, Arc<OutboundPort>>, Kept, Vec<Diagnostic>) {
        let ports = self.ports.into_iter();
        let ports = ports.map(|(number, port)| (number, Arc::new(port)));
        (ports.collect(), self.kept, self.diagnostics)
    }
}
