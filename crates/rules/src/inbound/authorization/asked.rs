//! What rules look at.

use super::identity::Identity;
use crate::RequestHead;
use std::net::{IpAddr, SocketAddr};

/// Who connects, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The address that the connection comes from: `source.ip`.
    pub source: IpAddr,
    /// The address of the client as trusted proxies tell it, else the source: `remote.ip`.
    pub remote: IpAddr,
    /// The URI of the client's verified certificate: `spiffe://cluster.local/ns/shop/sa/web`. Absent: it shows
    /// none.
    pub principal: Option<&'a str>,
    /// The address and port that was connected to, before it was redirected.
    pub destination: SocketAddr,
    /// The name that the client asked for in TLS. Absent: none.
    pub sni: Option<&'a str>,
}

/// A request or connection, as rules ask for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) identity: Option<Identity<'a>>,
    /// IPv4 addresses are always such, also when they come in the form of IPv6.
    pub(super) source: IpAddr,
    pub(super) remote: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    /// Empty: none.
    pub(super) sni: &'a str,
    /// Absent: a connection that is not HTTP.
    pub(super) head: Option<&'a RequestHead<'a>>,
}

impl<'a> Asked<'a> {
    pub(super) fn request(peer: &'a Peer<'a>, head: &'a RequestHead<'a>) -> Self {
        Self {
            head: Some(head),
            ..Self::connection(peer)
        }
    }

    pub(super) fn connection(peer: &'a Peer<'a>) -> Self {
        Self {
            identity: peer.principal.map(Identity),
            source: peer.source.to_canonical(),
            remote: peer.remote.to_canonical(),
            destination: peer.destination.ip().to_canonical(),
            port: peer.destination.port(),
            sni: peer.sni.unwrap_or_default(),
            head: None,
        }
    }
    /// Whether the client shows an identity, of which this holds.
    pub(super) fn is(&self, test: impl Fn(Identity<'_>) -> bool) -> bool {
        self.identity.is_some_and(test)
    }
}
