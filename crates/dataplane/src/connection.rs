//! What a request may know of the connection it came on.

use crate::forward_proxy::Proxied;
use crate::http::address_value;
use crate::net::ConnectionState;
use crate::tls::TlsFacts;
use http::HeaderValue;
use rules::ListenerKey;
use std::net::SocketAddr;
use std::sync::Arc;

/// Facts of a downstream connection. Travels with Pingora's session as `ProxyDigest::user_data`.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The listener that accepted it.
    pub listener: ListenerKey,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// The client's address.
    pub peer: SocketAddr,
    /// Counters and phase.
    pub state: Arc<ConnectionState>,
    /// What TLS tells, where it ended here. Absent: the connection is in clear, or TLS goes through.
    pub tls: Option<Arc<TlsFacts>>,
    /// What it is used for, on a forward proxy. Absent: its client asks for the services of the listener.
    pub(crate) proxied: Option<Arc<Proxied>>,
}

impl ConnectionInfo {
    /// The client's address as headers have it, spelt once for a connection.
    pub(crate) fn peer_value(&self) -> &HeaderValue {
        self.state
            .peer_value
            .get_or_init(|| address_value(self.peer.ip()))
    }
}
