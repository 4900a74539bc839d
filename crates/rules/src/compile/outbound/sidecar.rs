//! What of the registry a Sidecar lets its workloads see.

use super::super::services::ServiceView;
use super::super::{Mesh, Proxy};
use model::{
    EgressHost, EgressNamespace, HostPattern, IstioEgressListener, OutboundTrafficPolicy,
    Resources, Sidecar, Timestamp, VirtualService, selects,
};
use std::sync::Arc;

/// What a workload sees: everything, unless a Sidecar says otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits(Option<Arc<Sidecar>>);

impl Limits {
    /// Those of a workload: of the Sidecar that selects it, of its namespace's or of the root namespace's own; of
    /// several the oldest.
    pub(crate) fn of(workload: &Proxy, mesh: &Mesh, resources: &Resources) -> Self {
        let own = resources.sidecars.of_namespace(&workload.namespace);
        let selecting = oldest(own.clone().filter(|sidecar| {
            let selector = sidecar.workload_selector.as_ref();
            selector.is_some_and(|selector| selects(selector, &workload.labels))
        }));
        let is_whole = |sidecar: &&Arc<Sidecar>| sidecar.workload_selector.is_none();
        let of_root = resources.sidecars.of_namespace(&mesh.root_namespace);
        let found = selecting
            .or_else(|| oldest(own.filter(is_whole)))
            .or_else(|| oldest(of_root.filter(is_whole)));
        Self(found.cloned())
    }

    /// Whether both are the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The Sidecar, if there is one.
    pub(crate) fn sidecar(&self) -> Option<&Arc<Sidecar>> {
        self.0.as_ref()
    }

    /// Its policy for what is not in the registry. Absent: the mesh's.
    pub(super) fn policy(&self) -> Option<&OutboundTrafficPolicy> {
        self.0.as_ref()?.outbound_traffic_policy.as_ref()
    }

    /// The hosts of a service that are seen on a port: its own, or narrower ones where only those are named.
    pub(super) fn hosts(&self, service: &ServiceView, port: u16) -> Vec<Arc<str>> {
        let Some(listeners) = self.listeners() else {
            return vec![service.host.clone()];
        };
        let Ok(host) = HostPattern::try_from(&*service.host) else {
            return Vec::new();
        };
        let Some(listener) = listener_of(listeners, port) else {
            return Vec::new();
        };
        let namespace = service.namespace();
        if excluded(listener, namespace, &host) {
            return Vec::new();
        }
        let mut seen: Vec<Arc<str>> = Vec::new();
        for one in including(listener, namespace) {
            let common = one.host.intersection(&host).map(HostPattern::shared);
            seen.extend(common.filter(|host| !seen.contains(host)));
        }
        match seen.contains(&service.host) {
            true => vec![service.host.clone()],
            false => seen,
        }
    }

    /// Whether the rules of a VirtualService are seen: one of its hosts is.
    pub(crate) fn have(&self, rules: &VirtualService, domain_suffix: &str) -> bool {
        let Some(listeners) = self.listeners() else {
            return true;
        };
        let namespace = &rules.meta.reference.namespace;
        let hosts = rules.hosts.iter();
        let mut hosts = hosts.map(|host| host.value.expand(namespace, domain_suffix));
        hosts.any(|host| {
            let mut listeners = listeners.iter();
            listeners.any(|listener| {
                !excluded(listener, namespace, &host)
                    && including(listener, namespace).any(|one| one.host.overlaps(&host))
            })
        })
    }

    /// Absent: nothing is limited.
    fn listeners(&self) -> Option<&[IstioEgressListener]> {
        let listeners = self.0.as_ref()?.egress.as_slice();
        (!listeners.is_empty()).then_some(listeners)
    }
}

fn oldest<'r>(sidecars: impl Iterator<Item = &'r Arc<Sidecar>>) -> Option<&'r Arc<Sidecar>> {
    fn age(sidecar: &Sidecar) -> (Option<Timestamp>, &str) {
        (sidecar.meta.creation_timestamp, sidecar.meta.name())
    }
    sidecars.min_by(|one, other| age(one).cmp(&age(other)))
}

/// The listener of just this port, else the one of all others.
fn listener_of(listeners: &[IstioEgressListener], port: u16) -> Option<&IstioEgressListener> {
    let is_of = |listener: &&IstioEgressListener| {
        listener.port.as_ref().is_some_and(|one| one.number == port)
    };
    let own = listeners.iter().find(is_of);
    own.or_else(|| listeners.iter().find(|listener| listener.port.is_none()))
}

fn including<'l>(
    listener: &'l IstioEgressListener,
    namespace: &str,
) -> impl Iterator<Item = &'l EgressHost> {
    let hosts = listener.hosts.iter();
    hosts.filter(move |one| !one.exclude && is_of(one, namespace))
}

fn excluded(listener: &IstioEgressListener, namespace: &str, host: &HostPattern) -> bool {
    let mut hosts = listener.hosts.iter().filter(|one| one.exclude);
    hosts.any(|one| is_of(one, namespace) && one.host.covers(host))
}

fn is_of(host: &EgressHost, namespace: &str) -> bool {
    match &host.namespace {
        EgressNamespace::Any => true,
        EgressNamespace::None => false,
        EgressNamespace::Named(name) => **name == *namespace,
    }
}
