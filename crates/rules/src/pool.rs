//! Limits and times of a cluster's connections and requests: Istio's `ConnectionPoolSettings`, compiled.

use model::{Http2KeepAlive, RetryBudget, TcpKeepalive};
use std::time::Duration;

/// Stands for "no limit" as an idle time: a year, so that clocks can be added to.
pub const NO_IDLE_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long an unused connection for requests is kept when nothing is said.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// How long a connection may take when nothing is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits and times of connections and requests. Limits hold for one cluster in one process.
///
/// Source: Istio `ConnectionPoolSettings`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionPool {
    /// Connections at one time. Absent: no limit.
    ///
    /// Source: Istio `TCPSettings.max_connections`.
    pub max_connections: Option<u32>,
    /// How long a connection may take to come about, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// Probes of the kernel on connections on which nothing moves. Absent: none.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection lives before it is used no more. Absent: no limit.
    pub max_connection_duration: Option<Duration>,
    /// How long nothing may move on a connection whose bytes are forwarded. [`NO_IDLE_LIMIT`] for no limit.
    /// Absent: as the proxy says.
    pub tcp_idle_timeout: Option<Duration>,
    /// Requests that wait for a connection while there are `max_connections`. Absent: no limit.
    pub max_pending_requests: Option<u32>,
    /// Requests at one time. Absent: no limit.
    pub max_requests: Option<u32>,
    /// Requests after which a connection is closed; 1: none is kept. Absent: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Retries at one time. Absent: no limit. A [`RetryBudget`] takes its place.
    pub max_retries: Option<u32>,
    /// Bounds retries by what else is going on.
    ///
    /// Source: Istio `TrafficPolicy.retry_budget`.
    pub retry_budget: Option<RetryBudget>,
    /// How long an unused connection is kept. Default 1 h; [`NO_IDLE_LIMIT`] for no limit.
    pub idle_timeout: Duration,
    /// Requests at one time on one HTTP/2 connection. Absent: no limit of the configuration's.
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 pings. Absent: none.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

impl Default for ConnectionPool {
    fn default() -> Self {
        Self {
            max_connections: None,
            connect_timeout: CONNECT_TIMEOUT,
            tcp_keepalive: None,
            max_connection_duration: None,
            tcp_idle_timeout: None,
            max_pending_requests: None,
            max_requests: None,
            max_requests_per_connection: None,
            max_retries: None,
            retry_budget: None,
            idle_timeout: IDLE_TIMEOUT,
            max_concurrent_streams: None,
            http2_keep_alive: None,
        }
    }
}
