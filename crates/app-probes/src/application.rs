//! Where the application is, and how it is reached.

use async_trait::async_trait;
use health::{Address, Check, Connect, Stream, TargetKey};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Where connections of a sidecar to its workload come from: redirect rules let those through.
///
/// Source: Istio, `127.0.0.6` and `::6`.
const SIDECAR_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
const SIDECAR_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6));

/// Where the application is: the address of its pod, or loopback.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Application(IpAddr);

impl Application {
    /// At an address of this network namespace.
    pub fn at(address: IpAddr) -> Self {
        Self(address)
    }

    pub(crate) fn address(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.0, port)
    }
}

/// Connects from where redirect rules let connections through, as far as that address is there: without redirection it
/// need not be.
pub(crate) async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let (socket, own) = match to {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, SIDECAR_V4),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, SIDECAR_V6),
    };
    match socket.bind(SocketAddr::new(own, 0)) {
        Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => return Err(error),
        _ => {}
    }
    socket.connect(to).await
}

#[async_trait]
impl Connect for Application {
    async fn connect(&self, target: &TargetKey, _check: &Check) -> io::Result<Box<dyn Stream>> {
        match &target.address {
            Address::Tcp(address) => Ok(Box::new(connect(*address).await?)),
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn it_comes_from_where_redirect_rules_let_it_through() {
        for (address, want) in [("127.0.0.1:0", Some(SIDECAR_V4)), ("[::1]:0", None)] {
            let Ok(listener) = TcpListener::bind(address).await else {
                continue; // There are machines without IPv6.
            };
            let asked = connect(listener.local_addr().unwrap()).await.unwrap();
            let (_accepted, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, asked.local_addr().unwrap());
            assert!(want.is_none_or(|want| want == peer.ip()), "{peer}");
        }
    }
}
