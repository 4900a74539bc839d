//! Who is asked.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// One endpoint of a service port: asked once, however many routes, subsets and clusters lead to it.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TargetKey {
    /// Fully qualified service host, lower case.
    pub host: Arc<str>,
    /// Service port, which need not be the port of the address.
    pub port: u16,
    /// Where it listens.
    pub address: Address,
}

/// The address of an endpoint.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(Arc<str>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => f.write_str(path),
        }
    }
}
