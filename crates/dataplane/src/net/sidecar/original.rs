//! Where a redirected connection was going.

use crate::connection::ConnectionInfo;
use socket2::SockRef;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// Has the connection be one to where it was going. False: it was not redirected, so that forwarding it would lead
/// back here.
pub(super) fn settle(socket: &TcpStream, info: &mut ConnectionInfo) -> bool {
    let Ok(own) = socket.local_addr() else {
        return false;
    };
    // A PROXY header has told it.
    if info.local != own {
        return true;
    }
    match original_destination(socket) {
        Some(original) if original != canonical(own) => {
            info.local = original;
            info.peer = canonical(info.peer);
            true
        }
        _ => false,
    }
}

/// What netfilter remembers. Absent: nothing, since the connection was not redirected.
///
/// The family is the client's: on a socket for both a client of IPv4 has an address in IPv6's clothes, of which the
/// kernel knows nothing.
fn original_destination(socket: &TcpStream) -> Option<SocketAddr> {
    let peer = canonical(socket.peer_addr().ok()?);
    let socket = SockRef::from(socket);
    let original = match peer {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok()?.as_socket()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
