//! What a connection becomes by CONNECT.

use super::Refused;
use crate::net::DownstreamIo;
use crate::tcp::TcpConnection;
use rules::{EgressMode, Outbound, OutboundService, Target};
use std::sync::Arc;

/// A tunnel that was granted and is not open yet.
pub(crate) struct Tunnel {
    /// The connection, with everything that came behind the request.
    pub(crate) io: Box<DownstreamIo>,
    /// Where it goes, and how that is told.
    pub(crate) connection: TcpConnection,
    /// What may be in it.
    pub(crate) content: Content,
}

/// What may be in a tunnel.
pub(crate) enum Content {
    /// Bytes, which nobody looks at.
    Bytes,
    /// Bytes, of which somebody wants to know whether they are TLS.
    Watched,
    /// TLS, and nothing else.
    Tls(Tls),
    /// Whatever is begun with. If it is TLS, the name in it counts.
    Unspecified(Tls),
    /// Requests, which are decided on one by one.
    Http(Target),
}

/// What TLS in a tunnel must be.
pub(crate) struct Tls {
    pub(crate) target: Target,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) service: Arc<OutboundService>,
    pub(crate) mode: EgressMode,
}

impl Tls {
    /// Whether a client that names `sni` gets what it asked for: a connection that was opened for one name does not
    /// serve for another that is reached at the same address.
    pub(crate) fn check(&self, sni: Option<&str>) -> Result<(), Refused> {
        let agrees = |sni| match self.target.address() {
            None => self.target.is_host(sni),
            Some(_) => self.is_name_of_service(sni),
        };
        match sni.is_none_or(agrees) {
            true => Ok(()),
            false => Err(Refused::SniMismatch),
        }
    }

    /// Whether the service that was asked for by an address has this name.
    fn is_name_of_service(&self, sni: &str) -> bool {
        let named = Target::new(sni, self.target.port());
        let service = named.ok().and_then(|named| self.outbound.service(&named));
        service.is_some_and(|service| is_same(service, &self.service))
    }
}

fn is_same(one: &Arc<OutboundService>, other: &Arc<OutboundService>) -> bool {
    Arc::ptr_eq(one, other) || (one.host == other.host && one.origin == other.origin)
}
