//! Opening listening sockets.

use rules::ListenerKey;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;

/// Connections the kernel completes before they are accepted. The kernel's `somaxconn` may be less.
const BACKLOG: i32 = 4096;

/// From a Gateway server's port to the address that is bound for it.
///
/// Source: the bootstrap file's `[listen]`.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where listeners are bound whose server names no `bind`.
    pub address: IpAddr,
    /// A Gateway server's port to the port bound here; others are bound as they are.
    pub ports: BTreeMap<u16, u16>,
}

impl Addresses {
    /// The address to bind for a listener.
    pub fn of(&self, key: &ListenerKey) -> SocketAddr {
        let port = self.ports.get(&key.port).copied().unwrap_or(key.port);
        SocketAddr::new(key.bind.unwrap_or(self.address), port)
    }
}

/// Opens a listening socket.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier process in TIME_WAIT must not keep a new one from starting.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // Whatever the system's default is: who says so means every address.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_mapped_and_a_servers_own_bind_wins() {
        let addresses = Addresses {
            address: IpAddr::from([127, 0, 0, 1]),
            ports: BTreeMap::from([(80, 8080)]),
        };
        let own = ListenerKey {
            bind: Some(IpAddr::from([127, 0, 0, 2])),
            port: 9000,
        };
        let mapped = ListenerKey {
            bind: None,
            port: 80,
        };
        assert_eq!(
            addresses.of(&mapped),
            SocketAddr::from(([127, 0, 0, 1], 8080))
        );
        assert_eq!(addresses.of(&own), SocketAddr::from(([127, 0, 0, 2], 9000)));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let second = bind(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
