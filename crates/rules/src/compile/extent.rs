//! How much of what was compiled last has to be looked at again.

use super::Compiler;
use super::bindings::Bindings;
use ahash::HashSet;
use model::{Difference, Gateway, HttpAction, ObjectKey, Resources, VirtualService};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much of what was compiled last has to be looked at again.
pub(super) enum Extent {
    /// All of it.
    Everything,
    /// Nothing is different but some VirtualServices, or where they lead: ten thousand others, and what was made of them, stay as they are.
    Domains(Changed),
}

/// What other VirtualServices lead to.
pub(super) struct Changed {
    /// Which they are.
    pub(super) services: HashSet<ObjectKey>,
    /// The domains whose rules may be others.
    pub(super) domains: HashSet<Arc<str>>,
}

/// What was compiled last.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) resources: Resources,
    /// That of the resolver.
    pub(super) revision: u64,
}

impl Compiler {
    /// Brings the bindings up to date. `last`: what they, and all else that is kept, were made of. Absent: unknown.
    pub(super) fn rebind(
        &mut self,
        last: Option<&Compiled>,
        resources: &Resources,
        gateways: &[Arc<Gateway>],
    ) -> Extent {
        let is_alone = self.sidecar.is_none() && self.forward_proxy.is_none();
        let last = last.filter(|_| is_alone);
        let changed = last.and_then(|last| {
            let mut changed = changed_services(resources, &last.resources)?;
            if self.are_delegated_to(&changed) {
                return None;
            }
            if last.revision != self.resolver.revision() {
                changed.extend(self.led_elsewhere(resources, &changed)?);
            }
            Some(changed)
        });
        let Some(changed) = changed else {
            self.bindings = Bindings::new(&self.options, resources, gateways);
            return Extent::Everything;
        };
        let domains = self
            .bindings
            .rebind(&changed, &self.options, resources, gateways);
        let services = changed.iter().filter_map(|(before, now)| before.or(*now));
        let services = services.map(|service| ObjectKey::from(&service.meta.reference));
        Extent::Domains(Changed {
            services: services.collect(),
            domains,
        })
    }

    /// Whether others name one of these as a delegate, whatever it is.
    fn are_delegated_to(&self, changed: &[Difference<'_, VirtualService>]) -> bool {
        let services = changed.iter().filter_map(|(before, now)| before.or(*now));
        let keys: HashSet<_> = services
            .map(|service| ObjectKey::from(&service.meta.reference))
            .collect();
        self.parts.values().any(|part| part.delegates_to(&keys))
    }

    /// The other VirtualServices whose destinations are others. `None`: rules of others depend on them.
    fn led_elsewhere<'r>(
        &mut self,
        resources: &'r Resources,
        changed: &[Difference<'_, VirtualService>],
    ) -> Option<Vec<Difference<'r, VirtualService>>> {
        let known = changed.iter().filter_map(|(before, _)| *before);
        let known: HashSet<_> = known.map(Arc::as_ptr).collect();
        let mut others = BTreeSet::new();
        for (key, part) in &self.parts {
            let is_known = known.contains(&Arc::as_ptr(&part.virtual_service));
            if !is_known && !part.leads_where_it_did(&mut self.resolver, &self.options) {
                others.insert(key.virtual_service.clone());
            }
        }
        let others = others.iter();
        let others = others.filter_map(|key| resources.virtual_services.get(key));
        let others: Vec<_> = others
            .map(|service| (Some(service), Some(service)))
            .collect();
        let is_tied = |(service, _): &Difference<'_, _>| service.is_some_and(|one| is_tied(one));
        (!others.iter().any(is_tied)).then_some(others)
    }

    /// What the next compilation may rely on.
    pub(super) fn compiled(&self, resources: &Resources) -> Compiled {
        Compiled {
            resources: resources.clone(),
            revision: self.resolver.revision(),
        }
    }
}

/// The VirtualServices that changed. `None`: more did, or rules of others depend on them.
fn changed_services<'r>(
    now: &'r Resources,
    before: &'r Resources,
) -> Option<Vec<Difference<'r, VirtualService>>> {
    // Services and DestinationRules are known to the resolver, and endpoints are in no table.
    let is_same = now.gateways.are(&before.gateways)
        && now.sidecars.are(&before.sidecars)
        && now.peer_authentications.are(&before.peer_authentications)
        && now.namespaces.are(&before.namespaces);
    if !is_same {
        return None;
    }
    let changed = now.virtual_services.since(&before.virtual_services);
    let is_free = |service: &Option<&Arc<VirtualService>>| !service.is_some_and(|one| is_tied(one));
    let are_free = changed
        .iter()
        .all(|(before, now)| is_free(before) && is_free(now));
    are_free.then_some(changed)
}

/// Whether its rules stand in several objects.
fn is_tied(service: &VirtualService) -> bool {
    let mut actions = service.http.iter().map(|route| &route.action);
    service.is_delegate() || actions.any(|action| matches!(action, HttpAction::Delegate(_)))
}
