//! What is said about load balancers that do not do what their authors think.

use super::Proxy;
use super::destination_rules::MergedRule;
use super::diagnostics::{Help, warning};
use super::resolve::Resolved;
use crate::ClusterKey;
use model::{
    At, DestinationRule, Diagnostic, LoadBalancerPolicy, LoadBalancerSettings, LocalityLbSetting,
    Meta, OutlierDetection, SimpleLb, TrafficPolicy,
};
use std::sync::Arc;

/// What is to be said about how endpoints of a cluster are chosen.
pub(super) fn balancer_findings(
    key: &ClusterKey,
    resolved: &Resolved,
    proxy: &Proxy,
) -> Vec<Diagnostic> {
    let Some(rule) = &resolved.rule else {
        return Vec::new();
    };
    let levels = levels(rule, key.subset.as_deref());
    let Some(balancer) = Balancer::of(&levels, key.port) else {
        return Vec::new();
    };
    let of_place = balancer.of_place(proxy, outlier_detection(&levels, key.port).is_some());
    balancer.passthrough().into_iter().chain(of_place).collect()
}

/// A policy and where it stands, the subset's before the service's.
struct Level<'r> {
    rule: &'r Arc<DestinationRule>,
    path: String,
    policy: &'r TrafficPolicy,
}

fn levels<'r>(rule: &'r MergedRule, subset: Option<&str>) -> Vec<Level<'r>> {
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

/// The outlier detection that holds: a port's settings hide all blocks of their level and those below.
fn outlier_detection<'r>(levels: &[Level<'r>], port: u16) -> Option<&'r OutlierDetection> {
    for level in levels {
        if let Some(settings) = level.policy.port_settings(port) {
            return settings.outlier_detection.as_ref();
        }
        if let Some(found) = &level.policy.outlier_detection {
            return Some(found);
        }
    }
    None
}

/// The load balancer that holds, and where it stands.
struct Balancer<'r> {
    meta: &'r Meta,
    path: String,
    settings: &'r LoadBalancerSettings,
}

impl<'r> Balancer<'r> {
    fn of(levels: &[Level<'r>], port: u16) -> Option<Self> {
        for level in levels {
            let of = |settings, path: String| Self {
                meta: &level.rule.meta,
                path: format!("{path}.loadBalancer"),
                settings,
            };
            let ports = &level.policy.port_level_settings;
            if let Some(index) = ports.iter().position(|one| one.port == port) {
                let settings = ports[index].load_balancer.as_ref()?;
                return Some(of(
                    settings,
                    format!("{}.portLevelSettings[{index}]", level.path),
                ));
            }
            if let Some(settings) = &level.policy.load_balancer {
                return Some(of(settings, level.path.clone()));
            }
        }
        None
    }

    fn warning(&self, code: &'static str, field: &str, at: At, message: String) -> Diagnostic {
        let path = format!("{}.{field}", self.path);
        warning(self.meta, code, path, at, message)
    }

    /// It would need the address that the client wanted, which nobody wants of a gateway.
    fn passthrough(&self) -> Option<Diagnostic> {
        let is_passthrough =
            self.settings.policy == LoadBalancerPolicy::Simple(SimpleLb::Passthrough);
        is_passthrough.then(|| {
            let message = "PASSTHROUGH has no meaning where requests have no original destination; least request is used";
            self.warning("passthrough", "simple", self.settings.at, message.to_owned())
        })
    }

    /// Settings that have no effect for want of something else.
    fn of_place(&self, proxy: &Proxy, detects_outliers: bool) -> Vec<Diagnostic> {
        let setting = self.settings.locality_lb_setting.as_ref();
        let Some(setting) = setting.filter(|setting| setting.enabled != Some(false)) else {
            return Vec::new();
        };
        let blind = (!detects_outliers)
            .then(|| self.without_detection(setting))
            .flatten();
        let lost = proxy
            .locality
            .is_unknown()
            .then(|| self.without_place(setting));
        blind.into_iter().chain(lost.flatten()).collect()
    }

    fn without_detection(&self, setting: &LocalityLbSetting) -> Option<Diagnostic> {
        let what = match (
            setting.failover.is_empty(),
            setting.failover_priority.is_empty(),
        ) {
            (false, _) => "failover",
            (true, false) => "failoverPriority",
            (true, true) => return None,
        };
        let message = format!(
            "{what} has no effect without outlierDetection, by which endpoints are known to have failed"
        );
        let told = self.warning("ineffective", "localityLbSetting", setting.at, message);
        Some(told.help("add outlierDetection to the policy of the same service, subset and port"))
    }

    fn without_place(&self, setting: &LocalityLbSetting) -> Option<Diagnostic> {
        let what = match (setting.distribute.is_empty(), setting.failover.is_empty()) {
            (false, _) => "distribute",
            (true, false) => "failover",
            (true, true) => return None,
        };
        let message = format!("{what} has no effect, since the proxy does not know where it is");
        let told = self.warning("unknown_locality", "localityLbSetting", setting.at, message);
        Some(told.help("set `locality` in `[proxy]` to region/zone/subzone"))
    }
}
