//! Whose objects a proxy has to know, so that nobody has to tell it of all others.

use super::delegates::delegates_of;
use super::outbound::{Limits, is_of_mesh};
use super::{CompileOptions, Proxy};
use model::{
    Destination, EgressNamespace, HttpAction, Resources, Sidecar, VirtualService, is_dns_label,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Namespaces whose services, and rules for them, a proxy has to know.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Namespaces {
    /// All.
    #[default]
    All,
    /// These. Its own and the root namespace are to be known in any case, whether they are among them or not.
    Named(BTreeSet<Arc<str>>),
}

/// Those that a proxy has to know to be compiled for, as far as `resources` say.
///
/// A gateway has to know all. A sidecar has to know those that the Sidecar of its workload names in `egress`, and those
/// to which rules lead that it sees: delegates, and services by their Kubernetes names. That Sidecar has to be among
/// the resources, and so have those rules: who follows what this says asks again when he has.
pub fn namespaces(options: &CompileOptions, resources: &Resources) -> Namespaces {
    if options.sidecar.is_none() {
        return Namespaces::All;
    }
    let mut found = BTreeSet::new();
    for workload in workloads(options) {
        let limits = Limits::of(&workload, &options.mesh, resources);
        let Some(named) = limits.sidecar().and_then(|sidecar| named_by(sidecar)) else {
            return Namespaces::All;
        };
        found.extend(named);
        found.extend(Rules::of(&workload, &limits, options, resources).lead_to());
    }
    Namespaces::Named(found)
}

/// The workload of a sidecar, and those that others are taken for.
fn workloads(options: &CompileOptions) -> Vec<Proxy> {
    let forward = options.forward_proxy.as_ref();
    let told_apart = forward.into_iter().flat_map(|proxy| &proxy.clients);
    let callers = told_apart.map(|client| &client.caller);
    let callers = callers.chain(forward.and_then(|proxy| proxy.others.as_ref()));
    let others = callers.map(|caller| Proxy {
        namespace: caller.namespace.clone(),
        labels: caller.labels.clone(),
        ..options.proxy.clone()
    });
    std::iter::once(options.proxy.clone())
        .chain(others)
        .collect()
}

/// What a Sidecar's `egress` names. Absent: all.
fn named_by(sidecar: &Sidecar) -> Option<BTreeSet<Arc<str>>> {
    if sidecar.egress.is_empty() {
        return None;
    }
    let mut named = BTreeSet::new();
    let hosts = sidecar.egress.iter().flat_map(|listener| &listener.hosts);
    for host in hosts.filter(|host| !host.exclude) {
        match &host.namespace {
            EgressNamespace::Any => return None,
            EgressNamespace::None => {}
            EgressNamespace::Named(name) => {
                named.insert(name.clone());
            }
        }
    }
    Some(named)
}

/// The rules of `mesh` that a workload sees.
struct Rules<'r> {
    seen: Vec<&'r Arc<VirtualService>>,
    sidecar: Option<&'r Sidecar>,
    options: &'r CompileOptions,
    resources: &'r Resources,
}

impl<'r> Rules<'r> {
    fn of(
        workload: &Proxy,
        limits: &'r Limits,
        options: &'r CompileOptions,
        resources: &'r Resources,
    ) -> Self {
        let seen = resources.virtual_services.values().filter(|rules| {
            is_of_mesh(rules)
                && rules.export_to.reaches(&workload.namespace)
                && limits.have(rules, &options.mesh.domain_suffix)
        });
        Self {
            seen: seen.collect(),
            sidecar: limits.sidecar().map(AsRef::as_ref),
            options,
            resources,
        }
    }

    /// The namespaces of what they lead to.
    fn lead_to(&self) -> BTreeSet<Arc<str>> {
        let mut found = BTreeSet::new();
        for rules in &self.seen {
            self.add_destinations(rules, &mut found);
            for (key, delegate) in delegates_of(rules, self.resources) {
                found.insert(key.namespace);
                if let Some(delegate) = delegate {
                    self.add_destinations(delegate, &mut found);
                }
            }
        }
        let unknown = self.sidecar.and_then(|sidecar| {
            let proxy = sidecar
                .outbound_traffic_policy
                .as_ref()?
                .egress_proxy
                .as_ref()?;
            self.namespace_of(proxy, sidecar.meta.namespace())
        });
        found.extend(unknown);
        found
    }

    fn add_destinations(&self, rules: &VirtualService, to: &mut BTreeSet<Arc<str>>) {
        let owner = rules.meta.namespace();
        to.extend(destinations(rules).filter_map(|one| self.namespace_of(one, owner)));
    }

    /// The namespace of a Kubernetes service. Other hosts do not tell whose they are.
    fn namespace_of(&self, destination: &Destination, owner: &str) -> Option<Arc<str>> {
        let suffix = &self.options.mesh.domain_suffix;
        let host = destination.host.expand(owner, suffix);
        let of_service = host.as_str().strip_suffix(&**suffix)?;
        let (_, namespace) = of_service.strip_suffix(".svc.")?.rsplit_once('.')?;
        is_dns_label(namespace).then(|| namespace.into())
    }
}

/// All of a VirtualService, mirrors included.
fn destinations(rules: &VirtualService) -> impl Iterator<Item = &Destination> {
    let of_requests = rules.http.iter().flat_map(|route| {
        let to: &[_] = match &route.action {
            HttpAction::Route(to) => to,
            _ => &[],
        };
        let mirrors = route.mirrors.iter().map(|mirror| &mirror.destination);
        to.iter().map(|one| &one.destination).chain(mirrors)
    });
    let of_tls = rules.tls.iter().flat_map(|route| &route.route);
    let of_tcp = rules.tcp.iter().flat_map(|route| &route.route);
    of_requests.chain(of_tls.chain(of_tcp).map(|one| &one.destination))
}
