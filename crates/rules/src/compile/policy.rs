//! Traffic policies: which block holds for a cluster.

use model::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, OutlierDetection,
    PortTrafficPolicy, ProxyProtocolVersion, ResourceRef, RetryBudget, TrafficPolicy,
    TunnelSettings,
};

/// The blocks that hold for one cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EffectivePolicy<'p> {
    /// Choice of endpoints.
    pub(crate) load_balancer: Option<&'p LoadBalancerSettings>,
    /// Limits and times of connections.
    pub(crate) connection_pool: Option<&'p ConnectionPoolSettings>,
    /// Ejection of endpoints.
    pub(crate) outlier_detection: Option<&'p OutlierDetection>,
    /// TLS to endpoints, and the DestinationRule that says so.
    pub(crate) tls: Option<(&'p ResourceRef, &'p ClientTlsSettings)>,
    /// Blocks that cannot be said for a port.
    pub(crate) of_all_ports: AllPorts<'p>,
}

/// The blocks that hold for all ports alike.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AllPorts<'p> {
    /// A forward proxy.
    pub(crate) tunnel: Option<&'p TunnelSettings>,
    /// The header that begins connections.
    pub(crate) proxy_protocol: Option<ProxyProtocolVersion>,
    /// A bound of retries.
    pub(crate) retry_budget: Option<&'p RetryBudget>,
}

impl<'p> AllPorts<'p> {
    fn of(policy: &'p TrafficPolicy) -> Self {
        Self {
            tunnel: policy.tunnel.as_ref(),
            proxy_protocol: policy.proxy_protocol,
            retry_budget: policy.retry_budget.as_ref(),
        }
    }

    fn over(self, below: Self) -> Self {
        Self {
            tunnel: self.tunnel.or(below.tunnel),
            proxy_protocol: self.proxy_protocol.or(below.proxy_protocol),
            retry_budget: self.retry_budget.or(below.retry_budget),
        }
    }
}

/// A policy and the DestinationRule that it is of.
pub(crate) type PolicyOf<'p> = (&'p ResourceRef, &'p TrafficPolicy);

impl<'p> EffectivePolicy<'p> {
    /// Merges block by block: the subset's over the service's.
    ///
    /// Settings for the port replace all blocks of their level and of the one below, also those that
    /// they do not mention.
    pub(crate) fn of(
        service: Option<PolicyOf<'p>>,
        subset: Option<PolicyOf<'p>>,
        port: u16,
    ) -> Self {
        let levels = || [subset, service].into_iter().flatten();
        let mut effective = Self::default();
        for (rule, policy) in levels() {
            if let Some(settings) = policy.port_settings(port) {
                effective = effective.over(Self::of_port(settings, rule));
                break;
            }
            effective = effective.over(Self::of_level(policy, rule));
        }
        let of_all_ports = levels().map(|(_, policy)| AllPorts::of(policy));
        Self {
            of_all_ports: of_all_ports.fold(AllPorts::default(), AllPorts::over),
            ..effective
        }
    }

    fn of_level(policy: &'p TrafficPolicy, rule: &'p ResourceRef) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            outlier_detection: policy.outlier_detection.as_ref(),
            tls: policy.tls.as_ref().map(|tls| (rule, tls)),
            of_all_ports: AllPorts::default(),
        }
    }

    fn of_port(settings: &'p PortTrafficPolicy, rule: &'p ResourceRef) -> Self {
        Self {
            load_balancer: settings.load_balancer.as_ref(),
            connection_pool: settings.connection_pool.as_ref(),
            outlier_detection: settings.outlier_detection.as_ref(),
            tls: settings.tls.as_ref().map(|tls| (rule, tls)),
            of_all_ports: AllPorts::default(),
        }
    }

    fn over(self, below: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(below.load_balancer),
            connection_pool: self.connection_pool.or(below.connection_pool),
            outlier_detection: self.outlier_detection.or(below.outlier_detection),
            tls: self.tls.or(below.tls),
            of_all_ports: self.of_all_ports.over(below.of_all_ports),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{At, LoadBalancerPolicy, SimpleLb};

    fn balancer(simple: SimpleLb) -> Option<LoadBalancerSettings> {
        let policy = LoadBalancerPolicy::Simple(simple);
        Some(LoadBalancerSettings {
            policy,
            ..LoadBalancerSettings::default()
        })
    }

    fn rule(name: &str) -> ResourceRef {
        ResourceRef {
            kind: "DestinationRule".into(),
            namespace: "default".into(),
            name: name.into(),
        }
    }

    fn policy(simple: Option<SimpleLb>, with_pool: bool) -> TrafficPolicy {
        TrafficPolicy {
            load_balancer: simple.and_then(balancer),
            connection_pool: with_pool.then(ConnectionPoolSettings::default),
            ..TrafficPolicy::default()
        }
    }

    #[test]
    fn a_subset_replaces_the_service_s_blocks_one_by_one() {
        let service = policy(Some(SimpleLb::Random), true);
        let subset = policy(Some(SimpleLb::RoundRobin), false);
        let (service_rule, subset_rule) = (rule("service"), rule("subset"));
        let effective = EffectivePolicy::of(
            Some((&service_rule, &service)),
            Some((&subset_rule, &subset)),
            80,
        );
        assert_eq!(effective.load_balancer, subset.load_balancer.as_ref());
        assert_eq!(effective.connection_pool, service.connection_pool.as_ref());
    }

    #[test]
    fn settings_for_the_port_replace_also_what_they_do_not_mention() {
        let mut service = policy(Some(SimpleLb::Random), true);
        service.port_level_settings.push(PortTrafficPolicy {
            at: At::default(),
            port: 80,
            load_balancer: balancer(SimpleLb::RoundRobin),
            connection_pool: None,
            outlier_detection: None,
            tls: None,
        });
        let service_rule = rule("service");
        let effective = EffectivePolicy::of(Some((&service_rule, &service)), None, 80);
        assert_eq!(
            effective.load_balancer,
            balancer(SimpleLb::RoundRobin).as_ref()
        );
        assert!(effective.connection_pool.is_none());
        let other_port = EffectivePolicy::of(Some((&service_rule, &service)), None, 81);
        assert_eq!(
            other_port.load_balancer,
            balancer(SimpleLb::Random).as_ref()
        );
    }

    #[test]
    fn a_subset_s_tls_holds_where_the_service_has_settings_for_the_port() {
        let mut service = policy(None, false);
        service.port_level_settings.push(PortTrafficPolicy {
            at: At::default(),
            port: 80,
            load_balancer: balancer(SimpleLb::RoundRobin),
            connection_pool: None,
            outlier_detection: None,
            tls: None,
        });
        let subset = TrafficPolicy {
            tls: Some(ClientTlsSettings::default()),
            ..policy(None, false)
        };
        let (service_rule, subset_rule) = (rule("service"), rule("subset"));
        let effective = EffectivePolicy::of(
            Some((&service_rule, &service)),
            Some((&subset_rule, &subset)),
            80,
        );
        assert_eq!(effective.tls.map(|(rule, _)| rule), Some(&subset_rule));
        assert!(effective.load_balancer.is_some());
    }
}
