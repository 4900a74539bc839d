//! The registry as one workload sees it, from compilation to compilation.

use super::super::clusters::Clusters;
use super::super::part::{Part, PartKey};
use super::super::resolve::Resolver;
use super::super::services::Registry;
use super::super::{CallerOptions, CompileOptions};
use super::build::{Build, Inputs, Kept};
use super::mesh_rules::MeshRules;
use super::sidecar::Limits;
use super::unknown;
use crate::endpoints::{self, EndpointCompiler};
use crate::{Cluster, EgressMode, Endpoints, Outbound};
use ahash::HashMap;
use model::{Diagnostic, Hostname, Objects, Resources, VirtualService};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What one workload sees, and what it was made of.
#[derive(Debug)]
pub(crate) struct View {
    options: CompileOptions,
    mode: EgressMode,
    /// Whether its connections are redirected ones, which go where they were going if nobody knows better.
    redirected: bool,
    /// Absent: it is the proxy's own.
    foreign: Option<Foreign>,
    made_of: Option<MadeOf>,
    kept: Kept,
    unknown: unknown::Kept,
    outbound: Arc<Outbound>,
    /// What was noticed, but of rules.
    diagnostics: Vec<Diagnostic>,
}

/// The registry of a workload that is not the proxy.
#[derive(Debug)]
struct Foreign {
    name: Arc<str>,
    resolver: Resolver,
    endpoints: EndpointCompiler,
    parts: HashMap<PartKey, Arc<Part>>,
}

/// As long as these are the same, so is the view.
#[derive(Debug)]
struct MadeOf {
    revision: u64,
    rules: Objects<VirtualService>,
    limits: Limits,
}

impl MadeOf {
    fn is(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.limits.is(&other.limits)
            && self.rules.are(&other.rules)
    }
}

/// What views share with everything else that is compiled.
pub(crate) struct Surroundings<'s> {
    pub(crate) resources: &'s Resources,
    pub(crate) resolver: &'s mut Resolver,
    pub(crate) clusters: &'s mut Clusters,
    /// The parts of this compilation, and of the last.
    pub(crate) parts: &'s mut HashMap<PartKey, Arc<Part>>,
    pub(crate) parts_before: &'s HashMap<PartKey, Arc<Part>>,
}

impl View {
    /// Of a workload, beside the proxy of `options`.
    pub(crate) fn new(caller: &CallerOptions, mode: EgressMode, options: &CompileOptions) -> Self {
        let proxy = &options.proxy;
        let is_own = caller.namespace == proxy.namespace && caller.labels == proxy.labels;
        let mut own = options.clone();
        own.proxy.namespace = caller.namespace.clone();
        own.proxy.labels = caller.labels.clone();
        Self {
            options: own,
            mode,
            redirected: false,
            foreign: (!is_own).then(|| Foreign::new(caller)),
            made_of: None,
            kept: Kept::default(),
            unknown: unknown::Kept::default(),
            outbound: Arc::default(),
            diagnostics: Vec::new(),
        }
    }

    /// Of the proxy's own workload, whose connections are redirected.
    pub(crate) fn redirected(options: &CompileOptions) -> Self {
        let proxy = &options.proxy;
        let own = CallerOptions {
            namespace: proxy.namespace.clone(),
            labels: proxy.labels.clone(),
        };
        Self {
            redirected: true,
            ..Self::new(&own, EgressMode::Enforce, options)
        }
    }

    /// What the workload reaches; the same `Arc` as long as nothing about it changes.
    pub(crate) fn compile(&mut self, around: &mut Surroundings<'_>) -> Arc<Outbound> {
        let Self {
            options, foreign, ..
        } = self;
        let resources = around.resources;
        if let Some(foreign) = foreign {
            let resolver = &mut foreign.resolver;
            resolver.update(&options.proxy, &options.mesh, resources);
        }
        let resolver = match foreign {
            Some(foreign) => &foreign.resolver,
            None => &*around.resolver,
        };
        let made_of = MadeOf {
            revision: resolver.revision(),
            rules: resources.virtual_services.clone(),
            limits: Limits::of(&options.proxy, &options.mesh, resources),
        };
        if self.made_of.as_ref().is_some_and(|was| was.is(&made_of)) {
            self.hand_on_parts(around);
        } else {
            self.build(&made_of.limits, around);
            self.made_of = Some(made_of);
        }
        self.outbound.clone()
    }

    fn build(&mut self, limits: &Limits, around: &mut Surroundings<'_>) {
        let rules = MeshRules::new(around.resources, &self.options, limits);
        let mut own_parts = HashMap::default();
        let (view, resolver, parts, parts_before) = match &mut self.foreign {
            Some(foreign) => (
                Some(&foreign.name),
                &mut foreign.resolver,
                &mut own_parts,
                &foreign.parts,
            ),
            None => (
                None,
                &mut *around.resolver,
                &mut *around.parts,
                around.parts_before,
            ),
        };
        let of = Inputs {
            options: &self.options,
            resources: around.resources,
            view,
            limits,
            rules: &rules,
            resolver,
            clusters: around.clusters,
            parts,
            parts_before,
        };
        let mut build = Build::new(of, std::mem::take(&mut self.kept));
        let hidden = build.services();
        build.literal_hosts();
        let otherwise = build.unknown(self.mode, self.redirected, &mut self.unknown);
        let names = build.names();
        let (ports, kept, diagnostics) = build.finish();
        (self.kept, self.diagnostics) = (kept, diagnostics);
        if let Some(foreign) = &mut self.foreign {
            foreign.parts = own_parts;
            foreign.resolver.forget_unused();
        }
        let mut outbound = Outbound::new(ports, hidden, otherwise);
        outbound.names = Arc::new(names);
        self.outbound = Arc::new(outbound);
    }

    /// Parts that are in use still are so.
    fn hand_on_parts(&self, around: &mut Surroundings<'_>) {
        if self.foreign.is_none() {
            let parts = self.kept.parts.iter();
            around
                .parts
                .extend(parts.map(|(key, part)| (key.clone(), part.clone())));
        }
    }

    /// The clusters that it leads to.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        let of_parts = self.kept.parts.values().flat_map(|part| &part.clusters);
        of_parts
            .chain(self.kept.clusters())
            .chain(self.unknown.cluster())
    }

    /// What is to be said about it, but of what the proxy sees itself.
    pub(crate) fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        let of_parts = self.foreign.iter().flat_map(|foreign| {
            let parts = foreign.parts.values();
            parts.flat_map(|part| &part.diagnostics)
        });
        of_parts.chain(&self.diagnostics).cloned()
    }

    /// What a workload beside the proxy sees.
    pub(crate) fn registry(&self) -> Option<&Registry> {
        Some(self.foreign.as_ref()?.resolver.services())
    }

    /// The endpoints of a foreign registry.
    pub(crate) fn endpoints(
        &mut self,
        resources: &Resources,
        shared: endpoints::Shared<'_>,
    ) -> Option<(Endpoints, Vec<Diagnostic>)> {
        let foreign = self.foreign.as_mut()?;
        let options = &self.options;
        foreign
            .resolver
            .update(&options.proxy, &options.mesh, resources);
        let services = foreign.resolver.services();
        Some(foreign.endpoints.compile(services, resources, shared))
    }

    /// The names that those are found by.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Hostname> {
        let names: Option<&BTreeSet<Hostname>> = self
            .foreign
            .as_ref()
            .map(|foreign| foreign.endpoints.names());
        names.into_iter().flatten()
    }
}

impl Foreign {
    fn new(caller: &CallerOptions) -> Self {
        let labels = caller.labels.iter();
        let labels: Vec<_> = labels
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let name: Arc<str> = match labels.is_empty() {
            true => caller.namespace.clone(),
            false => format!("{}/{}", caller.namespace, labels.join(",")).into(),
        };
        Self {
            resolver: Resolver::default(),
            endpoints: EndpointCompiler::of_view(name.clone()),
            parts: HashMap::default(),
            name,
        }
    }
}
