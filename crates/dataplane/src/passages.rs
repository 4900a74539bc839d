//! What passes through the forward proxy, for those who want to know.

use rules::Denial;
use std::net::IpAddr;

/// Is told what passed through the forward proxy.
pub trait Passages: Send + Sync + 'static {
    /// A request or a connection through the proxy has ended.
    ///
    /// Called where traffic is served: it must neither block for long nor panic.
    fn passed(&self, passage: &Passage<'_>);
}

/// A request, or a connection through a tunnel, from its beginning to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passage<'a> {
    /// The name or address that the client asked for, without a port; IPv6 addresses in brackets or not.
    pub host: &'a str,
    /// The port that it asked for.
    pub port: u16,
    /// What it spoke.
    pub protocol: PassageProtocol,
    /// Bytes that came from the client.
    pub received: u64,
    /// Bytes that went to the client.
    pub sent: u64,
    /// The client's address.
    pub client: IpAddr,
    /// Why it would have been refused if anything were. Absent: it is allowed.
    pub denial: Option<Denial>,
}

/// What a client of the forward proxy spoke.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PassageProtocol {
    /// HTTP in clear.
    Http,
    /// TLS.
    Tls,
    /// Anything else.
    Tcp,
}
