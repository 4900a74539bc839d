//! What a request may know of the connection it came on.

use crate::net::ConnectionState;
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
}
