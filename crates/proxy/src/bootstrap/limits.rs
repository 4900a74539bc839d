//! `[limits]` and `[topology]`: what a client may take, and which hops before the gateway are believed.

use super::{Mesh, duration};
use dataplane::Settings;
use dataplane::net;
use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// More of anything is a mistake, and no limit.
const MANY: u64 = 1_000_000;

/// A head is held in memory as a whole, once for each connection.
const MAX_HEAD_BYTES: u64 = 16 << 20;

/// What a map of headers can hold.
const MAX_HEADERS: u64 = 16_384;

/// What clients may take. Absent keys have the data plane's defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Downstream connections of the process.
    #[serde(deserialize_with = "between::<_, _, 1, MANY>")]
    connections: Option<usize>,
    /// Downstream connections of one client address.
    #[serde(deserialize_with = "between::<_, _, 1, MANY>")]
    connections_per_client: Option<usize>,
    /// Bytes of a request head.
    #[serde(deserialize_with = "between::<_, _, 1024, MAX_HEAD_BYTES>")]
    head_bytes: Option<usize>,
    /// Headers of a request.
    #[serde(deserialize_with = "between::<_, _, 1, MAX_HEADERS>")]
    headers: Option<usize>,
    /// From a request's first byte to the end of its head.
    #[serde(deserialize_with = "some_duration")]
    head_timeout: Option<Duration>,
    /// From a connection's acceptance to the end of its TLS handshake.
    #[serde(deserialize_with = "some_duration")]
    handshake_timeout: Option<Duration>,
    /// TLS handshakes at the same time.
    #[serde(deserialize_with = "between::<_, _, 1, MANY>")]
    handshakes: Option<usize>,
    /// How long a connection may wait for its next request.
    #[serde(deserialize_with = "some_duration")]
    idle_timeout: Option<Duration>,
    /// How long nothing may move on a TCP connection. `0s`: for ever.
    #[serde(deserialize_with = "super::duration_or_none")]
    tcp_idle_timeout: Option<Duration>,
    /// How long a client may pause within a body.
    #[serde(deserialize_with = "some_duration")]
    stream_idle_timeout: Option<Duration>,
    /// Streams of one HTTP/2 connection at a time.
    #[serde(deserialize_with = "between::<_, _, 1, MANY>")]
    http2_streams: Option<u32>,
    /// Mirrored requests in flight.
    #[serde(deserialize_with = "between::<_, _, 0, MANY>")]
    mirrors: Option<usize>,
    /// Idle upstream connections kept for each thread.
    #[serde(deserialize_with = "between::<_, _, 1, MANY>")]
    idle_upstream_connections: Option<usize>,
}

/// Istio's `gatewayTopology`: the proxies before this one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Topology {
    /// Peers whose forwarding headers are believed.
    trusted_proxies: Vec<IpNet>,
    /// How many proxies stand before this one, whatever their addresses.
    num_trusted_proxies: usize,
    /// Peers whose connections begin with a header of the PROXY protocol.
    proxy_protocol_from: Vec<IpNet>,
    /// What becomes of `x-forwarded-client-cert`.
    forward_client_cert: ForwardClientCert,
}

/// The same at a sidecar, where clients in the mesh's TLS are believed anyway. A number of proxies would have everybody
/// believed who connects in clear, and the mesh's certificates alone tell the application who its clients are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SidecarTopology {
    /// Peers whose forwarding headers are believed, though they come in clear.
    trusted_proxies: Vec<IpNet>,
    /// Peers whose connections begin with a header of the PROXY protocol.
    proxy_protocol_from: Vec<IpNet>,
}

impl From<SidecarTopology> for Topology {
    fn from(of: SidecarTopology) -> Self {
        Self {
            trusted_proxies: of.trusted_proxies,
            proxy_protocol_from: of.proxy_protocol_from,
            ..Self::default()
        }
    }
}

/// Istio's `forwardClientCertDetails`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ForwardClientCert {
    #[default]
    SanitizeSet,
    Sanitize,
    ForwardOnly,
    AppendForward,
    AlwaysForwardOnly,
}

impl From<ForwardClientCert> for dataplane::ForwardClientCert {
    fn from(written: ForwardClientCert) -> Self {
        match written {
            ForwardClientCert::SanitizeSet => Self::SanitizeSet,
            ForwardClientCert::Sanitize => Self::Sanitize,
            ForwardClientCert::ForwardOnly => Self::ForwardOnly,
            ForwardClientCert::AppendForward => Self::AppendForward,
            ForwardClientCert::AlwaysForwardOnly => Self::AlwaysForwardOnly,
        }
    }
}

impl Limits {
    /// What is limited below HTTP.
    pub fn of_connections(&self, topology: &Topology, mesh: &Mesh) -> net::Limits {
        let default = net::Limits::default();
        net::Limits {
            connections: self.connections.unwrap_or(default.connections),
            connections_per_client: self.connections_per_client,
            head_bytes: self.head_bytes.unwrap_or(default.head_bytes),
            head_timeout: self.head_timeout.unwrap_or(default.head_timeout),
            handshake_timeout: self.handshake_timeout.unwrap_or(default.handshake_timeout),
            protocol_detection_timeout: mesh.protocol_detection_timeout,
            handshakes: self.handshakes.unwrap_or(default.handshakes),
            idle_timeout: self.idle_timeout.unwrap_or(default.idle_timeout),
            proxy_protocol_from: topology.proxy_protocol_from.clone(),
        }
    }

    /// The data plane's settings with these limits.
    pub fn of_requests(&self, topology: &Topology) -> Settings {
        let default = Settings::default();
        Settings {
            max_headers: self.headers.unwrap_or(default.max_headers),
            max_head_bytes: self.head_bytes.unwrap_or(default.max_head_bytes),
            stream_idle_timeout: self
                .stream_idle_timeout
                .unwrap_or(default.stream_idle_timeout),
            tcp_idle_timeout: match self.tcp_idle_timeout {
                None => default.tcp_idle_timeout,
                Some(timeout) => Some(timeout).filter(|timeout| !timeout.is_zero()),
            },
            http2_idle_timeout: self.idle_timeout.unwrap_or(default.http2_idle_timeout),
            http2_streams: self.http2_streams.unwrap_or(default.http2_streams),
            max_mirrors: self.mirrors.unwrap_or(default.max_mirrors),
            idle_upstream_connections: self
                .idle_upstream_connections
                .unwrap_or(default.idle_upstream_connections),
            trusted_proxies: topology.trusted_proxies.clone(),
            num_trusted_proxies: topology.num_trusted_proxies,
            forward_client_cert: topology.forward_client_cert.into(),
            ..default
        }
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let duration = duration(deserializer)?;
    if duration.is_zero() {
        return Err(D::Error::custom("must be longer than 0s"));
    }
    Ok(Some(duration))
}

/// A number that is not less than `MIN` and not more than `MAX`.
fn between<'de, D, N, const MIN: u64, const MAX: u64>(
    deserializer: D,
) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let number = i64::deserialize(deserializer)?;
    let within = u64::try_from(number)
        .ok()
        .filter(|number| (MIN..=MAX).contains(number));
    match within.and_then(|number| N::try_from(number).ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(D::Error::custom(format_args!(
            "{number} is not allowed here, only {MIN} to {MAX}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_has_the_data_planes_default() {
        let limits: Limits = toml::from_str("head-timeout = '2s'\nheaders = 7").unwrap();
        let connections = limits.of_connections(&Topology::default(), &Mesh::default());
        let requests = limits.of_requests(&Topology::default());
        assert_eq!(connections.head_timeout, Duration::from_secs(2));
        assert_eq!(
            connections.idle_timeout,
            net::Limits::default().idle_timeout
        );
        assert_eq!(requests.max_headers, 7);
        assert!(requests.trusted_proxies.is_empty());
    }

    #[test]
    fn the_file_that_comes_with_the_gateway_says_the_defaults() {
        let text = include_str!("../../../../conf/gateway.toml");
        let written: crate::bootstrap::Bootstrap = toml::from_str(text).unwrap();
        let of = |limits: &Limits| {
            let connections = limits.of_connections(&Topology::default(), &Mesh::default());
            let requests = limits.of_requests(&Topology::default());
            format!("{connections:#?} {requests:#?}")
        };
        assert_eq!(of(&written.limits), of(&Limits::default()));
    }

    #[test]
    fn a_limit_that_would_serve_nobody_is_refused() {
        for (text, want) in [
            ("connections = 0", "only 1 to"),
            ("connections-per-client = 0", "only 1 to"),
            ("head-bytes = 1023", "only 1024 to"),
            ("headers = 0", "only 1 to"),
            ("http2-streams = 0", "only 1 to"),
            ("http2-streams = -1", "-1 is not allowed"),
            ("mirrors = 1000001", "only 0 to 1000000"),
            ("idle-upstream-connections = 0", "only 1 to"),
            ("head-timeout = '0s'", "longer than 0s"),
        ] {
            let refused = toml::from_str::<Limits>(text).unwrap_err();
            assert!(refused.message().contains(want), "{text}: {refused}");
            let value = text.find("= ").unwrap() + 2;
            assert_eq!(refused.span().unwrap().start, value, "{text}");
        }
        assert!(toml::from_str::<Limits>("mirrors = 0\nhead-bytes = 1024").is_ok());
    }

    #[test]
    fn proxies_are_trusted_by_network_or_by_number() {
        let text = "trusted-proxies = ['10.0.0.0/8', '::1/128']\nnum-trusted-proxies = 2";
        let topology: Topology = toml::from_str(text).unwrap();
        let settings = Limits::default().of_requests(&topology);
        assert_eq!(settings.trusted_proxies.len(), 2);
        assert_eq!(settings.num_trusted_proxies, 2);
        assert!(toml::from_str::<Topology>("trusted-proxies = ['10.0.0.0/33']").is_err());
    }

    #[test]
    fn what_becomes_of_client_certificates_is_spelled_as_istio_does() {
        let text = "forward-client-cert = 'APPEND_FORWARD'";
        let topology: Topology = toml::from_str(text).unwrap();
        let settings = Limits::default().of_requests(&topology);
        let want = dataplane::ForwardClientCert::AppendForward;
        assert_eq!(settings.forward_client_cert, want);
        assert!(toml::from_str::<Topology>("forward-client-cert = 'append'").is_err());
    }

    #[test]
    fn the_proxy_protocol_is_expected_of_named_networks() {
        let topology: Topology = toml::from_str("proxy-protocol-from = ['10.0.0.0/8']").unwrap();
        let limits = Limits::default().of_connections(&topology, &Mesh::default());
        assert_eq!(limits.proxy_protocol_from, topology.proxy_protocol_from);
        assert_eq!(limits.proxy_protocol_from.len(), 1);
    }

    #[test]
    fn silence_on_tcp_is_bounded_unless_it_is_zero() {
        let hour = Some(Duration::from_secs(3600));
        for (text, want) in [
            ("", hour),
            ("tcp-idle-timeout = '60s'", Some(Duration::from_secs(60))),
            ("tcp-idle-timeout = '0s'", None),
        ] {
            let limits: Limits = toml::from_str(text).unwrap();
            let settings = limits.of_requests(&Topology::default());
            assert_eq!(settings.tcp_idle_timeout, want, "{text}");
        }
    }
}
