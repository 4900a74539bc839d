//! A connection to an endpoint, whatever it is made of.

use super::bridge;
use super::socket::Socket;
use async_trait::async_trait;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest, Shutdown, SocketDigest, UniqueID, UniqueIDType};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::client::TlsStream;

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct UpstreamIo {
    layer: Layer,
    digest: Arc<SocketDigest>,
}

#[derive(Debug)]
enum Layer {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl UpstreamIo {
    pub(super) fn plain(socket: Socket) -> Self {
        Self {
            digest: digest(&socket),
            layer: Layer::Plain(socket),
        }
    }

    pub(super) fn tls(stream: TlsStream<Socket>) -> Self {
        Self {
            digest: digest(stream.get_ref().0),
            layer: Layer::Tls(Box::new(stream)),
        }
    }

    fn socket(&self) -> &Socket {
        match &self.layer {
            Layer::Plain(socket) => socket,
            Layer::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Makes the close to come a reset, where there is such a thing.
    pub(crate) fn reset(&self) {
        self.socket().reset();
    }

    /// Where it begins.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.socket().local_address()
    }

    /// In the only form in which Pingora's HTTP/2 takes a connection that it has not made itself.
    ///
    /// # Errors
    ///
    /// When the system has no more descriptors.
    pub(crate) fn into_l4(self) -> io::Result<L4Stream> {
        match self.layer {
            Layer::Plain(Socket::Tcp(socket)) => Ok(socket.into()),
            Layer::Plain(Socket::Unix(socket)) => Ok(socket.into()),
            Layer::Plain(posted @ Socket::Posted(_)) => Ok(bridge::over(posted)?.into()),
            Layer::Tls(stream) => Ok(bridge::over(*stream)?.into()),
        }
    }
}

fn digest(socket: &Socket) -> Arc<SocketDigest> {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // Cells that were just made are empty.
    let _ = digest.peer_addr.set(socket.peer_address().map(Into::into));
    let _ = digest
        .local_addr
        .set(socket.local_address().map(Into::into));
    Arc::new(digest)
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Layer::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Layer::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().layer {
            Layer::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Layer::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().layer {
            Layer::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Layer::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[async_trait]
impl Shutdown for UpstreamIo {
    async fn shutdown(&mut self) {
        // The endpoint may be gone already, and then nothing is left to tell it.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for UpstreamIo {
    fn id(&self) -> UniqueIDType {
        self.socket().as_raw_fd()
    }
}

impl GetSocketDigest for UpstreamIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}
