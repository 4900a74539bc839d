//! The socket of a connection.

use super::DialError;
use crate::net::Either;
use model::TcpKeepalive;
use rules::EndpointAddr;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// Where connections of a sidecar to its workload come from: redirect rules let those through.
///
/// Source: Istio, `127.0.0.6` and `::6`.
pub const SIDECAR_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// As [`SIDECAR_V4`].
pub const SIDECAR_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// The kernel's limits. What is beyond them would be refused, and no probe sent at all.
const MOST_SECONDS: u64 = 32_767;
const MOST_PROBES: u32 = 127;

/// A connected socket: of TCP, or a Unix one.
pub(super) type Socket = Either<TcpStream, UnixStream>;

impl Socket {
    pub(super) async fn open(
        address: &EndpointAddr,
        from_sidecar: bool,
        keepalive: Option<TcpKeepalive>,
    ) -> Result<Self, DialError> {
        let opened = match address {
            EndpointAddr::Tcp(address) => connect(*address, from_sidecar).await.map(Self::Left),
            EndpointAddr::Unix(path) => UnixStream::connect(&**path).await.map(Self::Right),
        };
        let socket = opened.map_err(DialError::of_connect)?;
        if let Self::Left(tcp) = &socket {
            // What is small must not wait for acknowledgements; where it fails, it does.
            let _ = tcp.set_nodelay(true);
            if let Some(keepalive) = keepalive {
                let set = SockRef::from(tcp).set_tcp_keepalive(&probes(keepalive));
                set.map_err(DialError::Io)?;
            }
        }
        Ok(socket)
    }

    /// Its own address. Absent: it has none, as a Unix socket.
    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Left(tcp) => tcp.local_addr().ok(),
            Self::Right(_) => None,
        }
    }

    /// Makes the close to come a reset, where there is such a thing.
    pub(super) fn reset(&self) {
        if let Self::Left(tcp) = self {
            let _ = tcp.set_zero_linger();
        }
    }
}

async fn connect(address: SocketAddr, from_sidecar: bool) -> io::Result<TcpStream> {
    let (socket, own) = match address {
        SocketAddr::V4(_) => (TcpSocket::new_v4()?, IpAddr::V4(SIDECAR_V4)),
        SocketAddr::V6(_) => (TcpSocket::new_v6()?, IpAddr::V6(SIDECAR_V6)),
    };
    if from_sidecar {
        socket.bind(SocketAddr::new(own, 0))?;
    }
    socket.connect(address).await
}

/// Istio counts whole seconds; less than one is one.
fn probes(keepalive: TcpKeepalive) -> socket2::TcpKeepalive {
    let seconds = |time: Duration| Duration::from_secs(time.as_secs().clamp(1, MOST_SECONDS));
    let mut probes = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        probes = probes.with_time(seconds(time));
    }
    if let Some(interval) = keepalive.interval {
        probes = probes.with_interval(seconds(interval));
    }
    if let Some(count) = keepalive.probes {
        probes = probes.with_retries(count.clamp(1, MOST_PROBES));
    }
    probes
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Left(tcp) => tcp.as_raw_fd(),
            Self::Right(unix) => unix.as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Left(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Right(unix) => Pin::new(unix).poll_read(cx, buf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Time, interval and probes that the kernel has.
    async fn kept(keepalive: Option<TcpKeepalive>) -> Option<(Duration, Duration, u32)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EndpointAddr::Tcp(listener.local_addr().unwrap());
        let socket = Socket::open(&address, false, keepalive).await.unwrap();
        let Socket::Left(tcp) = &socket else {
            panic!("not TCP");
        };
        assert!(tcp.nodelay().unwrap());
        let tcp = SockRef::from(tcp);
        tcp.keepalive().unwrap().then(|| {
            (
                tcp.tcp_keepalive_time().unwrap(),
                tcp.tcp_keepalive_interval().unwrap(),
                tcp.tcp_keepalive_retries().unwrap(),
            )
        })
    }

    #[tokio::test]
    async fn probes_are_sent_as_the_rules_say() {
        let seconds = Duration::from_secs;
        assert_eq!(kept(None).await, None);
        let said = TcpKeepalive {
            probes: Some(3),
            time: Some(seconds(120)),
            interval: Some(seconds(7)),
        };
        let want = (seconds(120), seconds(7), 3);
        assert_eq!(kept(Some(said)).await, Some(want));
    }

    #[tokio::test]
    async fn what_the_kernel_would_refuse_is_brought_within_its_limits() {
        let extreme = TcpKeepalive {
            probes: Some(1000),
            time: Some(Duration::from_millis(1)),
            interval: Some(Duration::from_secs(1_000_000)),
        };
        let want = (Duration::from_secs(1), Duration::from_secs(32_767), 127);
        assert_eq!(kept(Some(extreme)).await, Some(want));
    }
}
