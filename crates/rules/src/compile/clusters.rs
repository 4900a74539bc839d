//! Clusters: a service port or subset with the policy that holds for it.

use super::Mesh;
use super::destination_rules::MergedRule;
use super::policy::{EffectivePolicy, PolicyOf};
use super::resolve::Resolved;
use super::services::{PortView, ServiceView};
use crate::{Cluster, ClusterKey, LoadBalancing, NO_IDLE_LIMIT, UpstreamProtocol};
use ahash::{HashMap, HashMapExt};
use model::{
    ClientTlsMode, ConnectionPoolSettings, H2UpgradePolicy, HttpSettings, Labels,
    LoadBalancerPolicy, LoadBalancerSettings, Origin, PortProtocol, ResourceRef, SimpleLb,
};
use std::sync::Arc;
use std::time::Duration;

const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

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
        mesh: &Mesh,
    ) -> Result<Arc<Cluster>, NoCluster> {
        let service = resolved.service.as_ref().ok_or(NoCluster::Service)?;
        let port = service.port(key.port).ok_or(NoCluster::Port)?;
        let shape = Shape::of(&key, resolved.rule.as_ref()).ok_or(NoCluster::Subset)?;
        shape.refuse_tls(traffic, port)?;
        Ok(self.keep(shape.cluster(key, service, port, mesh)))
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
    /// Requests: in clear, so none may go to a port that speaks TLS.
    Http,
    /// What clients send, as they send it.
    Bytes,
    /// As [`Self::Bytes`], in the mesh's TLS already, so that no DestinationRule adds any.
    MeshTls,
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
    /// A DestinationRule asks for TLS, which is not spoken to upstreams yet.
    ///
    /// Nothing may be sent in clear text instead.
    RuleTls(ClientTlsMode, ResourceRef),
    /// The port speaks TLS, which is not spoken to upstreams yet.
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

    /// No TLS is begun here, so nothing may be sent that needs it.
    fn refuse_tls(&self, traffic: Traffic, port: &PortView) -> Result<(), NoCluster> {
        if traffic != Traffic::MeshTls
            && let Some((rule, tls)) = self.policy(port.number).tls
            && tls.mode != ClientTlsMode::Disable
        {
            return Err(NoCluster::RuleTls(tls.mode, rule.clone()));
        }
        if traffic == Traffic::Http && port.protocol.is_tls() {
            return Err(NoCluster::PortTls(port.protocol));
        }
        Ok(())
    }

    fn cluster(
        self,
        key: ClusterKey,
        service: &ServiceView,
        port: &PortView,
        mesh: &Mesh,
    ) -> Cluster {
        let policy = self.policy(key.port);
        let tcp = policy.connection_pool.and_then(|pool| pool.tcp.as_ref());
        let http = policy.connection_pool.and_then(|pool| pool.http.as_ref());
        Cluster {
            key,
            namespace: service.namespace().clone(),
            service_name: service.display_name(),
            protocol: protocol(port, http, mesh),
            subset_labels: self.labels,
            load_balancing: load_balancing(policy.load_balancer),
            connect_timeout: tcp
                .and_then(|tcp| tcp.connect_timeout)
                .unwrap_or(mesh.connect_timeout),
            idle_timeout: idle_timeout(policy.connection_pool),
            origin: self.origin.map(Arc::new),
        }
    }
}

fn protocol(port: &PortView, http: Option<&HttpSettings>, mesh: &Mesh) -> UpstreamProtocol {
    if port.protocol.is_tls() {
        return UpstreamProtocol::Tcp;
    }
    if http.is_some_and(|http| http.use_client_protocol) {
        return UpstreamProtocol::AsClient;
    }
    let upgraded = match http.map(|http| http.h2_upgrade_policy).unwrap_or_default() {
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => mesh.h2_upgrade && port.protocol.is_http(),
    };
    if upgraded {
        UpstreamProtocol::Http2
    } else {
        port.upstream()
    }
}

fn load_balancing(settings: Option<&LoadBalancerSettings>) -> LoadBalancing {
    match settings.map(|settings| &settings.policy) {
        Some(LoadBalancerPolicy::Simple(SimpleLb::RoundRobin)) => LoadBalancing::RoundRobin,
        Some(LoadBalancerPolicy::Simple(SimpleLb::Random)) => LoadBalancing::Random,
        _ => LoadBalancing::LeastRequest,
    }
}

fn idle_timeout(pool: Option<&ConnectionPoolSettings>) -> Duration {
    let http = pool.and_then(|pool| pool.http.as_ref());
    match http.and_then(|http| http.idle_timeout) {
        None => IDLE_TIMEOUT,
        Some(Duration::ZERO) => NO_IDLE_LIMIT,
        Some(timeout) => timeout,
    }
}
