//! What outlives changes of a cluster: limits, ejections, connections.

use super::connections::{Connections, UNLIMITED};
use super::streams::Streams;
use std::sync::Arc;
use std::time::Instant;
use telemetry::metrics::ClusterMetrics;
use traffic::{Limits, LimitsPolicy, Outlier, OutlierPolicy, RetryBudget};

/// The limit of a connection pool that held something back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Overflow {
    /// `maxConnections`, where nothing waits for one.
    Connections,
    /// `http1MaxPendingRequests`, while there are `maxConnections`.
    Pending,
    /// `http2MaxRequests`.
    Requests,
    /// `maxRetries`, or the retry budget.
    Retries,
}

impl Overflow {
    /// As metrics call it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Pending => "pending",
            Self::Requests => "requests",
            Self::Retries => "retries",
        }
    }

    /// As answers and logs call it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::Pending => "max_pending_requests",
            Self::Requests => "max_requests",
            Self::Retries => "max_retries",
        }
    }
}

/// What outlives changes of a cluster. The cluster before and the one after share it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) limits: Arc<Limits>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) outlier: Outlier,
    pub(crate) metrics: ClusterMetrics,
}

impl Kept {
    pub(super) fn new(cluster: &rules::Cluster, metrics: ClusterMetrics, now: Instant) -> Self {
        let limits = Arc::new(Limits::new(limits(cluster)));
        let connections = Arc::new(Connections::new(connections(cluster)));
        Self {
            streams: Arc::new(Streams::new(limits.clone(), connections.clone())),
            limits,
            connections,
            outlier: Outlier::new(outliers(cluster), now),
            metrics,
        }
    }

    /// Goes on under other rules.
    pub(super) fn follow(&self, cluster: &rules::Cluster) {
        self.limits.set(limits(cluster));
        self.connections.set_limit(connections(cluster));
        self.outlier.set_policy(outliers(cluster));
    }

    /// For a host of the cluster: limits and connections are those of the whole, ejections are its own.
    pub(super) fn of_host(&self, cluster: &rules::Cluster, now: Instant) -> Self {
        Self {
            limits: self.limits.clone(),
            connections: self.connections.clone(),
            streams: self.streams.clone(),
            outlier: Outlier::new(outliers(cluster), now),
            metrics: self.metrics.clone(),
        }
    }

    /// Whether what one has used the other has not any more.
    pub(super) fn shares_limits(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.limits, &other.limits)
    }

    /// Ejects by other rules.
    pub(super) fn judge_by(&self, cluster: &rules::Cluster) {
        self.outlier.set_policy(outliers(cluster));
    }

    /// A limit has held something back.
    pub(crate) fn overflow(&self, limit: Overflow) {
        self.metrics.overflow(limit.as_str()).inc();
    }
}

fn connections(cluster: &rules::Cluster) -> u32 {
    cluster.pool.max_connections.unwrap_or(UNLIMITED)
}

fn limits(cluster: &rules::Cluster) -> LimitsPolicy {
    let pool = &cluster.pool;
    let budget = pool.retry_budget.map(|budget| RetryBudget {
        percent: f64::from(budget.percent.parts_per_million()) / 10_000.0,
        min_concurrency: budget.min_retry_concurrency,
        interval: budget.budget_interval,
    });
    LimitsPolicy {
        max_connections: pool.max_connections.unwrap_or(UNLIMITED),
        max_pending: pool.max_pending_requests.unwrap_or(UNLIMITED),
        max_requests: pool.max_requests.unwrap_or(UNLIMITED),
        max_retries: pool.max_retries.unwrap_or(UNLIMITED),
        retry_budget: budget,
    }
}

/// Without a policy nobody is ejected, and who is comes back.
fn outliers(cluster: &rules::Cluster) -> OutlierPolicy {
    let Some(policy) = &cluster.outlier_detection else {
        return OutlierPolicy::off();
    };
    OutlierPolicy {
        consecutive_5xx: policy.consecutive_5xx_errors,
        consecutive_gateway: policy.consecutive_gateway_errors,
        split_local_origin: policy.split_external_local_origin_errors,
        consecutive_local_origin: policy.consecutive_local_origin_failures,
        interval: policy.interval,
        base_ejection_time: policy.base_ejection_time,
        max_ejection_percent: policy.max_ejection_percent,
        error_codes: policy.outlier_detection_http_error_codes.clone(),
    }
}
