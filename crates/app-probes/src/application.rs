//! Where the application is, and how it is reached.

use async_trait::async_trait;
use health::{Address, Check, Connect, Stream, TargetKey};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};

/// Where the application is, and where connections to it come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Application {
    /// The address of its pod, or loopback.
    pub address: IpAddr,
    /// Where the sidecar's connections come from, which redirect rules let through.
    pub from_v4: Ipv4Addr,
    /// The same in IPv6.
    pub from_v6: Ipv6Addr,
}

impl Application {
    pub(crate) fn port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    /// Connects from where redirect rules let connections through, as far as that address is there: without
    /// redirection it need not be.
    pub(crate) async fn dial(self, to: SocketAddr) -> io::Result<TcpStream> {
        let (socket, own) = match to {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(self.from_v4)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(self.from_v6)),
        };
        match socket.bind(SocketAddr::new(own, 0)) {
            Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => return Err(error),
            _ => {}
        }
        socket.connect(to).await
    }
}

#[async_trait]
impl Connect for Application {
    async fn connect(&self, target: &TargetKey, _check: &Check) -> io::Result<Box<dyn Stream>> {
        match &target.address {
            Address::Tcp(address) => Ok(Box::new(self.dial(*address).await?)),
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_app::beside;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn it_comes_from_where_redirect_rules_let_it_through() {
        let application = beside("127.0.0.1");
        let Application {
            from_v4, from_v6, ..
        } = application;
        for (address, want) in [
            ("127.0.0.1:0", IpAddr::V4(from_v4)),
            ("[::1]:0", IpAddr::V6(from_v6)),
        ] {
            let Ok(listener) = TcpListener::bind(address).await else {
                continue; // There are machines without IPv6.
            };
            let asked = application.dial(listener.local_addr().unwrap());
            let asked = asked.await.unwrap();
            let (_accepted, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, asked.local_addr().unwrap());
            assert_eq!(peer.ip(), want);
        }
    }
}
