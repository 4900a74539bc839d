//! DestinationRules: which of them hold for a service, and what they say together.

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
    /// Those of the root namespace that are for itself only, if the proxy is there.
    private_of_root: NamespaceRules,
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
        if self.rules.are(&resources.destination_rules) {
            return false;
        }
        self.rules = resources.destination_rules.clone();
        self.by_namespace = HashMap::new();
        self.private_of_root = NamespaceRules::default();
        let mut rules: Vec<_> = self.rules.values().collect();
        rules.sort_by(|one, other| age(one).cmp(&age(other)));
        for rule in rules {
            let namespace = &rule.meta.reference.namespace;
            let held = self.by_namespace.entry(namespace.clone()).or_default();
            held.add(rule, proxy, mesh);
            if is_private_of_root(rule, mesh) {
                self.private_of_root.add(rule, proxy, mesh);
            }
        }
        for held in self.by_namespace.values_mut() {
            held.sort();
        }
        self.private_of_root.sort();
        true
    }

    /// The rules that the proxy sees for one host each.
    pub(crate) fn of_one_host(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<DestinationRule>)> {
        let all = self.by_namespace.values();
        let all = all.flat_map(|held| [&held.for_workloads, &held.for_all]);
        all.flat_map(|held| &held.exact)
            .flat_map(|(host, merged)| merged.rules.iter().map(move |rule| (host, rule)))
    }

    /// The rule for a service that lives in `service_namespace`: of the proxy's namespace, else the
    /// service's, else the root namespace. The first of these with any match decides.
    ///
    /// A proxy in the root namespace has rules of its own in those that are for that namespace only; the others
    /// there are for everybody, and come last.
    pub(crate) fn select(
        &self,
        host: &str,
        service_namespace: &str,
        proxy: &Proxy,
        mesh: &Mesh,
    ) -> Option<&MergedRule> {
        let of = |namespace: &str| self.by_namespace.get(namespace);
        let own = match proxy.namespace == mesh.root_namespace {
            true => Some(&self.private_of_root),
            false => of(&proxy.namespace),
        };
        let levels = [own, of(service_namespace), of(&mesh.root_namespace)];
        let mut levels = levels.into_iter().flatten();
        levels.find_map(|held| held.select(host))
    }
}

impl NamespaceRules {
    /// Keeps what can ever hold for the proxy.
    fn add(&mut self, rule: &Arc<DestinationRule>, proxy: &Proxy, mesh: &Mesh) {
        if !is_seen(rule, proxy, mesh) {
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

    fn sort(&mut self) {
        self.for_workloads.sort();
        self.for_all.sort();
    }

    /// The most specific host decides, and of two rules for it the one that selects workloads.
    fn select(&self, host: &str) -> Option<&MergedRule> {
        let of_workloads = self.for_workloads.select(host);
        let of_all = self.for_all.select(host);
        let chosen = match (of_workloads, of_all) {
            (Some(one), Some(other)) if other.pattern < one.pattern => Some(other),
            (one, other) => one.or(other),
        };
        chosen.map(|found| found.rule)
    }
}

/// Whether a rule is for the proxy: one of its own namespace is, whomever else it is exported to.
fn is_seen(rule: &DestinationRule, proxy: &Proxy, mesh: &Mesh) -> bool {
    let is_own = *proxy.namespace == *rule.meta.namespace();
    is_own && proxy.namespace != mesh.root_namespace || rule.export_to.reaches(&proxy.namespace)
}

fn is_private_of_root(rule: &DestinationRule, mesh: &Mesh) -> bool {
    let own = rule.meta.namespace();
    *own == *mesh.root_namespace && rule.export_to.is_only_for(own)
}

/// A rule, and the host that it was found by. The most specific host comes first; an exact one has none.
struct Found<'r> {
    pattern: Option<&'r HostPattern>,
    rule: &'r MergedRule,
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

    fn select(&self, host: &str) -> Option<Found<'_>> {
        if let Some(rule) = self.exact.get(host) {
            return Some(Found {
                pattern: None,
                rule,
            });
        }
        let mut wildcards = self.wildcards.iter();
        let (pattern, rule) = wildcards.find(|(pattern, _)| pattern.matches(host))?;
        Some(Found {
            pattern: Some(pattern),
            rule,
        })
    }
}

/// Rules that are seen by different namespaces or workloads are not merged; the oldest counts.
fn merge(held: &mut MergedRule, rule: &Arc<DestinationRule>) {
    let first = held.first();
    if first.export_to == rule.export_to && first.workload_selector == rule.workload_selector {
        held.rules.push(rule.clone());
    }
}

fn age(rule: &DestinationRule) -> (Option<model::Timestamp>, &str, &str) {
    let meta = &rule.meta;
    (meta.creation_timestamp, meta.name(), meta.namespace())
}
