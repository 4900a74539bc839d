//! What of the HTTP data plane can be set, with its defaults.

use http::HeaderValue;
use ipnet::IpNet;
use rules::PathNormalization;
use std::net::IpAddr;
use std::time::Duration;
use telemetry::metrics::Workload;

/// Limits and habits of the HTTP data plane. What is below HTTP stands in [`crate::net::Limits`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads of the runtime. Scales the number of idle upstream connections. Default 1.
    pub threads: usize,
    /// Headers of a request; more is answered 431. Default 100, as Envoy.
    pub max_headers: usize,
    /// Bytes of a request head; more is answered 431. Default 60 KiB, as Envoy.
    pub max_head_bytes: usize,
    /// How long a client may pause within a request body, or leave response bytes unread. Default 5 min.
    pub stream_idle_timeout: Duration,
    /// How long the rest of a body that nobody wants is read, so that the connection can be kept. Default 5 s.
    pub drain_timeout: Duration,
    /// How long nothing may move on a connection whose bytes are forwarded (TCP, TLS that goes through).
    /// Absent: for ever. Default 1 h, as Istio.
    pub tcp_idle_timeout: Option<Duration>,
    /// How long an HTTP/2 connection without streams is kept. Default 1 h, as Istio.
    pub http2_idle_timeout: Duration,
    /// Streams of one downstream HTTP/2 connection at a time. Default 100.
    pub http2_streams: u32,
    /// Idle upstream connections kept, for each thread, over all clusters. Default 4,096.
    pub idle_upstream_connections: usize,
    /// What the path is normalised to before rules see it. Default `Base`, as Istio.
    pub path_normalization: PathNormalization,
    /// The `server` header of every response. Default `istio-envoy`, as an Istio gateway.
    pub server: HeaderValue,
    /// Peers whose `x-forwarded-*`, `x-request-id` and `x-envoy-*` headers are believed. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// How many proxies stand before this one, whatever their addresses: the client's address is this
    /// many entries from the right of `x-forwarded-for`, and the headers above are believed. Default 0.
    ///
    /// Source: Istio `gatewayTopology.numTrustedProxies`.
    pub num_trusted_proxies: usize,
    /// What becomes of `x-forwarded-client-cert`. Default `SanitizeSet`, as an Istio gateway.
    pub forward_client_cert: ForwardClientCert,
    /// The answer to a request for a host that the TLS server of its connection does not serve. Default 421.
    pub misdirected: Misdirected,
    /// Whether a mirrored request's host gets `-shadow` appended, as Istio did before 1.28. Default: no.
    pub shadow_host_suffix: bool,
    /// Mirrored requests in flight at most; more are dropped and counted. Default 256.
    pub max_mirrors: usize,
    /// How long a mirrored request may take. Default 15 s.
    pub mirror_timeout: Duration,
    /// Who the gateway is in Istio's metrics.
    pub workload: Workload,
}

/// What becomes of `x-forwarded-client-cert`. A connection counts as mutual when its client was verified.
///
/// Source: Istio `gatewayTopology.forwardClientCertDetails`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ForwardClientCert {
    /// It is set from the client's certificate on mutual connections. On others it is removed, unless a hop
    /// that is believed has sent it.
    #[default]
    SanitizeSet,
    /// It is removed.
    Sanitize,
    /// It is passed on from mutual connections, and from hops that are believed.
    ForwardOnly,
    /// On mutual connections the client's certificate is appended to it. On others as with `SanitizeSet`.
    AppendForward,
    /// It is passed on, whoever has sent it.
    AlwaysForwardOnly,
}

/// The answer to a request that came over a connection for somebody else (promise 13).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Misdirected {
    /// 421: the client asks again on a connection of its own.
    #[default]
    Status421,
    /// 404, as Istio.
    NotFound,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            max_headers: 100,
            max_head_bytes: 60 * 1024,
            stream_idle_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(5),
            tcp_idle_timeout: Some(Duration::from_secs(3600)),
            http2_idle_timeout: Duration::from_secs(3600),
            http2_streams: 100,
            idle_upstream_connections: 4096,
            path_normalization: PathNormalization::default(),
            server: HeaderValue::from_static("istio-envoy"),
            trusted_proxies: Vec::new(),
            num_trusted_proxies: 0,
            forward_client_cert: ForwardClientCert::default(),
            misdirected: Misdirected::default(),
            shadow_host_suffix: false,
            max_mirrors: 256,
            mirror_timeout: Duration::from_secs(15),
            workload: Workload::default(),
        }
    }
}

impl Settings {
    /// Whether what this peer says about a request's origin is believed (promise 14).
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.num_trusted_proxies > 0 || self.names(peer)
    }

    /// Whether this address was named as a proxy.
    pub(crate) fn names(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|net| net.contains(&address.to_canonical()))
    }
}
