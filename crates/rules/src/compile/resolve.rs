//! What a destination's host stands for: the service, and the DestinationRule that holds for it.

use super::destination_rules::{MergedRule, RuleIndex};
use super::diagnostics::{Help, warning};
use super::services::{Registry, ServiceView};
use super::{Mesh, Proxy};
use ahash::{HashMap, HashMapExt};
use model::{DestinationRule, Diagnostic, ResourceRef, Resources};
use std::sync::Arc;

/// What is known of a host. The same `Arc` as long as nothing about it changes.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Fully qualified, lower case.
    pub(crate) host: Arc<str>,
    /// The service. Absent: nobody provides it for this proxy.
    pub(crate) service: Option<Arc<ServiceView>>,
    /// Who provides it, but not for this proxy.
    pub(crate) hidden: Option<ResourceRef>,
    /// The DestinationRule that holds.
    pub(crate) rule: Option<MergedRule>,
}

impl Resolved {
    fn is(&self, other: &Self) -> bool {
        let same_service = match (&self.service, &other.service) {
            (None, None) => true,
            (Some(one), Some(other)) => one.source.is(&other.source),
            _ => false,
        };
        let same_rule = match (&self.rule, &other.rule) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is(other),
            _ => false,
        };
        same_service && same_rule && self.hidden == other.hidden
    }
}

/// Answers what hosts stand for, and remembers it between compilations.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    services: Registry,
    rules: RuleIndex,
    known: HashMap<Arc<str>, Arc<Resolved>>,
    /// Answers from before the last change, good for comparison only.
    stale: HashMap<Arc<str>, Arc<Resolved>>,
    /// Counts changes.
    revision: u64,
}

impl Resolver {
    /// Takes over changed services and DestinationRules.
    pub(crate) fn update(&mut self, proxy: &Proxy, mesh: &Mesh, resources: &Resources) {
        let before = self.services.revision();
        let services_changed = self.services.update(proxy, mesh, resources);
        let rules_changed = self.rules.update(proxy, mesh, resources);
        let touched = self.services.touched_since(before);
        match touched.filter(|_| !rules_changed) {
            Some(touched) => {
                let stale = touched
                    .iter()
                    .filter_map(|host| self.known.remove_entry(host));
                self.stale.extend(stale);
            }
            None => self.stale.extend(std::mem::take(&mut self.known)),
        }
        self.revision += u64::from(services_changed || rules_changed);
    }

    /// As long as it is the same, so is every answer.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// The services that the proxy sees.
    pub(crate) fn services(&self) -> &Registry {
        &self.services
    }

    /// What a fully qualified host stands for.
    pub(crate) fn resolve(&mut self, host: &Arc<str>, proxy: &Proxy, mesh: &Mesh) -> Arc<Resolved> {
        if let Some(known) = self.known.get(host) {
            return known.clone();
        }
        let fresh = self.look_up(host, proxy, mesh);
        let kept = match self.stale.remove(host) {
            Some(before) if before.is(&fresh) => before,
            _ => Arc::new(fresh),
        };
        self.known.insert(host.clone(), kept.clone());
        kept
    }

    /// Forgets hosts that nobody names any more.
    pub(crate) fn forget_unused(&mut self) {
        self.stale = HashMap::new();
        self.known
            .retain(|_, resolved| Arc::strong_count(resolved) > 1);
    }

    /// How many hosts are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len() + self.stale.len()
    }

    /// What is to be said about DestinationRules for hosts that there are not, not even for those `others` who see
    /// more than the proxy.
    pub(crate) fn unprovided<'r>(
        &'r self,
        others: impl Iterator<Item = &'r Registry> + Clone,
        proxy: &Proxy,
    ) -> Vec<Diagnostic> {
        let rules = self.rules.of_one_host();
        let seen = std::iter::once(&self.services).chain(others);
        let unprovided = rules.filter(|(host, _)| !seen.clone().any(|one| one.provides(host)));
        let mut told: Vec<_> = unprovided
            .map(|(host, rule)| self.no_service(host, rule, proxy))
            .collect();
        told.sort_by(|one, other| one.resource.cmp(&other.resource));
        told
    }

    fn no_service(&self, host: &Arc<str>, rule: &DestinationRule, proxy: &Proxy) -> Diagnostic {
        let message = match self.services.hidden(host) {
            Some(provider) => format!(
                "{provider} provides host {host:?}, but is not exported to namespace {:?}",
                proxy.namespace
            ),
            None => format!("no Service or ServiceEntry provides host {host:?}"),
        };
        let told = warning(
            &rule.meta,
            "unknown_host",
            "spec.host",
            rule.host.at,
            message,
        );
        if !rule.host.value.is_short() {
            return told.help("nothing of this rule has an effect until it exists");
        }
        let namespace = rule.meta.namespace();
        told.help(format!(
            "a name without a dot stands for a service of the object's namespace, {namespace:?}"
        ))
    }

    fn look_up(&self, host: &Arc<str>, proxy: &Proxy, mesh: &Mesh) -> Resolved {
        let service = self.services.get(host).cloned();
        let rule = service.as_ref().and_then(|service| {
            let namespace = service.namespace();
            self.rules.select(host, namespace, proxy, mesh).cloned()
        });
        let hidden = match &service {
            Some(_) => None,
            None => self.services.hidden(host).cloned(),
        };
        Resolved {
            host: host.clone(),
            service,
            hidden,
            rule,
        }
    }
}
