//! Traffic policies: pools, ejection, TLS.

use super::LoadBalancerSettings;
use crate::{At, ClientTlsSettings, Percent};
use std::time::Duration;

/// How a service is spoken to. At least one block is there.
///
/// Source: Istio `TrafficPolicy`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrafficPolicy {
    /// Where it stands.
    pub at: At,
    /// Choice of endpoints.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits of connections and requests.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Ejection of failing endpoints. Absent: none.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to the endpoints. Absent: mesh TLS where both sides have it.
    pub tls: Option<ClientTlsSettings>,
    /// By service port: replaces the blocks above wholesale, also those it does not mention.
    pub port_level_settings: Vec<PortTrafficPolicy>,
    /// A forward proxy on the way. Excludes `proxy_protocol`.
    pub tunnel: Option<TunnelSettings>,
    /// The PROXY protocol header sent to endpoints.
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// Bounds retries; replaces `connectionPool.http.maxRetries`.
    pub retry_budget: Option<RetryBudget>,
}

impl TrafficPolicy {
    /// What holds for a service port instead of the policy's own blocks.
    pub fn port_settings(&self, port: u16) -> Option<&PortTrafficPolicy> {
        let mut settings = self.port_level_settings.iter();
        settings.find(|settings| settings.port == port)
    }
}

/// The policy of one service port.
///
/// Source: Istio `TrafficPolicy.PortTrafficPolicy`.
#[derive(Clone, Debug, PartialEq)]
pub struct PortTrafficPolicy {
    /// Where it stands.
    pub at: At,
    /// The service port, unique in its list.
    pub port: u16,
    /// Choice of endpoints.
    pub load_balancer: Option<LoadBalancerSettings>,
    /// Limits of connections and requests.
    pub connection_pool: Option<ConnectionPoolSettings>,
    /// Ejection of failing endpoints.
    pub outlier_detection: Option<OutlierDetection>,
    /// TLS to the endpoints.
    pub tls: Option<ClientTlsSettings>,
}

/// Limits of connections and requests, per cluster and proxy process. At least one block is there.
///
/// Source: Istio `ConnectionPoolSettings`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionPoolSettings {
    /// Where it stands.
    pub at: At,
    /// For connections.
    pub tcp: Option<TcpSettings>,
    /// For requests.
    pub http: Option<HttpSettings>,
}

/// Source: Istio `ConnectionPoolSettings.TCPSettings`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TcpSettings {
    /// Connections at one time. Absent or 0 in the source: no limit.
    pub max_connections: Option<u32>,
    /// Absent: 10 s.
    pub connect_timeout: Option<Duration>,
    /// Absent: off. An empty block turns it on with the system's numbers.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection lives. Absent: no limit.
    pub max_connection_duration: Option<Duration>,
    /// Of TCP proxying. Absent: 1 h. Zero: no limit.
    pub idle_timeout: Option<Duration>,
}

/// Source: Istio `TCPSettings.TcpKeepalive`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TcpKeepalive {
    /// Unanswered probes until the connection is dead. Absent: the system's, 9.
    pub probes: Option<u32>,
    /// Idle time before the first. Absent: the system's, 2 h.
    pub time: Option<Duration>,
    /// Between two. Absent: the system's, 75 s.
    pub interval: Option<Duration>,
}

/// Source: Istio `ConnectionPoolSettings.HTTPSettings`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HttpSettings {
    /// Requests that wait for a connection. Absent or 0 in the source: no limit.
    pub http1_max_pending_requests: Option<u32>,
    /// Requests at one time, of HTTP/1 too. Absent or 0 in the source: no limit.
    pub http2_max_requests: Option<u32>,
    /// Requests after which a connection is closed; 1: no keep-alive. Absent or 0: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Retries at one time. Absent or 0: no limit.
    pub max_retries: Option<u32>,
    /// How long an unused connection is kept. Absent: 1 h. Zero: no limit.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1 ports are spoken to in HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Speak what the client spoke; beats `h2_upgrade_policy`. Default false.
    pub use_client_protocol: bool,
    /// Streams of one HTTP/2 connection. Absent or 0: no limit of ours.
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 pings. Absent: off.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// Source: Istio `HTTPSettings.H2UpgradePolicy`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum H2UpgradePolicy {
    /// The mesh's, which is not to.
    #[default]
    Default,
    /// Not.
    DoNotUpgrade,
    /// Always.
    Upgrade,
}

/// HTTP/2 pings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Http2KeepAlive {
    /// Between two.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Ejection of endpoints that fail.
///
/// Source: Istio `OutlierDetection`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutlierDetection {
    /// Where it stands.
    pub at: At,
    /// Failures in a row, 5xx or no answer. Default 5. 0: off.
    pub consecutive_5xx_errors: u32,
    /// 502, 503, 504 or no answer in a row. Default 0: off.
    pub consecutive_gateway_errors: u32,
    /// Count missing answers in `consecutive_local_origin_failures` only. Default false.
    pub split_external_local_origin_errors: bool,
    /// Missing answers in a row. Default 5. 0: off.
    pub consecutive_local_origin_failures: u32,
    /// Between two sweeps, which let endpoints back in. Default 10 s.
    pub interval: Duration,
    /// Times the number of ejections in a row is how long an endpoint is out. Default 30 s.
    pub base_ejection_time: Duration,
    /// Greatest share of endpoints that may be out, 0 to 100. Default 10, also for 0.
    pub max_ejection_percent: u8,
    /// Below this share of healthy ones, nothing is ejected any more, 0 to 100. Default 0: off.
    pub min_health_percent: u8,
    /// Statuses that count as failures instead of 5xx, each 100 to 599. Empty: 5xx.
    pub outlier_detection_http_error_codes: Vec<u16>,
}

impl Default for OutlierDetection {
    /// What an empty block means.
    fn default() -> Self {
        Self {
            at: At::default(),
            consecutive_5xx_errors: 5,
            consecutive_gateway_errors: 0,
            split_external_local_origin_errors: false,
            consecutive_local_origin_failures: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
            outlier_detection_http_error_codes: Vec::new(),
        }
    }
}

/// A forward proxy on the way.
///
/// Source: Istio `TrafficPolicy.TunnelSettings`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TunnelSettings {
    /// Where it stands.
    pub at: At,
    /// Default CONNECT.
    pub protocol: TunnelProtocol,
    /// What the proxy is asked for: a name or an address.
    pub target_host: String,
    /// Its port.
    pub target_port: u16,
}

/// How a tunnel is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TunnelProtocol {
    /// HTTP CONNECT.
    #[default]
    Connect,
    /// HTTP POST.
    Post,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Binary.
    V2,
}

/// A bound of concurrent retries.
///
/// Source: Istio `TrafficPolicy.RetryBudget`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RetryBudget {
    /// Of active and pending requests. Default 20 %.
    pub percent: Percent,
    /// Always allowed. Default 3.
    pub min_retry_concurrency: u32,
    /// How long requests count. Default 0: those active now.
    pub budget_interval: Duration,
}
