//! The unit of incremental compilation: the rules of one kind of one VirtualService on one port.

use super::delegates::{delegates_of, flatten};
use super::resolve::{Resolved, Resolver};
use super::shadow::Shadows;
use super::{CompileOptions, Scope};
use crate::{Cluster, Route, TcpRoute};
use ahash::HashSet;
use model::{
    At, Diagnostic, GatewayRef, HostPattern, HttpAction, Located, ObjectKey, Resources,
    VirtualService,
};
use std::sync::Arc;

/// Which of the rules of a VirtualService.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Layer {
    /// `http`
    Http,
    /// `tls`: connections whose TLS goes through.
    Tls,
    /// `tcp`: all other connections.
    Tcp,
}

/// A rule for connections.
#[derive(Debug)]
pub(crate) struct ConnectionRoute {
    /// The name that a client asks for. Absent: whatever it asks for.
    pub(crate) sni: Option<HostPattern>,
    /// The rule.
    pub(crate) route: Arc<TcpRoute>,
    /// Where the name or the match stands: `spec.tls[0].match[1].sniHosts[2]`.
    pub(crate) path: String,
    /// Its place in the file.
    pub(crate) at: At,
}

/// The routes of one VirtualService on one port, and what they were made of.
#[derive(Debug)]
pub(crate) struct Part {
    /// Whose routes they are.
    pub(crate) virtual_service: Arc<VirtualService>,
    delegates: Vec<(ObjectKey, Option<Arc<VirtualService>>)>,
    hosts: Vec<Arc<Resolved>>,
    /// The clusters that they lead to.
    pub(crate) clusters: Vec<Arc<Cluster>>,
    /// In the order in which they are tried.
    pub(crate) routes: Vec<Arc<Route>>,
    /// Those of `tls` or `tcp`, in the order in which they are tried.
    pub(crate) connections: Vec<ConnectionRoute>,
    /// What was noticed.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Rules that are never reached on this port; worth telling if they are on no other either.
    pub(crate) shadowed: Vec<Diagnostic>,
}

/// The identity of a [`Part`] between compilations.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct PartKey {
    /// The VirtualService.
    pub(crate) virtual_service: ObjectKey,
    /// Which of its rules.
    pub(crate) layer: Layer,
    /// The listener's port.
    pub(crate) port: u16,
    /// What leads there, when a match asks for it.
    pub(crate) via: Option<GatewayRef>,
}

impl PartKey {
    /// Of the rules of a VirtualService in `scope`.
    pub(super) fn of(virtual_service: &VirtualService, scope: &Scope<'_>) -> Self {
        let asks = asks_for_gateways(virtual_service, scope.layer, scope.resources);
        Self {
            virtual_service: ObjectKey::from(&virtual_service.meta.reference),
            layer: scope.layer,
            port: scope.port,
            via: asks.then(|| scope.via.clone()),
        }
    }
}

impl Part {
    /// Compiles the rules of `virtual_service` for the port and Gateway of `scope`.
    pub(super) fn compile(virtual_service: &Arc<VirtualService>, scope: &mut Scope<'_>) -> Self {
        let mut part = Self {
            virtual_service: virtual_service.clone(),
            delegates: Vec::new(),
            hosts: Vec::new(),
            clusters: Vec::new(),
            routes: Vec::new(),
            connections: Vec::new(),
            diagnostics: Vec::new(),
            shadowed: Vec::new(),
        };
        match scope.layer {
            Layer::Http => part.add_http(virtual_service, scope),
            Layer::Tls => scope.add_tls_rules(virtual_service, &mut part),
            Layer::Tcp => scope.add_tcp_rules(virtual_service, &mut part),
        }
        part
    }

    fn add_http(&mut self, virtual_service: &VirtualService, scope: &mut Scope<'_>) {
        let resources = scope.resources;
        self.delegates = delegates_of(virtual_service, resources)
            .map(|(key, found)| (key, found.cloned()))
            .collect();
        let flat = flatten(virtual_service, resources, self);
        let mut shadows = Shadows::default();
        for route in &flat {
            scope.add_routes(route, &mut shadows, self);
        }
    }

    /// Whether none of its rules applies.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.connections.is_empty()
    }

    /// Whether there may be something to say about it.
    pub(crate) fn is_noteworthy(&self) -> bool {
        self.is_empty() || !self.diagnostics.is_empty() || !self.shadowed.is_empty()
    }

    /// Whether it was made of what `scope` has now.
    pub(super) fn is_current(
        &self,
        virtual_service: &Arc<VirtualService>,
        scope: &mut Scope<'_>,
    ) -> bool {
        Arc::ptr_eq(&self.virtual_service, virtual_service)
            && self.delegates_are_current(scope.resources)
            && self.leads_where_it_did(scope.resolver, scope.options)
    }

    /// Whether what it leads to is what it was.
    pub(super) fn leads_where_it_did(
        &self,
        resolver: &mut Resolver,
        options: &CompileOptions,
    ) -> bool {
        self.hosts.iter().all(|host| {
            let now = resolver.resolve(&host.host, &options.proxy, &options.mesh);
            Arc::ptr_eq(host, &now)
        })
    }

    /// Whether it names one of these as a delegate.
    pub(super) fn delegates_to(&self, others: &HashSet<ObjectKey>) -> bool {
        self.delegates.iter().any(|(key, _)| others.contains(key))
    }

    fn delegates_are_current(&self, resources: &Resources) -> bool {
        self.delegates.iter().all(|(key, before)| {
            match (before, resources.virtual_services.get(key)) {
                (None, None) => true,
                (Some(before), Some(now)) => Arc::ptr_eq(before, now),
                _ => false,
            }
        })
    }

    /// Notes that it depends on what is known of a host.
    pub(super) fn use_host(&mut self, resolved: &Arc<Resolved>) {
        if !self.hosts.iter().any(|known| Arc::ptr_eq(known, resolved)) {
            self.hosts.push(resolved.clone());
        }
    }

    /// Notes that it leads to a cluster.
    pub(super) fn use_cluster(&mut self, cluster: &Arc<Cluster>) {
        if !self
            .clusters
            .iter()
            .any(|known| Arc::ptr_eq(known, cluster))
        {
            self.clusters.push(cluster.clone());
        }
    }
}

/// Whether the routes of a VirtualService depend on the Gateway, and not on the port alone.
fn asks_for_gateways(
    virtual_service: &VirtualService,
    layer: Layer,
    resources: &Resources,
) -> bool {
    match layer {
        Layer::Http => http_asks(virtual_service, resources),
        Layer::Tls => any_named(
            (virtual_service.tls.iter())
                .flat_map(|rule| &rule.matches)
                .map(|one| &one.gateways),
        ),
        Layer::Tcp => any_named(
            (virtual_service.tcp.iter())
                .flat_map(|rule| &rule.matches)
                .map(|one| &one.gateways),
        ),
    }
}

fn any_named<'m>(mut gateways: impl Iterator<Item = &'m Vec<Located<GatewayRef>>>) -> bool {
    gateways.any(|gateways| !gateways.is_empty())
}

fn http_asks(virtual_service: &VirtualService, resources: &Resources) -> bool {
    let asks = |of: &VirtualService| {
        any_named(
            (of.http.iter())
                .flat_map(|route| &route.matches)
                .map(|one| &one.gateways),
        )
    };
    let delegates = virtual_service
        .http
        .iter()
        .any(|route| matches!(route.action, HttpAction::Delegate(_)));
    asks(virtual_service)
        || delegates
            && delegates_of(virtual_service, resources)
                .any(|(_, found)| found.is_some_and(|found| asks(found)))
}
