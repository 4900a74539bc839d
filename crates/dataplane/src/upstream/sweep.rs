//! What happens to clusters as time goes by: ejected endpoints come back, new ones become warm.

use super::{Cluster, Upstream};
use crate::Shared;
use ahash::HashMap;
use rules::{ClusterKey, EndpointAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use traffic::{Cause, Ejection, EndpointState, Observed};

/// How often clusters are looked at. The least time that intervals of outlier detection can keep.
const EVERY: Duration = Duration::from_millis(100);

/// Looks after the clusters in force until `shared` is gone.
pub(crate) async fn sweep(shared: Weak<Shared>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let snapshot = shared.snapshot();
        let now = tokio::time::Instant::now().into_std();
        let mut of_hosts: HashMap<ClusterKey, usize> = HashMap::default();
        for host in shared.on_demand.swept(&snapshot) {
            host.sweep(now);
            let ejected = host.ejected();
            if ejected > 0 {
                *of_hosts.entry(host.definition.key.clone()).or_default() += ejected;
            }
        }
        for cluster in snapshot.swept() {
            cluster.sweep(now);
            let of_hosts = of_hosts.get(&cluster.definition.key);
            cluster.tell_ejected(cluster.ejected() + of_hosts.copied().unwrap_or_default());
        }
    }
}

impl Cluster {
    fn sweep(&self, now: Instant) {
        for returned in self.kept.outlier.sweep(&self.endpoints, now) {
            let member = &self.endpoints.members()[returned.index];
            tracing::info!(cluster = %self.name, endpoint = %member.value.address, "back in rotation");
        }
        // Not only while endpoints warm up: one may have been ejected from the endpoints that were in force before.
        self.endpoints.refresh(now);
    }

    fn tell_ejected(&self, ejected: usize) {
        let metric = self.kept.metrics.ejected();
        metric.set(i64::try_from(ejected).unwrap_or(i64::MAX));
    }

    /// Takes note of how an attempt at an endpoint went, which may cost the endpoint its place.
    pub(crate) fn observe(&self, shared: &Shared, index: usize, observed: Observed) {
        if self.definition.outlier_detection.is_none() {
            return;
        }
        let Some(member) = self.endpoints.members().get(index) else {
            return;
        };
        if let Some(cause) = self.kept.outlier.record(&member.state, observed) {
            // The request may be older than the endpoints in force.
            if let Some(cluster) = self.in_force(shared) {
                cluster.eject(&member.state, cause);
            }
        }
    }

    /// What it is by now.
    fn in_force(&self, shared: &Shared) -> Option<Arc<Self>> {
        let key = &self.definition.key;
        match self.asked() {
            Some(target) => shared.on_demand.present(key, target),
            None => shared.snapshot().clusters.get(key).cloned(),
        }
    }

    /// Active checks have found out something about an endpoint.
    pub(crate) fn note_health(&self, address: &EndpointAddr, healthy: bool) {
        let mut members = self.endpoints.members().iter();
        let Some(member) = members.find(|member| member.value.address == *address) else {
            return;
        };
        if member.state.set_unhealthy(!healthy) {
            let now = tokio::time::Instant::now().into_std();
            self.endpoints.refresh(now);
        }
    }

    fn eject(&self, endpoint: &Arc<EndpointState>, cause: Cause) {
        let now = tokio::time::Instant::now().into_std();
        let outlier = &self.kept.outlier;
        if let Some(ejection) = outlier.eject(&self.endpoints, endpoint, cause, now) {
            self.tell(&ejection, now);
        }
    }

    fn tell(&self, ejection: &Ejection, now: Instant) {
        let metrics = &self.kept.metrics;
        metrics.ejections(ejection.cause.as_str()).inc();
        metrics.ejected().inc();
        let Some(member) = self.endpoints.members().get(ejection.index) else {
            return;
        };
        let upstream: &Upstream = &member.value;
        tracing::warn!(
            cluster = %self.name,
            endpoint = %upstream.address,
            cause = ejection.cause.as_str(),
            times = ejection.times,
            back_in = ?ejection.until.saturating_duration_since(now),
            "ejected",
        );
    }
}

/// Starts looking after the clusters of `shared`, when there is a runtime to do it in.
pub(crate) fn start(shared: &Arc<Shared>) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(sweep(Arc::downgrade(shared)));
    }
}
