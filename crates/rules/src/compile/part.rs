//! The unit of incremental compilation: one VirtualService on one port.

use super::Scope;
use super::delegates::{delegates_of, flatten};
use super::resolve::Resolved;
use super::shadow::Shadows;
use crate::{Cluster, Route};
use model::{Diagnostic, HttpAction, ObjectKey, Resources, VirtualService};
use std::sync::Arc;

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
    /// The listener's port.
    pub(crate) port: u16,
    /// The Gateway, when a match asks for Gateways.
    pub(crate) gateway: Option<ObjectKey>,
}

impl Part {
    /// Compiles the rules of `virtual_service` for the port and Gateway of `scope`.
    pub(super) fn compile(virtual_service: &Arc<VirtualService>, scope: &mut Scope<'_>) -> Self {
        let resources = scope.resources;
        let delegates = delegates_of(virtual_service, resources);
        let mut part = Self {
            virtual_service: virtual_service.clone(),
            delegates: delegates
                .map(|(key, found)| (key, found.cloned()))
                .collect(),
            hosts: Vec::new(),
            clusters: Vec::new(),
            routes: Vec::new(),
            diagnostics: Vec::new(),
            shadowed: Vec::new(),
        };
        let flat = flatten(virtual_service, resources, &mut part);
        let mut shadows = Shadows::default();
        for route in &flat {
            scope.add_routes(route, &mut shadows, &mut part);
        }
        part
    }

    /// Whether it was made of what `scope` has now.
    pub(super) fn is_current(
        &self,
        virtual_service: &Arc<VirtualService>,
        scope: &mut Scope<'_>,
    ) -> bool {
        Arc::ptr_eq(&self.virtual_service, virtual_service)
            && self.delegates_are_current(scope.resources)
            && self
                .hosts
                .iter()
                .all(|host| Arc::ptr_eq(host, &scope.resolve(&host.host)))
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
pub(crate) fn asks_for_gateways(virtual_service: &VirtualService, resources: &Resources) -> bool {
    let asks = |of: &VirtualService| {
        of.http
            .iter()
            .flat_map(|route| &route.matches)
            .any(|one| !one.gateways.is_empty())
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
