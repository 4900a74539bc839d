//! VirtualServices to Gateways: who is bound to what, in which order, and whose binding comes to nothing.

use super::CompileOptions;
use super::delegates::delegates_of;
use super::diagnostics::{Help, warning};
use super::gateways::{ServerHosts, domain_of, named};
use super::part::Layer;
use ahash::{HashMap, HashSet};
use model::{
    At, Diagnostic, Difference, ExportTo, Gateway, GatewayRef, HostPattern, Located, ObjectKey,
    Resources, Server, ServerKind, Timestamp, VirtualService,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The VirtualServices of each of the proxy's Gateways, in the order in which their rules are tried.
#[derive(Debug, Default)]
pub(crate) struct Bindings {
    by_gateway: HashMap<GatewayRef, BoundServices>,
    /// What was noticed of VirtualServices, where anything was.
    told: BTreeMap<ObjectKey, Vec<Diagnostic>>,
    unused_delegates: Vec<Diagnostic>,
}

/// VirtualServices in order, and which of them may have a host in common with a server.
#[derive(Debug, Default)]
struct BoundServices {
    services: Ranked,
    /// Those with an exact host, by it.
    exact: HashMap<Arc<str>, Ranked>,
    /// Those with a wildcard.
    wildcard: Ranked,
}

/// VirtualServices in the order of their ranks.
#[derive(Debug, Default)]
struct Ranked(Vec<Arc<VirtualService>>);

impl Bindings {
    /// Binds all VirtualServices to `gateways`, which select the proxy.
    pub(crate) fn new(
        options: &CompileOptions,
        resources: &Resources,
        gateways: &[Arc<Gateway>],
    ) -> Self {
        if options.sidecar.is_some() {
            // It has no Gateways, and is told of no more than its workload sees: what it does not know may be there.
            return Self::default();
        }
        let own = OwnGateways::new(gateways);
        let mut bindings = Self {
            unused_delegates: unused_delegates(resources),
            ..Self::default()
        };
        let mut by_gateway: HashMap<GatewayRef, Vec<_>> = HashMap::default();
        for service in resources.virtual_services.values() {
            for gateway in bindings.gateways_of(service, &own, options, resources) {
                by_gateway.entry(gateway).or_default().push(service.clone());
            }
        }
        let bound = by_gateway.into_iter();
        bindings.by_gateway = bound
            .map(|(gateway, services)| (gateway, BoundServices::new(services, options)))
            .collect();
        bindings
    }

    /// Binds anew those that changed, while all else is the same. None of them delegates, or is a delegate. Returns the
    /// domains that have other rules for it, or may have.
    pub(crate) fn rebind(
        &mut self,
        changed: &[Difference<'_, VirtualService>],
        options: &CompileOptions,
        resources: &Resources,
        gateways: &[Arc<Gateway>],
    ) -> HashSet<Arc<str>> {
        let own = OwnGateways::new(gateways);
        let mut domains = HashSet::default();
        for (before, now) in changed {
            for service in before.iter().copied() {
                self.told.remove(&ObjectKey::from(&service.meta.reference));
                for (gateway, bound) in &mut self.by_gateway {
                    if bound.remove(service, options) {
                        own.add_domains(gateway, service, options, &mut domains);
                    }
                }
            }
            for service in now.iter().copied() {
                for gateway in self.gateways_of(service, &own, options, resources) {
                    own.add_domains(&gateway, service, options, &mut domains);
                    let bound = self.by_gateway.entry(gateway).or_default();
                    bound.insert(service, options);
                }
            }
        }
        domains
    }

    /// What was noticed while binding.
    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.told.values().flatten().chain(&self.unused_delegates)
    }

    /// The Gateways that a VirtualService is bound to. Notes what is to be said about that.
    fn gateways_of(
        &mut self,
        service: &VirtualService,
        own: &OwnGateways<'_>,
        options: &CompileOptions,
        resources: &Resources,
    ) -> Vec<GatewayRef> {
        if service.is_delegate() || options.sidecar.is_some() {
            return Vec::new();
        }
        let mut told = Vec::new();
        let mut bound = own.named_by(service, resources, &mut told);
        if !bound.is_empty() && !service.export_to.reaches(&options.proxy.namespace) {
            told.push(not_exported(service, options));
            bound.clear();
        }
        if !bound.is_empty() {
            own.check_hosts(service, &bound, options, &mut told);
        }
        if !told.is_empty() {
            let key = ObjectKey::from(&service.meta.reference);
            self.told.insert(key, told);
        }
        bound
    }

    /// Those of a Gateway that may have a host in common with a server of it.
    pub(crate) fn of(
        &self,
        gateway: &GatewayRef,
        server: &Server,
        options: &CompileOptions,
    ) -> Vec<&Arc<VirtualService>> {
        let Some(bound) = self.by_gateway.get(gateway) else {
            return Vec::new();
        };
        if server.hosts.iter().any(|host| host.host.is_wildcard()) {
            return bound.services.0.iter().collect();
        }
        let hosts = server.hosts.iter().map(|host| domain_of(&host.host));
        bound.of_domains(hosts, options)
    }

    /// Those of a Gateway that may have rules for these domains.
    pub(crate) fn of_domains(
        &self,
        gateway: &GatewayRef,
        domains: &HashSet<Arc<str>>,
        options: &CompileOptions,
    ) -> Vec<&Arc<VirtualService>> {
        let bound = self.by_gateway.get(gateway);
        bound.map_or_else(Vec::new, |bound| {
            bound.of_domains(domains.iter().cloned(), options)
        })
    }
}

impl BoundServices {
    fn new(services: Vec<Arc<VirtualService>>, options: &CompileOptions) -> Self {
        let mut bound = Self {
            services: Ranked(services),
            ..Self::default()
        };
        bound.services.sort(options);
        let Ranked(services) = &bound.services;
        for service in services {
            for host in exact_hosts(service, options) {
                bound.exact.entry(host).or_default().0.push(service.clone());
            }
            if has_wildcard(service) {
                bound.wildcard.0.push(service.clone());
            }
        }
        bound
    }

    fn insert(&mut self, service: &Arc<VirtualService>, options: &CompileOptions) {
        self.services.insert(service, options);
        for host in exact_hosts(service, options) {
            self.exact.entry(host).or_default().insert(service, options);
        }
        if has_wildcard(service) {
            self.wildcard.insert(service, options);
        }
    }

    /// Whether it was there.
    fn remove(&mut self, service: &VirtualService, options: &CompileOptions) -> bool {
        if !self.services.remove(service, options) {
            return false;
        }
        for host in exact_hosts(service, options) {
            if let Some(ranked) = self.exact.get_mut(&host) {
                ranked.remove(service, options);
                if ranked.0.is_empty() {
                    self.exact.remove(&host);
                }
            }
        }
        self.wildcard.remove(service, options);
        true
    }

    fn of_domains(
        &self,
        domains: impl Iterator<Item = Arc<str>>,
        options: &CompileOptions,
    ) -> Vec<&Arc<VirtualService>> {
        let exact = domains.filter_map(|domain| self.exact.get(&domain));
        let of_all = exact.chain([&self.wildcard]);
        let mut services: Vec<_> = of_all.flat_map(|ranked| &ranked.0).collect();
        services.sort_by(|one, other| rank(one, options).cmp(&rank(other, options)));
        services.dedup_by(|one, other| Arc::ptr_eq(one, other));
        services
    }
}

/// Once each. IPv6 addresses are spelt as domains.
fn exact_hosts(service: &VirtualService, options: &CompileOptions) -> BTreeSet<Arc<str>> {
    let namespace = service.meta.namespace();
    let hosts = service.hosts.iter().map(|host| &host.value);
    let exact = hosts.filter(|host| !host.is_wildcard());
    exact
        .map(|host| domain_of(&host.expand(namespace, &options.mesh.domain_suffix)))
        .collect()
}

fn has_wildcard(service: &VirtualService) -> bool {
    service.hosts.iter().any(|host| host.value.is_wildcard())
}

impl Ranked {
    fn sort(&mut self, options: &CompileOptions) {
        self.0
            .sort_by(|one, other| rank(one, options).cmp(&rank(other, options)));
    }

    fn place(&self, service: &VirtualService, options: &CompileOptions) -> Result<usize, usize> {
        let wanted = rank(service, options);
        self.0
            .binary_search_by(|one| rank(one, options).cmp(&wanted))
    }

    fn insert(&mut self, service: &Arc<VirtualService>, options: &CompileOptions) {
        match self.place(service, options) {
            Ok(place) => self.0[place] = service.clone(),
            Err(place) => self.0.insert(place, service.clone()),
        }
    }

    /// Whether it was there.
    fn remove(&mut self, service: &VirtualService, options: &CompileOptions) -> bool {
        let place = self.place(service, options);
        place.map(|place| self.0.remove(place)).is_ok()
    }
}

/// Private ones of the proxy's namespace first, then those exported to it by name, then public ones; the oldest first.
pub(super) fn rank<'v>(
    service: &'v VirtualService,
    options: &CompileOptions,
) -> (u8, Option<Timestamp>, &'v str, &'v str) {
    let meta = &service.meta;
    let group = match &service.export_to {
        ExportTo::Namespaces(_) if *meta.namespace() == *options.proxy.namespace => 0,
        ExportTo::Namespaces(_) => 1,
        _ => 2,
    };
    (
        group,
        meta.creation_timestamp,
        meta.name(),
        meta.namespace(),
    )
}

/// The Gateways that select the proxy, with the hosts that they serve.
struct OwnGateways<'g> {
    hosts: HashMap<GatewayRef, LayerHosts<'g>>,
}

/// The hosts of a Gateway, by which rules they are for.
#[derive(Default)]
struct LayerHosts<'g> {
    http: ServerHosts<'g>,
    tls: ServerHosts<'g>,
    tcp: ServerHosts<'g>,
}

impl<'g> LayerHosts<'g> {
    fn new(gateway: &'g Gateway) -> Self {
        let mut hosts = Self::default();
        for server in &gateway.servers {
            match server.kind() {
                ServerKind::Http | ServerKind::Https => hosts.http.add(server),
                ServerKind::TlsPassthrough => hosts.tls.add(server),
                ServerKind::TlsTerminated | ServerKind::Tcp => hosts.tcp.add(server),
            }
        }
        hosts
    }

    fn of(&self, layer: Layer) -> &ServerHosts<'g> {
        match layer {
            Layer::Http => &self.http,
            Layer::Tls => &self.tls,
            Layer::Tcp => &self.tcp,
        }
    }
}

impl<'g> OwnGateways<'g> {
    /// Adds the domains for which a VirtualService has rules on the servers of a Gateway.
    fn add_domains(
        &self,
        gateway: &GatewayRef,
        service: &VirtualService,
        options: &CompileOptions,
        domains: &mut HashSet<Arc<str>>,
    ) {
        let Some(served) = self.hosts.get(gateway) else {
            return;
        };
        let namespace = service.meta.namespace();
        for host in &service.hosts {
            let host = host.value.expand(namespace, &options.mesh.domain_suffix);
            served.http.each(&host, namespace, &mut |common| {
                domains.insert(domain_of(common));
            });
        }
    }

    fn new(gateways: &'g [Arc<Gateway>]) -> Self {
        let keyed = gateways
            .iter()
            .map(|gateway| (named(gateway), LayerHosts::new(gateway)));
        Self {
            hosts: keyed.collect(),
        }
    }

    /// Those that a VirtualService names. One that does not exist at all is told.
    fn named_by(
        &self,
        service: &VirtualService,
        resources: &Resources,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<GatewayRef> {
        let mut named = Vec::new();
        for (index, gateway) in service.gateways.iter().enumerate() {
            if self.hosts.contains_key(&gateway.value) {
                if !named.contains(&gateway.value) {
                    named.push(gateway.value.clone());
                }
                continue;
            }
            let GatewayRef::Gateway { namespace, name } = &gateway.value else {
                continue;
            };
            let key = ObjectKey {
                namespace: namespace.clone(),
                name: name.clone(),
            };
            if !resources.gateways.contains_key(&key) {
                let path = format!("spec.gateways[{index}]");
                let message = format!("Gateway {namespace}/{name} does not exist");
                let diagnostic =
                    warning(&service.meta, "unknown_gateway", path, gateway.at, message);
                diagnostics.push(match namesake(name, resources) {
                    Some(other) => diagnostic.help(format!(
                        "there is one in another namespace: write `{other}`"
                    )),
                    None => diagnostic,
                });
            }
        }
        named
    }

    /// Tells hosts that the Gateways do not serve for the kinds of rules that a VirtualService has, and names
    /// in its `tls` rules that none lets through.
    fn check_hosts(
        &self,
        service: &VirtualService,
        bound: &[GatewayRef],
        options: &CompileOptions,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let bound = Bound {
            service,
            names: bound,
            gateways: bound.iter().filter_map(|key| self.hosts.get(key)).collect(),
        };
        let layers = layers_of(service);
        let namespace = service.meta.namespace();
        for (index, host) in service.hosts.iter().enumerate() {
            let pattern = host.value.expand(namespace, &options.mesh.domain_suffix);
            let served = |hosts: &ServerHosts<'_>| hosts.serve(&pattern, namespace);
            if !bound.hosts(&layers).any(served) {
                let path = format!("spec.hosts[{index}]");
                diagnostics.push(bound.unserved(&layers, (&pattern, host.at), path));
            }
        }
        for (path, sni) in sni_hosts(service) {
            let served = |hosts: &ServerHosts<'_>| hosts.cover(&sni.value, namespace);
            let overlaps = |hosts: &ServerHosts<'_>| hosts.serve(&sni.value, namespace);
            // What is not served at all was told of the VirtualService's own host.
            if bound.hosts(&[Layer::Tls]).any(overlaps) && !bound.hosts(&[Layer::Tls]).any(served) {
                diagnostics.push(bound.unserved(&[Layer::Tls], (&sni.value, sni.at), path));
            }
        }
    }
}

/// A VirtualService with the Gateways that it is bound to.
struct Bound<'b> {
    service: &'b VirtualService,
    names: &'b [GatewayRef],
    gateways: Vec<&'b LayerHosts<'b>>,
}

impl<'b> Bound<'b> {
    fn hosts(&self, layers: &[Layer]) -> impl Iterator<Item = &'b ServerHosts<'b>> {
        let all = self
            .gateways
            .iter()
            .flat_map(|of| layers.iter().map(|layer| of.of(*layer)));
        all.filter(|hosts| !hosts.is_empty())
    }

    fn unserved(
        &self,
        layers: &[Layer],
        (host, at): (&HostPattern, At),
        path: String,
    ) -> Diagnostic {
        let names: Vec<_> = self.names.iter().map(ToString::to_string).collect();
        let message = format!(
            "no server of Gateway {} serves host {:?}",
            names.join(" or "),
            host.as_str()
        );
        let diagnostic = warning(&self.service.meta, "host_not_on_gateway", path, at, message);
        let listed = self.hosts(layers).flat_map(ServerHosts::first);
        let listed: Vec<_> = listed.map(ToString::to_string).collect();
        if listed.is_empty() {
            return diagnostic.help(wanted_servers(layers));
        }
        diagnostic.help(format!("hosts served there: {}", listed.join(", ")))
    }
}

/// The kinds of rules that a VirtualService has.
fn layers_of(service: &VirtualService) -> Vec<Layer> {
    let others = !service.tls.is_empty() || !service.tcp.is_empty();
    [
        (Layer::Http, !service.http.is_empty() || !others),
        (Layer::Tls, !service.tls.is_empty()),
        (Layer::Tcp, !service.tcp.is_empty()),
    ]
    .into_iter()
    .filter_map(|(layer, there)| there.then_some(layer))
    .collect()
}

fn wanted_servers(layers: &[Layer]) -> String {
    let wanted = layers.iter().map(|layer| match layer {
        Layer::Http => "`http` rules need a server of protocol HTTP, or of HTTPS that ends TLS",
        Layer::Tls => "`tls` rules need a server with TLS of mode PASSTHROUGH",
        Layer::Tcp => "`tcp` rules need a server of protocol TCP, or of TLS that ends TLS",
    });
    wanted.collect::<Vec<_>>().join("; ")
}

/// The names in `tls` rules, with their paths.
fn sni_hosts(service: &VirtualService) -> impl Iterator<Item = (String, &Located<HostPattern>)> {
    let rules = service.tls.iter().enumerate();
    let matches = rules.flat_map(|(rule, of)| {
        let matches = of.matches.iter().enumerate();
        matches.map(move |(index, one)| (format!("spec.tls[{rule}].match[{index}]"), one))
    });
    matches.flat_map(|(path, one)| {
        let names = one.sni_hosts.iter().enumerate();
        names.map(move |(index, sni)| (format!("{path}.sniHosts[{index}]"), sni))
    })
}

/// A Gateway of this name in another namespace.
fn namesake(name: &str, resources: &Resources) -> Option<String> {
    let key = resources.gateways.keys().find(|key| *key.name == *name)?;
    Some(format!("{}/{}", key.namespace, key.name))
}

fn not_exported(service: &VirtualService, options: &CompileOptions) -> Diagnostic {
    let message = format!(
        "takes no effect: it is not exported to namespace {:?}, where its gateway runs",
        &*options.proxy.namespace
    );
    warning(
        &service.meta,
        "not_exported",
        "spec.exportTo",
        At::default(),
        message,
    )
}

/// VirtualServices without hosts that no other delegates to.
fn unused_delegates(resources: &Resources) -> Vec<Diagnostic> {
    let mut delegates = resources
        .virtual_services
        .values()
        .filter(|service| service.is_delegate())
        .peekable();
    if delegates.peek().is_none() {
        return Vec::new();
    }
    let roots = resources.virtual_services.values();
    let used: HashSet<ObjectKey> = roots
        .flat_map(|root| delegates_of(root, resources))
        .map(|(key, _)| key)
        .collect();
    let unused =
        delegates.filter(|service| !used.contains(&ObjectKey::from(&service.meta.reference)));
    unused
        .map(|service| {
            let message = "takes no effect: it has no hosts, and no VirtualService delegates to it";
            warning(
                &service.meta,
                "unused_delegate",
                "spec",
                At::default(),
                message,
            )
        })
        .collect()
}
