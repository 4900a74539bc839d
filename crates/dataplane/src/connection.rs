//! What a request may know of the connection it came on.

use crate::forward_proxy::Proxied;
use crate::http::address_value;
use crate::net::ConnectionState;
use crate::tls::{ClientCertificate, TlsFacts};
use http::HeaderValue;
use rules::{Inbound, Listener, ListenerKey, OutboundListener, Serves, Table, Target};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Whose connections a listener takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Side {
    /// Those of clients: of a gateway, or of a forward proxy.
    #[default]
    Gateway,
    /// Those that a sidecar's workload makes.
    Outbound,
    /// Those that are made to a sidecar's workload.
    Inbound,
}

/// Facts of a downstream connection. Travels with Pingora's session as `ProxyDigest::user_data`.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The listener that accepted it.
    pub listener: ListenerKey,
    /// Whose side it is on.
    pub side: Side,
    /// The address the client connected to; of a redirected connection the one it was going to.
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
    /// The address that the client connected to, or was going to, as what it asks for.
    pub(crate) fn target(&self) -> Target {
        Target::of_address(self.local.ip(), self.local.port())
    }

    /// The listener that serves it in a table. `None`: it is gone, and nobody has taken over.
    pub(crate) fn listener_in<'t>(&self, table: &'t Table) -> Option<&'t Arc<Listener>> {
        let local = match (self.side, self.listener.bind) {
            // A redirected connection was going to an address that is none of the listener's.
            (Side::Outbound | Side::Inbound, Some(bind)) => bind,
            _ => self.local.ip(),
        };
        table.listener(&self.listener, local)
    }

    /// The same, as far as it serves what a workload sends.
    pub(crate) fn outbound_in<'t>(&self, table: &'t Table) -> Option<&'t Arc<OutboundListener>> {
        match &self.listener_in(table)?.serves {
            Serves::Outbound(outbound) => Some(outbound),
            _ => None,
        }
    }

    /// The same, as far as it serves what a workload receives.
    pub(crate) fn inbound_in<'t>(&self, table: &'t Table) -> Option<&'t Arc<Inbound>> {
        match &self.listener_in(table)?.serves {
            Serves::Inbound(inbound) => Some(inbound),
            _ => None,
        }
    }

    /// The certificate of a client of the mesh. `None`: the client is nobody there, whatever else it has shown or says.
    pub(crate) fn mesh_client(&self) -> Option<&ClientCertificate> {
        self.tls.as_deref()?.mesh_client()
    }

    /// Who the client is in the mesh: `spiffe://cluster.local/ns/shop/sa/web`. `None`: nobody.
    pub(crate) fn principal(&self) -> Option<&str> {
        self.mesh_client()?.uris().next()
    }

    /// The address of the proxy's machine. A workload asks from there, whatever address it asks for.
    pub(crate) fn own_ip(&self) -> IpAddr {
        match self.side {
            Side::Outbound => self.peer.ip(),
            Side::Gateway | Side::Inbound => self.local.ip(),
        }
    }

    /// The client's address as headers have it, spelt once for a connection.
    pub(crate) fn peer_value(&self) -> &HeaderValue {
        self.state
            .peer_value
            .get_or_init(|| address_value(self.peer.ip()))
    }
}
