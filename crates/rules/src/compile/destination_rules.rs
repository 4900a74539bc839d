//! DestinationRules: which of them hold for a service, and what they say together.

use super::services::same_objects;
use super::{Mesh, Proxy};
use ahash::{HashMap, HashMapExt};
use model::{DestinationRule, HostPattern, Objects, Resources, Subset, TrafficPolicy, selects};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The DestinationRules in force, by namespace.
#[derive(Debug, Default)]
pub(crate) struct RuleIndex {
    rules: Objects<DestinationRule>,
    by_namespace: HashMap<Arc<str>, NamespaceRules>,
}

/// The rules of one namespace, those with a workload selector apart.
#[derive(Debug, Default)]
struct NamespaceRules {
    for_workloads: HostRules,
    for_all: HostRules,
}

/// Rules by host: exact ones by name, wildcards with the longest first.
#[derive(Debug, Default)]
struct HostRules {
    exact: HashMap<Arc<str>, MergedRule>,
    wildcards: Vec<(HostPattern, MergedRule)>,
}

/// The rules of one namespace for one host, the oldest first. Never empty.
#[derive(Clone, Debug)]
pub(crate) struct MergedRule {
    rules: Vec<Arc<DestinationRule>>,
}

impl MergedRule {
    /// The subset of this name with the rule that defines it: of several the first.
    pub(crate) fn subset(&self, name: &str) -> Option<(&Arc<DestinationRule>, usize, &Subset)> {
        self.rules.iter().find_map(|rule| {
            let index = rule.subsets.iter().position(|subset| subset.name == name)?;
            Some((rule, index, &rule.subsets[index]))
        })
    }

    /// The names of all subsets, each once.
    pub(crate) fn subset_names(&self) -> impl Iterator<Item = &str> {
        let all = self.rules.iter().flat_map(|rule| &rule.subsets);
        let names: BTreeSet<_> = all.map(|subset| subset.name.as_str()).collect();
        names.into_iter()
    }

    /// The policy for the whole service: of several the first.
    pub(crate) fn traffic_policy(&self) -> Option<(&Arc<DestinationRule>, &TrafficPolicy)> {
        self.rules
            .iter()
            .find_map(|rule| Some((rule, rule.traffic_policy.as_ref()?)))
    }

    /// The oldest rule: the one to name.
    pub(crate) fn first(&self) -> &Arc<DestinationRule> {
        &self.rules[0]
    }

    /// Whether it consists of the same objects, unchanged.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl RuleIndex {
    /// Takes over what changed; says whether anything did.
    pub(crate) fn update(&mut self, proxy: &Proxy, mesh: &Mesh, resources: &Resources) -> bool {
        if same_objects(&self.rules, &resources.destination_rules) {
            return false;
        }
        self.rules = resources.destination_rules.clone();
        self.by_namespace = HashMap::new();
        let mut rules: Vec<_> = self.rules.values().collect();
        rules.sort_by(|one, other| age(one).cmp(&age(other)));
        for rule in rules {
            let namespace = &rule.meta.reference.namespace;
            let held = self.by_namespace.entry(namespace.clone()).or_default();
            held.add(rule, proxy, mesh);
        }
        for held in self.by_namespace.values_mut() {
            held.for_workloads.sort();
            held.for_all.sort();
        }
        true
    }

    /// The rule for a service that lives in `service_namespace`: of the proxy's namespace, else the
    /// service's, else the root namespace. The first of these with any match decides.
    pub(crate) fn select(
        &self,
        host: &str,
        service_namespace: &str,
        proxy: &Proxy,
        mesh: &Mesh,
    ) -> Option<&MergedRule> {
        let own = (proxy.namespace != mesh.root_namespace).then_some(&*proxy.namespace);
        let levels = own
            .into_iter()
            .chain([service_namespace, &*mesh.root_namespace]);
        levels.into_iter().find_map(|namespace| {
            let held = self.by_namespace.get(namespace)?;
            held.for_workloads
                .select(host)
                .or_else(|| held.for_all.select(host))
        })
    }
}

impl NamespaceRules {
    /// Keeps what can ever hold for the proxy.
    fn add(&mut self, rule: &Arc<DestinationRule>, proxy: &Proxy, mesh: &Mesh) {
        if !rule.export_to.reaches(&proxy.namespace) {
            return;
        }
        let rules = match &rule.workload_selector {
            None => &mut self.for_all,
            Some(labels)
                if *proxy.namespace == *rule.meta.namespace() && selects(labels, &proxy.labels) =>
            {
                &mut self.for_workloads
            }
            Some(_) => return,
        };
        rules.add(
            rule.host
                .value
                .expand(rule.meta.namespace(), &mesh.domain_suffix),
            rule,
        );
    }
}

impl HostRules {
    fn add(&mut self, host: HostPattern, rule: &Arc<DestinationRule>) {
        if !host.is_wildcard() {
            match self.exact.get_mut(host.as_str()) {
                Some(held) => merge(held, rule),
                None => {
                    self.exact.insert(
                        host.shared(),
                        MergedRule {
                            rules: vec![rule.clone()],
                        },
                    );
                }
            }
            return;
        }
        match self.wildcards.iter_mut().find(|(held, _)| *held == host) {
            Some((_, held)) => merge(held, rule),
            None => self.wildcards.push((
                host,
                MergedRule {
                    rules: vec![rule.clone()],
                },
            )),
        }
    }

    fn sort(&mut self) {
        self.wildcards
            .sort_by(|(one, _), (other, _)| one.cmp(other));
    }

    fn select(&self, host: &str) -> Option<&MergedRule> {
        let exact = self.exact.get(host);
        exact.or_else(|| {
            self.wildcards
                .iter()
                .find(|(pattern, _)| pattern.matches(host))
                .map(|(_, rule)| rule)
        })
    }
}

/// Rules that are seen by different namespaces are not merged; the oldest counts.
fn merge(held: &mut MergedRule, rule: &Arc<DestinationRule>) {
    if held.first().export_to == rule.export_to {
        held.rules.push(rule.clone());
    }
}

fn age(rule: &DestinationRule) -> (Option<model::Timestamp>, &str, &str) {
    let meta = &rule.meta;
    (meta.creation_timestamp, meta.name(), meta.namespace())
}
