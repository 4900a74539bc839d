//! The metrics of clusters: what their limits held back, and who was ejected.

use super::own::Factory;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use std::sync::Arc;

/// Limits by which requests and connections are held back, as `limit` names them.
const LIMITS: [&str; 4] = ["connections", "pending", "requests", "retries"];

/// Why endpoints are ejected, as `cause` names it.
const CAUSES: [&str; 3] = [
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
];

/// The metrics of all clusters. Series begin when there is something to count.
#[derive(Clone, Debug)]
pub(super) struct ClusterVectors {
    overflows: IntCounterVec,
    ejections: IntCounterVec,
    ejected: IntGaugeVec,
}

/// The metrics of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    name: Arc<str>,
    vectors: ClusterVectors,
}

impl ClusterVectors {
    pub(super) fn register(new: &Factory<'_>) -> Self {
        Self {
            overflows: new.counters(
                "tidegate_upstream_overflow_total",
                "Requests, connections and retries held back by a limit of the connection pool.",
                &["cluster", "limit"],
            ),
            ejections: new.counters(
                "tidegate_ejections_total",
                "Endpoints taken out of rotation because they failed.",
                &["cluster", "cause"],
            ),
            ejected: new.gauges(
                "tidegate_ejected_endpoints",
                "Endpoints that are out of rotation because they failed.",
                &["cluster"],
            ),
        }
    }

    pub(super) fn of(&self, name: &Arc<str>) -> ClusterMetrics {
        ClusterMetrics {
            name: name.clone(),
            vectors: self.clone(),
        }
    }

    pub(super) fn forget(&self, cluster: &str) {
        // Each fails only where there is nothing to remove.
        for limit in LIMITS {
            let _ = self.overflows.remove_label_values(&[cluster, limit]);
        }
        for cause in CAUSES {
            let _ = self.ejections.remove_label_values(&[cluster, cause]);
        }
        let _ = self.ejected.remove_label_values(&[cluster]);
    }
}

impl ClusterMetrics {
    /// `tidegate_upstream_overflow_total`: `limit` is `connections`, `pending`, `requests` or `retries`.
    pub fn overflow(&self, limit: &'static str) -> IntCounter {
        self.vectors
            .overflows
            .with_label_values(&[&*self.name, limit])
    }

    /// `tidegate_ejections_total`: `cause` is Envoy's word for it.
    pub fn ejections(&self, cause: &'static str) -> IntCounter {
        self.vectors
            .ejections
            .with_label_values(&[&*self.name, cause])
    }

    /// `tidegate_ejected_endpoints`.
    pub fn ejected(&self) -> IntGauge {
        self.vectors.ejected.with_label_values(&[&*self.name])
    }
}

#[cfg(test)]
mod tests {
    use crate::Metrics;
    use std::sync::Arc;

    #[test]
    fn a_cluster_that_is_gone_leaves_no_series() {
        let metrics = Metrics::new("test");
        let name: Arc<str> = "outbound|80||shop.test".into();
        let cluster = metrics.own().cluster(&name);
        cluster.overflow("pending").inc();
        cluster.ejections("consecutive_5xx").inc();
        cluster.ejected().set(1);
        let page = metrics.text();
        assert!(page.contains(r#"tidegate_upstream_overflow_total{cluster="outbound|80||shop.test",limit="pending"} 1"#));
        metrics.own().forget_cluster(&name);
        assert!(!metrics.text().contains("shop.test"));
    }
}
