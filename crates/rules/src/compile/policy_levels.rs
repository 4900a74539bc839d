//! Where the blocks of traffic policies stand that hold for a cluster.

use super::destination_rules::MergedRule;
use model::{DestinationRule, Meta, PortTrafficPolicy, TrafficPolicy};
use std::sync::Arc;

/// A policy, and where it stands.
pub(super) struct Level<'r> {
    rule: &'r Arc<DestinationRule>,
    path: String,
    policy: &'r TrafficPolicy,
}

/// The policies of a cluster, the subset's before the service's.
pub(super) fn levels<'r>(rule: &'r MergedRule, subset: Option<&str>) -> Vec<Level<'r>> {
    let of_subset = subset.and_then(|name| rule.subset(name));
    let of_subset = of_subset.and_then(|(rule, index, subset)| {
        Some(Level {
            rule,
            path: format!("spec.subsets[{index}].trafficPolicy"),
            policy: subset.traffic_policy.as_ref()?,
        })
    });
    let of_service = rule.traffic_policy().map(|(rule, policy)| Level {
        rule,
        path: "spec.trafficPolicy".to_owned(),
        policy,
    });
    of_subset.into_iter().chain(of_service).collect()
}

/// A block that holds, and the path of what it is in.
pub(super) struct Block<'r, B> {
    pub(super) meta: &'r Meta,
    pub(super) path: String,
    pub(super) settings: &'r B,
}

/// The block that holds: a port's settings hide all blocks of their level and those below.
pub(super) fn block<'r, B>(
    levels: &[Level<'r>],
    port: u16,
    of_port: impl Fn(&'r PortTrafficPolicy) -> Option<&'r B>,
    of_level: impl Fn(&'r TrafficPolicy) -> Option<&'r B>,
) -> Option<Block<'r, B>> {
    for level in levels {
        let at = |path, settings| Block {
            meta: &level.rule.meta,
            path,
            settings,
        };
        let ports = &level.policy.port_level_settings;
        if let Some(index) = ports.iter().position(|one| one.port == port) {
            let path = format!("{}.portLevelSettings[{index}]", level.path);
            return Some(at(path, of_port(&ports[index])?));
        }
        if let Some(settings) = of_level(level.policy) {
            return Some(at(level.path.clone(), settings));
        }
    }
    None
}
