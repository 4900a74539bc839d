//! A connection to an endpoint as HTTP uses it: counted as long as it is open, and closed when it is idle and
//! shall go.

use super::connection::{Connection, Open};
use super::dial::UpstreamIo;
use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    ALPN, Digest, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest,
    Ssl, TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A connection that knows who uses it.
#[derive(Debug)]
pub(crate) struct Tracked {
    io: UpstreamIo,
    connection: Arc<Connection>,
    /// Until it is too old, if it ever is.
    expiry: Option<Pin<Box<Sleep>>>,
    digest: Arc<ProxyDigest>,
}

impl Tracked {
    /// A connection that counts as `open`.
    pub(crate) fn new(io: UpstreamIo, open: Open) -> io::Result<Self> {
        let connection = open.connection().clone();
        let expires_at = connection.expires_at();
        Ok(Self {
            io,
            expiry: expires_at.map(|at| Box::pin(tokio::time::sleep_until(at.into()))),
            digest: Arc::new(digest(open)?),
            connection,
        })
    }

    /// To be asked when there is nothing to read: an end of the connection that comes from this side.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(expiry) = &mut self.expiry
            && expiry.as_mut().poll(cx).is_ready()
        {
            self.expiry = None;
        }
        match self.connection.shall_end(cx.waker()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

/// What of a connection travels through Pingora to those who use it. It counts as open as long as this exists.
pub(super) fn digest(open: Open) -> io::Result<ProxyDigest> {
    // Meant for answers of forward proxies; only the second part is ever looked at.
    let head = ResponseHeader::build(200, None).map_err(io::Error::other)?;
    Ok(ProxyDigest::new(Box::new(head), Some(Box::new(open))))
}

/// The connection that a session of Pingora's is on.
pub(crate) fn connection_of(digest: Option<&Digest>) -> Option<&Arc<Connection>> {
    let digest = digest?.proxy_digest.as_ref()?;
    let open: &Open = digest.user_data.as_ref()?.downcast_ref()?;
    Some(open.connection())
}

impl AsyncRead for Tracked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if polled.is_pending() && self.poll_end(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        polled
    }
}

impl AsyncWrite for Tracked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Tracked {
    async fn shutdown(&mut self) {
        Shutdown::shutdown(&mut self.io).await;
    }
}

impl UniqueID for Tracked {
    fn id(&self) -> UniqueIDType {
        self.io.id()
    }
}

impl Ssl for Tracked {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(ALPN::H1)
    }
}

impl GetTimingDigest for Tracked {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.io.get_timing_digest()
    }
}

impl GetProxyDigest for Tracked {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.digest.clone())
    }
}

impl GetSocketDigest for Tracked {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}

impl Peek for Tracked {}
