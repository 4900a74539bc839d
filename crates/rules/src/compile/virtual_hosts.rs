//! Virtual hosts: the rules of all VirtualServices for one domain.

use super::part::Part;
use super::routes::shadowed;
use super::shadow::Shadows;
use crate::{Route, RouteSet, VirtualHost};
use ahash::{HashMap, HashMapExt};
use model::{Diagnostic, Meta, Origin};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a virtual host is to be made of.
#[derive(Default)]
pub(crate) struct HostPlan {
    /// The rules in order.
    pub(crate) parts: Vec<Arc<Part>>,
    /// Everything is redirected to HTTPS, as this Gateway server asks; of several, the first.
    pub(crate) https_redirect: Option<Arc<Origin>>,
}

/// The virtual hosts of a listener, by domain.
pub(crate) type HostPlans = BTreeMap<Arc<str>, HostPlan>;

impl HostPlan {
    /// Redirects everything to HTTPS, where a server asks for it.
    pub(crate) fn redirect(&mut self, asks: Option<&Arc<Origin>>) {
        if self.https_redirect.is_none() {
            self.https_redirect = asks.cloned();
        }
    }

    /// Adds the rules of a VirtualService, once.
    pub(crate) fn add(&mut self, part: &Arc<Part>) {
        if !self.parts.iter().any(|known| Arc::ptr_eq(known, part)) {
            self.parts.push(part.clone());
        }
    }
}

/// A virtual host, and what it was made of.
#[derive(Debug)]
pub(crate) struct CompiledHost {
    parts: Vec<Arc<Part>>,
    /// What it is.
    pub(crate) host: Arc<VirtualHost>,
    /// Rules of one VirtualService that those of another hide.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl CompiledHost {
    /// Whether it was made of the same.
    pub(crate) fn is_current(&self, plan: &HostPlan) -> bool {
        self.host.https_redirect == plan.https_redirect && same_parts(&self.parts, &plan.parts)
    }

    /// Indexes the rules of `plan`. Hosts with the same rules share one index.
    pub(crate) fn compile(
        port: u16,
        domain: &Arc<str>,
        plan: HostPlan,
        indexes: &mut Indexes,
    ) -> Self {
        let host = VirtualHost {
            name: format!("{domain}:{port}").into(),
            domain: domain.clone(),
            https_redirect: plan.https_redirect,
            routes: indexes.of(&plan.parts),
        };
        let diagnostics = hidden_by_others(domain, &plan.parts);
        Self {
            parts: plan.parts,
            host: Arc::new(host),
            diagnostics,
        }
    }

    /// The rules and their index, to be shared with hosts that have the same.
    pub(crate) fn index(&self) -> (&[Arc<Part>], &Arc<RouteSet>) {
        (&self.parts, &self.host.routes)
    }
}

fn same_parts(one: &[Arc<Part>], other: &[Arc<Part>]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| Arc::ptr_eq(one, other))
}

/// Indexes of rules, by the identity of the parts they were made of.
#[derive(Default)]
pub(crate) struct Indexes {
    by_parts: HashMap<Vec<*const Part>, Arc<RouteSet>>,
}

impl Indexes {
    /// Keeps an index for other hosts.
    pub(crate) fn keep(&mut self, (parts, index): (&[Arc<Part>], &Arc<RouteSet>)) {
        self.by_parts
            .entry(identity(parts))
            .or_insert_with(|| index.clone());
    }

    fn of(&mut self, parts: &[Arc<Part>]) -> Arc<RouteSet> {
        let index = self.by_parts.entry(identity(parts));
        index
            .or_insert_with(|| Arc::new(RouteSet::new(in_order(parts))))
            .clone()
    }
}

fn identity(parts: &[Arc<Part>]) -> Vec<*const Part> {
    parts.iter().map(Arc::as_ptr).collect()
}

/// One after the other; of several VirtualServices, what takes every request comes last.
fn in_order(parts: &[Arc<Part>]) -> Vec<Arc<Route>> {
    let routes = parts.iter().flat_map(|part| &part.routes).cloned();
    if parts.len() < 2 {
        return routes.collect();
    }
    let (last, mut first): (Vec<_>, Vec<_>) =
        routes.partition(|route| route.predicate.is_catch_all());
    first.extend(last);
    first
}

fn hidden_by_others(domain: &str, parts: &[Arc<Part>]) -> Vec<Diagnostic> {
    if parts.len() < 2 {
        return Vec::new();
    }
    let mut owners: HashMap<*const Origin, &Arc<Part>> = HashMap::new();
    for part in parts {
        owners.extend(
            part.routes
                .iter()
                .map(|route| (Arc::as_ptr(&route.origin), part)),
        );
    }
    let owner = |origin: &Arc<Origin>| owners.get(&Arc::as_ptr(origin)).copied();
    let mut shadows = Shadows::default();
    let mut hidden = Vec::new();
    for route in in_order(parts) {
        let (Some(earlier), Some(part)) = (shadows.add(&route), owner(&route.origin)) else {
            continue;
        };
        if owner(&earlier).is_some_and(|other| !Arc::ptr_eq(other, part)) {
            hidden.push(hidden_by(
                &part.virtual_service.meta,
                &route,
                &earlier,
                domain,
            ));
        }
    }
    hidden
}

fn hidden_by(meta: &Meta, route: &Route, earlier: &Origin, domain: &str) -> Diagnostic {
    let why = format!("takes all its requests for host {domain:?}");
    let place = (meta, route.origin.path.as_str(), model::At::default());
    Diagnostic {
        code: "shadowed_by_other",
        resource: Some(route.origin.resource.clone()),
        position: route.origin.position.clone(),
        ..shadowed(place, earlier, &why)
    }
}
