//! What is said about load balancers that do not do what their authors think.

use super::Proxy;
use super::diagnostics::{Help, warning};
use super::policy_levels::{Level, block, levels};
use super::resolve::Resolved;
use crate::ClusterKey;
use model::{
    At, Diagnostic, LoadBalancerPolicy, LoadBalancerSettings, LocalityLbSetting, Meta, SimpleLb,
};

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
    let of_place = balancer.of_place(proxy, Balancer::has_detection(&levels, key.port));
    balancer.passthrough().into_iter().chain(of_place).collect()
}

/// The load balancer that holds, and where it stands.
struct Balancer<'r> {
    meta: &'r Meta,
    path: String,
    settings: &'r LoadBalancerSettings,
}

impl<'r> Balancer<'r> {
    fn of(levels: &[Level<'r>], port: u16) -> Option<Self> {
        let block = block(
            levels,
            port,
            |settings| settings.load_balancer.as_ref(),
            |policy| policy.load_balancer.as_ref(),
        )?;
        Some(Self {
            meta: block.meta,
            path: format!("{}.loadBalancer", block.path),
            settings: block.settings,
        })
    }

    /// By which endpoints are known to have failed.
    fn has_detection(levels: &[Level<'r>], port: u16) -> bool {
        let detection = block(
            levels,
            port,
            |settings| settings.outlier_detection.as_ref(),
            |policy| policy.outlier_detection.as_ref(),
        );
        detection.is_some()
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
