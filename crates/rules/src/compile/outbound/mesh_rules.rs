//! The VirtualServices of `mesh`, by the hosts that they are for.

use super::super::CompileOptions;
use super::super::bindings::rank;
use super::sidecar::Limits;
use crate::HostMap;
use model::{At, GatewayRef, HostPattern, Resources, VirtualService};
use std::sync::Arc;

/// The VirtualServices of `mesh` that a workload sees, by host. Of several with one host the oldest has it alone.
#[derive(Debug, Default)]
pub(super) struct MeshRules {
    by_host: HostMap<RuledHost>,
    hosts: Vec<Arc<RuledHost>>,
}

/// A host of a VirtualService that has it.
#[derive(Debug)]
pub(super) struct RuledHost {
    /// Fully qualified.
    pub(super) host: HostPattern,
    /// The VirtualService.
    pub(super) rules: Arc<VirtualService>,
    /// Where it stands.
    pub(super) path: String,
    /// Its place in the file.
    pub(super) at: At,
}

impl MeshRules {
    /// Those that a workload sees.
    pub(super) fn new(resources: &Resources, options: &CompileOptions, limits: &Limits) -> Self {
        let suffix = &options.mesh.domain_suffix;
        let seen = resources.virtual_services.values().filter(|rules| {
            is_of_mesh(rules)
                && rules.export_to.reaches(&options.proxy.namespace)
                && limits.have(rules, suffix)
        });
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by(|one, other| rank(one, options).cmp(&rank(other, options)));
        let mut all = Self::default();
        for rules in seen {
            for (index, host) in rules.hosts.iter().enumerate() {
                all.add(RuledHost {
                    host: host.value.expand(rules.meta.namespace(), suffix),
                    rules: rules.clone(),
                    path: format!("spec.hosts[{index}]"),
                    at: host.at,
                });
            }
        }
        all
    }

    fn add(&mut self, ruled: RuledHost) {
        let ruled = Arc::new(ruled);
        let before = self.by_host.len();
        self.by_host.add(ruled.host.as_str(), ruled.clone());
        if self.by_host.len() > before {
            self.hosts.push(ruled);
        }
    }

    /// The host that is the most specific of those that stand for all of `host`.
    pub(super) fn of(&self, host: &str) -> Option<&Arc<RuledHost>> {
        self.by_host.lookup(host)
    }

    /// All hosts, each with the VirtualService that has it, the oldest first.
    pub(super) fn hosts(&self) -> &[Arc<RuledHost>] {
        &self.hosts
    }
}

/// Whether a VirtualService holds for workloads of the mesh.
pub(crate) fn is_of_mesh(rules: &VirtualService) -> bool {
    let mut gateways = rules.gateways.iter();
    !rules.is_delegate() && gateways.any(|gateway| gateway.value == GatewayRef::Mesh)
}
