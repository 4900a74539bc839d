//! Traffic policies: which block holds for a cluster.

use model::{ConnectionPoolSettings, LoadBalancerSettings, PortTrafficPolicy, TrafficPolicy};

/// The blocks that hold for one cluster.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EffectivePolicy<'p> {
    /// Choice of endpoints.
    pub(crate) load_balancer: Option<&'p LoadBalancerSettings>,
    /// Limits and times of connections.
    pub(crate) connection_pool: Option<&'p ConnectionPoolSettings>,
}

impl<'p> EffectivePolicy<'p> {
    /// Merges block by block: the subset's over the service's.
    ///
    /// Settings for the port replace all blocks, also those that they do not mention.
    pub(crate) fn of(
        service: Option<&'p TrafficPolicy>,
        subset: Option<&'p TrafficPolicy>,
        port: u16,
    ) -> Self {
        let levels = [subset, service];
        let for_port = levels
            .into_iter()
            .flatten()
            .find_map(|policy| port_settings(policy, port));
        if let Some(settings) = for_port {
            return Self {
                load_balancer: settings.load_balancer.as_ref(),
                connection_pool: settings.connection_pool.as_ref(),
            };
        }
        let mut levels = levels.into_iter().flatten();
        Self {
            load_balancer: levels
                .clone()
                .find_map(|policy| policy.load_balancer.as_ref()),
            connection_pool: levels.find_map(|policy| policy.connection_pool.as_ref()),
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
        let effective = EffectivePolicy::of(Some(&service), Some(&subset), 80);
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
        let effective = EffectivePolicy::of(Some(&service), None, 80);
        assert_eq!(
            effective.load_balancer,
            balancer(SimpleLb::RoundRobin).as_ref()
        );
        assert!(effective.connection_pool.is_none());
        let other_port = EffectivePolicy::of(Some(&service), None, 81);
        assert_eq!(
            other_port.load_balancer,
            balancer(SimpleLb::Random).as_ref()
        );
    }
}
