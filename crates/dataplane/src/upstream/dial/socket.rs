//! The socket below everything.

use super::chunked::Chunked;
use super::error::DialError;
use model::TcpKeepalive;
use rules::EndpointAddr;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// Through a forward proxy that was asked by POST.
    Posted(Chunked),
}

impl Socket {
    pub(super) async fn connect(
        address: &EndpointAddr,
        keepalive: Option<&TcpKeepalive>,
    ) -> Result<Self, DialError> {
        match address {
            EndpointAddr::Unix(path) => Ok(Self::Unix(UnixStream::connect(&**path).await?)),
            EndpointAddr::Tcp(address) => {
                let socket = TcpStream::connect(address).await?;
                // What is small must not wait for acknowledgements; where it fails, it does.
                let _ = socket.set_nodelay(true);
                if let Some(keepalive) = keepalive {
                    SockRef::from(&socket).set_tcp_keepalive(&probes(keepalive))?;
                }
                Ok(Self::Tcp(socket))
            }
        }
    }

    /// Makes the close to come a reset, where there is such a thing.
    pub(super) fn reset(&self) {
        match self {
            // Where that fails the close is an ordinary one.
            Self::Tcp(socket) => drop(socket.set_zero_linger()),
            Self::Posted(through) => through.inner().reset(),
            Self::Unix(_) => {}
        }
    }

    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Posted(through) => through.inner().local_address(),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn peer_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Posted(through) => through.inner().peer_address(),
            Self::Unix(_) => None,
        }
    }
}

/// What is not said is the system's.
fn probes(keepalive: &TcpKeepalive) -> socket2::TcpKeepalive {
    let mut probes = socket2::TcpKeepalive::new();
    if let Some(time) = keepalive.time {
        probes = probes.with_time(time);
    }
    if let Some(interval) = keepalive.interval {
        probes = probes.with_interval(interval);
    }
    if let Some(count) = keepalive.probes {
        probes = probes.with_retries(count);
    }
    probes
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(socket) => socket.as_raw_fd(),
            Self::Unix(socket) => socket.as_raw_fd(),
            Self::Posted(through) => through.inner().as_raw_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Posted(through) => Pin::new(through).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Posted(through) => Pin::new(through).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Posted(through) => Pin::new(through).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Self::Posted(through) => Pin::new(through).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Posted(through) => Pin::new(through).poll_shutdown(cx),
        }
    }
}
