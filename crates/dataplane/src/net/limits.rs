//! What one downstream connection, and all of them together, may take.

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
    /// How long a connection may wait for its next request. Default 1 h, as Istio.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_client: None,
            head_bytes: 60 * 1024,
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(3600),
        }
    }
}
