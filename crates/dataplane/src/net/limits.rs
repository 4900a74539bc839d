//! What one downstream connection, and all of them together, may take.

use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;

/// Limits below HTTP. Everything here has a bound (promise 19).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Downstream connections of the whole process. Beyond it new ones are closed at once. Default 50,000.
    pub connections: usize,
    /// Downstream connections of one client address. Absent, the default: no limit of its own,
    /// since many clients may stand behind one address.
    pub connections_per_client: Option<usize>,
    /// Bytes of an HTTP/1 request head, request line included. Default 60 KiB, as Envoy.
    pub head_bytes: usize,
    /// From a request's first byte to the end of its head. Default 15 s.
    pub head_timeout: Duration,
    /// From a connection's acceptance (and its PROXY header, if it has one) to the end of its TLS handshake,
    /// waiting for its turn and for the client's first byte included. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a client may take to begin where what it speaks is not known; then its bytes are forwarded as they
    /// are. Default 1 s; Istio waits for ever, so that protocols in which the server speaks first hang.
    pub protocol_detection_timeout: Duration,
    /// TLS handshakes that go on at the same time; others wait for their turn. Default 8,192.
    pub handshakes: usize,
    /// How long a connection may wait for its next request. Default 1 h, as Istio.
    pub idle_timeout: Duration,
    /// Peers whose connections begin with a header of the PROXY protocol, and are closed without one. From
    /// all others nothing of the kind is looked for. Their connections count for the limits above as their
    /// own, whomever they name. Default: none.
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_client: None,
            head_bytes: 60 * 1024,
            head_timeout: Duration::from_secs(15),
            handshake_timeout: Duration::from_secs(10),
            protocol_detection_timeout: Duration::from_secs(1),
            handshakes: 8192,
            idle_timeout: Duration::from_secs(3600),
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl Limits {
    /// Whether connections of this peer begin with a header of the PROXY protocol.
    pub(super) fn proxies(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from
            .iter()
            .any(|net| net.contains(&peer))
    }
}
