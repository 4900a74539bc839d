//! VirtualServices to Gateways: who is bound to what, in which order, and whose binding comes to nothing.

use super::CompileOptions;
use super::delegates::delegates_of;
use super::diagnostics::{Help, warning};
use super::gateways::ServerHosts;
use ahash::{HashMap, HashMapExt, HashSet};
use model::{
    Diagnostic, ExportTo, Gateway, GatewayRef, ObjectKey, Resources, Server, ServerKind, Timestamp,
    VirtualService,
};
use std::sync::Arc;

/// The VirtualServices of each of the proxy's Gateways, in the order in which their rules are tried.
#[derive(Default)]
pub(crate) struct Bindings {
    by_gateway: HashMap<ObjectKey, Vec<Arc<VirtualService>>>,
}

impl Bindings {
    /// Those of one Gateway.
    pub(crate) fn of(&self, gateway: &ObjectKey) -> &[Arc<VirtualService>] {
        self.by_gateway.get(gateway).map_or(&[], Vec::as_slice)
    }
}

/// Binds the VirtualServices to `gateways`, which select the proxy.
pub(crate) fn bind(
    options: &CompileOptions,
    resources: &Resources,
    gateways: &[Arc<Gateway>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Bindings {
    let own = OwnGateways::new(gateways);
    let mut bindings = Bindings::default();
    for service in resources
        .virtual_services
        .values()
        .filter(|service| !service.is_delegate())
    {
        let bound = own.named_by(service, resources, diagnostics);
        if bound.is_empty() {
            continue;
        }
        if !service.export_to.reaches(&options.proxy.namespace) {
            diagnostics.push(not_exported(service, options));
            continue;
        }
        own.check_hosts(service, &bound, options, diagnostics);
        for gateway in bound {
            bindings
                .by_gateway
                .entry(gateway)
                .or_default()
                .push(service.clone());
        }
    }
    for services in bindings.by_gateway.values_mut() {
        services.sort_by(|one, other| rank(one, options).cmp(&rank(other, options)));
    }
    diagnostics.extend(unused_delegates(resources));
    bindings
}

/// Private ones of the proxy's namespace first, then those exported to it by name, then public ones; the oldest first.
fn rank<'v>(
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

/// The Gateways that select the proxy, with the hosts on which they serve HTTP, also inside TLS.
struct OwnGateways<'g> {
    hosts: HashMap<ObjectKey, ServerHosts<'g>>,
}

impl<'g> OwnGateways<'g> {
    fn new(gateways: &'g [Arc<Gateway>]) -> Self {
        let mut hosts = HashMap::with_capacity(gateways.len());
        for gateway in gateways {
            let mut of_gateway = ServerHosts::default();
            let http =
                |server: &&Server| matches!(server.kind(), ServerKind::Http | ServerKind::Https);
            gateway
                .servers
                .iter()
                .filter(http)
                .for_each(|server| of_gateway.add(server));
            hosts.insert(ObjectKey::from(&gateway.meta.reference), of_gateway);
        }
        Self { hosts }
    }

    /// Those that a VirtualService names. One that does not exist at all is told.
    fn named_by(
        &self,
        service: &VirtualService,
        resources: &Resources,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<ObjectKey> {
        let mut named = Vec::new();
        for (index, gateway) in service.gateways.iter().enumerate() {
            let GatewayRef::Gateway { namespace, name } = &gateway.value else {
                continue;
            };
            let key = ObjectKey {
                namespace: namespace.clone(),
                name: name.clone(),
            };
            if self.hosts.contains_key(&key) {
                if !named.contains(&key) {
                    named.push(key);
                }
            } else if !resources.gateways.contains_key(&key) {
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

    /// Tells hosts that the Gateways do not serve, of a VirtualService for HTTP.
    fn check_hosts(
        &self,
        service: &VirtualService,
        bound: &[ObjectKey],
        options: &CompileOptions,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if !service.tls.is_empty() || !service.tcp.is_empty() {
            return;
        }
        let namespace = service.meta.namespace();
        for (index, host) in service.hosts.iter().enumerate() {
            let pattern = host.value.expand(namespace, &options.mesh.domain_suffix);
            let gateways = || bound.iter().filter_map(|gateway| self.hosts.get(gateway));
            if gateways().any(|hosts| hosts.serve(&pattern, namespace)) {
                continue;
            }
            let names: Vec<_> = bound
                .iter()
                .map(|key| format!("{}/{}", key.namespace, key.name))
                .collect();
            let message = format!(
                "no server of Gateway {} serves host {:?}",
                names.join(" or "),
                pattern.as_str()
            );
            let path = format!("spec.hosts[{index}]");
            let diagnostic = warning(&service.meta, "host_not_on_gateway", path, host.at, message);
            let listed: Vec<_> = gateways()
                .flat_map(ServerHosts::first)
                .map(ToString::to_string)
                .collect();
            diagnostics.push(diagnostic.help(format!("hosts served there: {}", listed.join(", "))));
        }
    }
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
        model::At::default(),
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
                model::At::default(),
                message,
            )
        })
        .collect()
}
