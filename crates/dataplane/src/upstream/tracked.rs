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
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Sleep;

/// A connection that knows who uses it.
#[derive(Debug)]
pub(crate) struct Tracked {
    io: UpstreamIo,
    connection: Arc<Connection>,
    /// Until its end has to be looked for.
    timer: Option<Pin<Box<Sleep>>>,
    held: Held,
    /// Told when the first bytes have come. Absent: they have, or nobody asks.
    heard: Option<Arc<watch::Sender<bool>>>,
}

/// Who has the connection count as open.
#[derive(Debug)]
enum Held {
    /// Those who use it, one after the other, to whom it travels through Pingora.
    ByUsers(Arc<ProxyDigest>),
    /// The connection itself.
    Here(#[expect(dead_code, reason = "what counts is that it is there")] Open),
}

impl Tracked {
    /// A connection that counts as `open`.
    pub(crate) fn new(io: UpstreamIo, open: Open) -> io::Result<Self> {
        let connection = open.connection().clone();
        let held = Held::ByUsers(Arc::new(digest(open)?));
        Ok(Self {
            io,
            connection,
            timer: None,
            held,
            heard: None,
        })
    }

    /// A connection that requests share, which counts as `open` as long as it exists. `heard` is told when its server
    /// has said something.
    pub(super) fn shared(io: UpstreamIo, open: Open, heard: Arc<watch::Sender<bool>>) -> Self {
        Self {
            io,
            connection: open.connection().clone(),
            timer: None,
            held: Held::Here(open),
            heard: Some(heard),
        }
    }

    /// To be asked when there is nothing to read: an end of the connection that comes from this side. The timer is
    /// moved when it fires, which spares every request in between the work of setting one.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.connection.shall_end(cx.waker()) {
                return Poll::Ready(());
            }
            let Some(at) = self.connection.may_end_at() else {
                return Poll::Pending;
            };
            let at = tokio::time::Instant::from_std(at);
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() > at || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }
}

/// What of a connection travels through Pingora to those who use it. It counts as open as long as this exists.
fn digest(open: Open) -> io::Result<ProxyDigest> {
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
        if polled.is_pending() {
            return self.poll_end(cx).map(Ok);
        }
        if let Some(heard) = self.heard.take() {
            heard.send_replace(true);
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
        match &self.held {
            Held::ByUsers(digest) => Some(digest.clone()),
            Held::Here(_) => None,
        }
    }
}

impl GetSocketDigest for Tracked {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.io.get_socket_digest()
    }
}

impl Peek for Tracked {}
