//! Clusters: a service port or subset with the policy that holds for it.

use super::destination_rules::MergedRule;
use super::policy::{EffectivePolicy, PolicyOf};
use super::resolve::Resolved;
use super::services::{PortView, ServiceView, Source};
use super::{CompileOptions, balancing, pool, upstream_tls};
use crate::on_demand::without_clothes;
use crate::{Cluster, ClusterKey, ForbiddenNetworks, OnDemand, UpstreamProtocol};
use ahash::{HashMap, HashMapExt};
use ipnet::IpNet;
use model::{
    At, ClientTlsSettings, H2UpgradePolicy, HostPattern, HttpSettings, Labels, Origin,
    OutlierDetection, PortProtocol, Resolution, TunnelSettings,
};
use std::sync::Arc;

/// The clusters compiled so far. One that did not change is the same `Arc` again.
#[derive(Debug)]
pub(crate) struct Clusters {
    known: HashMap<ClusterKey, Arc<Cluster>>,
}

impl Clusters {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            known: HashMap::new(),
        }
    }

    /// The cluster of a port and subset of `resolved` for some traffic, or why there is none.
    pub(crate) fn find(
        &mut self,
        key: ClusterKey,
        traffic: Traffic,
        resolved: &Resolved,
        options: &CompileOptions,
    ) -> Result<Arc<Cluster>, NoCluster> {
        let service = resolved.service.as_ref().ok_or(NoCluster::Service)?;
        let port = service.port(key.port).ok_or(NoCluster::Port)?;
        let shape = Shape::of(&key, resolved.rule.as_ref()).ok_or(NoCluster::Subset)?;
        shape.refuse_clear_text(traffic, port)?;
        Ok(self.keep(shape.cluster(key, service, port, options)))
    }

    /// Forgets clusters that no rule leads to any more.
    pub(crate) fn forget_unused(&mut self) {
        self.known
            .retain(|_, cluster| Arc::strong_count(cluster) > 1);
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    fn keep(&mut self, cluster: Cluster) -> Arc<Cluster> {
        if let Some(known) = self.known.get(&cluster.key)
            && **known == cluster
        {
            return known.clone();
        }
        let cluster = Arc::new(cluster);
        self.known.insert(cluster.key.clone(), cluster.clone());
        cluster
    }
}

/// What is sent to a cluster, by which it depends whether TLS is missing around it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Traffic {
    /// Requests: in clear, unless a DestinationRule says otherwise.
    Http,
    /// What clients send, as they send it.
    Bytes,
}

/// Why there is no such cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum NoCluster {
    /// Nobody provides the host.
    Service,
    /// The service lacks the port.
    Port,
    /// No DestinationRule that holds defines the subset.
    Subset,
    /// The port speaks TLS, and no DestinationRule says how that is begun.
    ///
    /// Nothing may be sent in clear text instead.
    PortTls(PortProtocol),
}

/// What a DestinationRule says about a cluster.
struct Shape<'r> {
    labels: Labels,
    service_policy: Option<PolicyOf<'r>>,
    subset_policy: Option<PolicyOf<'r>>,
    origin: Option<Origin>,
}

impl<'r> Shape<'r> {
    /// `None`: the subset is not defined.
    fn of(key: &ClusterKey, rule: Option<&'r MergedRule>) -> Option<Self> {
        let service_policy = rule.and_then(MergedRule::traffic_policy);
        let of_service = Self {
            labels: Labels::new(),
            service_policy: service_policy.map(|(rule, policy)| (&rule.meta.reference, policy)),
            subset_policy: None,
            origin: service_policy
                .map(|(rule, policy)| rule.meta.origin("spec.trafficPolicy".into(), policy.at)),
        };
        let Some(subset) = &key.subset else {
            return Some(of_service);
        };
        let (rule, index, subset) = rule?.subset(subset)?;
        Some(Self {
            labels: subset.labels.clone(),
            subset_policy: subset
                .traffic_policy
                .as_ref()
                .map(|policy| (&rule.meta.reference, policy)),
            origin: Some(
                rule.meta
                    .origin(format!("spec.subsets[{index}]"), subset.at),
            ),
            ..of_service
        })
    }

    fn policy(&self, port: u16) -> EffectivePolicy<'r> {
        EffectivePolicy::of(self.service_policy, self.subset_policy, port)
    }

    /// Nothing may be sent in clear text to a port that speaks TLS, unless a DestinationRule wants just that.
    fn refuse_clear_text(&self, traffic: Traffic, port: &PortView) -> Result<(), NoCluster> {
        let is_told = self.policy(port.number).tls.is_some();
        if traffic == Traffic::Http && port.protocol.is_tls() && !is_told {
            return Err(NoCluster::PortTls(port.protocol));
        }
        Ok(())
    }

    fn cluster(
        self,
        key: ClusterKey,
        service: &ServiceView,
        port: &PortView,
        options: &CompileOptions,
    ) -> Cluster {
        let CompileOptions {
            proxy,
            mesh,
            forbidden,
            ..
        } = options;
        let policy = self.policy(key.port);
        let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
        let tls = policy.tls.map(|(_, tls)| tls);
        Cluster {
            service_host: key.host.clone(),
            namespace: service.namespace().clone(),
            service_name: service.display_name(),
            protocol: protocol(port, http, tls, options),
            subset_labels: self.labels,
            load_balancing: balancing::load_balancing(policy.load_balancer),
            localities: balancing::localities(
                policy.load_balancer,
                policy.outlier_detection.is_some(),
                proxy,
            ),
            warmup: policy.load_balancer.and_then(balancing::warmup),
            pool: pool::connection_pool(&policy, mesh),
            outlier_detection: policy.outlier_detection.map(without_place),
            tls: upstream_tls::security(tls, &key, service, options),
            tunnel: policy.of_all_ports.tunnel.map(|tunnel| TunnelSettings {
                at: At::default(),
                ..tunnel.clone()
            }),
            proxy_protocol: policy.of_all_ports.proxy_protocol,
            on_demand: on_demand(service, port, forbidden).map(Arc::new),
            headless: matches!(&service.source, Source::Service(service) if service.headless),
            from_sidecar: false,
            origin: self.origin.map(Arc::new),
            key,
        }
    }
}

/// Endpoints that are found when a client asks for them: those of a ServiceEntry that has none of its own.
///
/// Source: Istio `ServiceEntry.resolution` `NONE` and `DYNAMIC_DNS`.
fn on_demand(
    service: &ServiceView,
    port: &PortView,
    forbidden: &ForbiddenNetworks,
) -> Option<OnDemand> {
    let Source::Entry(entry) = &service.source else {
        return None;
    };
    let pattern = HostPattern::try_from(&*service.host).ok()?;
    let own = pattern.ip().map(IpNet::from);
    let names = match entry.resolution {
        Resolution::DynamicDns => Some(pattern),
        Resolution::None => Some(pattern).filter(HostPattern::is_wildcard),
        _ => return None,
    };
    let has_any = names.is_some() || !entry.addresses.is_empty();
    let addresses = entry.addresses.iter().copied().chain(own);
    has_any.then(|| OnDemand {
        names,
        addresses: addresses.map(without_clothes).collect(),
        any_address: false,
        port: Some(port.target),
        forbidden: forbidden.clone(),
    })
}

/// TLS that a DestinationRule asks for has HTTP inside; TLS of the client's own has nobody knows what. A sidecar looks at
/// what its workload speaks where nothing is said, and speaks the same.
fn protocol(
    port: &PortView,
    http: Option<&HttpSettings>,
    tls: Option<&ClientTlsSettings>,
    options: &CompileOptions,
) -> UpstreamProtocol {
    if port.protocol.is_tls() && tls.is_none() {
        return UpstreamProtocol::Tcp;
    }
    if http.is_some_and(|http| http.use_client_protocol) {
        return UpstreamProtocol::AsClient;
    }
    let upgraded = match http.map(|http| http.h2_upgrade_policy).unwrap_or_default() {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => options.mesh.h2_upgrade && port.protocol.is_http(),
    };
    let is_told_by_client = options.sidecar.is_some() && port.protocol == PortProtocol::Unspecified;
    if upgraded {
        UpstreamProtocol::Http2
    } else if is_told_by_client {
        UpstreamProtocol::AsClient
    } else {
        port.upstream()
    }
}

/// Where a block stands does not matter to a cluster, which would change with every line above it.
fn without_place(block: &OutlierDetection) -> OutlierDetection {
    OutlierDetection {
        at: At::default(),
        ..block.clone()
    }
}
