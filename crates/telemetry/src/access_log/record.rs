//! One line of the access log, as plain values.

use super::ResponseFlags;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// What the access log tells of one request or TCP connection: Istio's default fields, then Tidegate's reason.
///
/// Everything is borrowed; making one costs nothing. What came over the network is bytes, since it
/// need not be UTF-8. An empty or absent value is written as `-` (text) or `null` (JSON).
#[derive(Clone, Copy)]
pub struct AccessRecord<'a> {
    /// `%START_TIME%`: when the first byte of the request came.
    pub start_time: SystemTime,
    /// `%REQ(:METHOD)%`; empty for TCP.
    pub method: &'a [u8],
    /// `%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%`: path and query as the client sent them; empty for TCP.
    pub path: &'a [u8],
    /// `%PROTOCOL%`: `HTTP/1.1`, `HTTP/2`; empty for TCP.
    pub protocol: &'a str,
    /// `%RESPONSE_CODE%`: sent downstream; 0 when none was.
    pub response_code: u16,
    /// `%RESPONSE_FLAGS%`
    pub flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`: `via_upstream`, `route_not_found`…
    pub response_code_details: &'a str,
    /// `%CONNECTION_TERMINATION_DETAILS%`
    pub connection_termination_details: &'a str,
    /// `%UPSTREAM_TRANSPORT_FAILURE_REASON%`
    pub upstream_transport_failure_reason: &'a str,
    /// `%BYTES_RECEIVED%`: of the request's body.
    pub bytes_received: u64,
    /// `%BYTES_SENT%`: of the response's body.
    pub bytes_sent: u64,
    /// `%DURATION%`: from the first byte of the request to the last of the response.
    pub duration: Duration,
    /// `%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%`: from the request's last byte to the upstream's first.
    pub upstream_service_time: Option<Duration>,
    /// `%REQ(X-FORWARDED-FOR)%`, as it went upstream.
    pub x_forwarded_for: &'a [u8],
    /// `%REQ(USER-AGENT)%`
    pub user_agent: &'a [u8],
    /// `%REQ(X-REQUEST-ID)%`
    pub request_id: &'a [u8],
    /// `%REQ(:AUTHORITY)%`
    pub authority: &'a [u8],
    /// `%UPSTREAM_HOST%`: the endpoint of the last attempt.
    pub upstream_host: Option<Address<'a>>,
    /// `%UPSTREAM_CLUSTER_RAW%`: `outbound|8000||httpbin.default.svc.cluster.local`.
    pub upstream_cluster: &'a str,
    /// `%UPSTREAM_LOCAL_ADDRESS%`
    pub upstream_local_address: Option<Address<'a>>,
    /// `%DOWNSTREAM_LOCAL_ADDRESS%`
    pub downstream_local_address: Option<Address<'a>>,
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`
    pub downstream_remote_address: Option<Address<'a>>,
    /// `%REQUESTED_SERVER_NAME%`: the SNI.
    pub requested_server_name: &'a str,
    /// `%ROUTE_NAME%`: the name of the VirtualService's route.
    pub route_name: &'a str,
    /// Tidegate's stable code for an answer that it made itself: `no_route`. Empty: the upstream's own.
    pub reason: &'a str,
    /// The configuration object that caused the answer, and where it stands:
    /// `VirtualService shop/checkout shop.yaml:14`.
    pub origin: Option<&'a (dyn Display + Sync)>,
}

impl AccessRecord<'_> {
    /// A record of nothing: every value absent, started at `start_time`.
    pub fn new(start_time: SystemTime) -> Self {
        Self {
            start_time,
            method: b"",
            path: b"",
            protocol: "",
            response_code: 0,
            flags: ResponseFlags::empty(),
            response_code_details: "",
            connection_termination_details: "",
            upstream_transport_failure_reason: "",
            bytes_received: 0,
            bytes_sent: 0,
            duration: Duration::ZERO,
            upstream_service_time: None,
            x_forwarded_for: b"",
            user_agent: b"",
            request_id: b"",
            authority: b"",
            upstream_host: None,
            upstream_cluster: "",
            upstream_local_address: None,
            downstream_local_address: None,
            downstream_remote_address: None,
            requested_server_name: "",
            route_name: "",
            reason: "",
            origin: None,
        }
    }
}

/// An address in the access log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Address<'a> {
    /// An IP address and port.
    Socket(SocketAddr),
    /// Anything else, already as text: a Unix socket's path.
    Text(&'a str),
}

impl From<SocketAddr> for Address<'_> {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}
