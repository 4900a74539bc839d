//! Traffic policies: which block holds for a cluster.

use model::{
    ClientTlsSettings, ConnectionPoolSettings, LoadBalancerSettings, PortTrafficPolicy,
    ResourceRef, TrafficPolicy,
};

/// The blocks that hold for one cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EffectivePolicy<'p> {
    /// Choice of endpoints.
    pub(crate) load_balancer: Option<&'p LoadBalancerSettings>,
    /// Limits and times of connections.
    pub(crate) connection_pool: Option<&'p ConnectionPoolSettings>,
    /// TLS to endpoints, and the DestinationRule that says so.
    pub(crate) tls: Option<(&'p ResourceRef, &'p ClientTlsSettings)>,
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
        let levels = [subset, service].into_iter().flatten();
        let mut effective = Self::default();
        for (rule, policy) in levels {
            if let Some(settings) = port_settings(policy, port) {
                return effective.over(Self::of_port(settings, rule));
            }
            effective = effective.over(Self::of_level(policy, rule));
        }
        effective
    }

    fn of_level(policy: &'p TrafficPolicy, rule: &'p ResourceRef) -> Self {
        Self {
            load_balancer: policy.load_balancer.as_ref(),
            connection_pool: policy.connection_pool.as_ref(),
            tls: policy.tls.as_ref().map(|tls| (rule, tls)),
        }
    }

    fn of_port(settings: &'p PortTrafficPolicy, rule: &'p ResourceRef) -> Self {
        Self {
            load_balancer: settings.load_balancer.as_ref(),
            connection_pool: settings.connection_pool.as_ref(),
            tls: settings.tls.as_ref().map(|tls| (rule, tls)),
        }
    }

    fn over(self, below: Self) -> Self {
        Self {
            load_balancer: self.load_balancer.or(below.load_balancer),
            connection_pool: self.connection_pool.or(below.connection_pool),
            tls: self.tls.or(below.tls),
        }
    }
}

fn port_settings(policy: &TrafficPolicy, port: u16) -> Option<&PortTrafficPolicy> {
    policy
        .port_level_settings
        .iter()
        .find(|settings| settings.port == port)
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
