//! A connection to an endpoint, as Pingora and the copy loop see it.

use super::transport::Transport;
use super::tunnel::Carrier;
use crate::net::WriteBuffer;
use crate::tls::suites;
use crate::upstream::tls::Alpn;
use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use rustls::ClientConnection;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A connection to an endpoint.
pub(crate) struct UpstreamIo {
    carrier: Carrier,
    /// Small writes, until a flush or until the reader has to wait.
    gathered: WriteBuffer,
    alpn: Alpn,
    timing: TimingDigest,
    socket_digest: Arc<SocketDigest>,
    ssl_digest: Option<Arc<SslDigest>>,
}

impl std::fmt::Debug for UpstreamIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "upstream {} {:?}", self.id(), self.alpn)
    }
}

impl UpstreamIo {
    pub(super) fn new(carrier: Carrier, alpn: Alpn, took: Duration) -> Self {
        let transport = transport(&carrier);
        let socket_digest = SocketDigest::from_raw_fd(transport.socket().as_raw_fd());
        Self {
            ssl_digest: transport.session().map(ssl_digest),
            socket_digest: Arc::new(socket_digest),
            carrier,
            gathered: WriteBuffer::default(),
            alpn,
            timing: TimingDigest {
                established_ts: SystemTime::now(),
                establishment_duration: Some(took),
                offload_wait_duration: None,
            },
        }
    }

    /// The gateway's own address. Absent: it has none, as on a Unix socket.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        transport(&self.carrier).socket().local_address()
    }

    /// What is known of TLS. Absent: none is spoken.
    #[cfg(test)]
    pub(crate) fn tls(&self) -> Option<&ClientConnection> {
        transport(&self.carrier).session()
    }

    /// Makes the close to come a reset, where there is such a thing.
    pub(crate) fn reset(&self) {
        transport(&self.carrier).socket().reset();
    }

    /// Whether bytes that were written have not left.
    fn holds_back(&self) -> bool {
        let below = match &self.carrier {
            Carrier::Direct(transport, _) => transport.holds_back(),
            Carrier::Posted(posted) => posted.holds_back(),
        };
        below || !self.gathered.is_empty()
    }

    fn poll_carrier_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.carrier {
            Carrier::Direct(_, first) if !first.is_empty() => {
                let length = first.len().min(buf.remaining());
                buf.put_slice(&first.split_to(length));
                Poll::Ready(Ok(()))
            }
            Carrier::Direct(transport, _) => Pin::new(transport).poll_read(cx, buf),
            Carrier::Posted(posted) => Pin::new(posted).poll_read(cx, buf),
        }
    }

    /// Writes out what was gathered.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let target = &mut self.carrier.writer();
        ready!(self.gathered.poll_drain(cx, target))?;
        self.gathered.shrink();
        Poll::Ready(Ok(()))
    }

    /// Writes out everything that waits to be sent.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.carrier.writer()).poll_flush(cx)
    }
}

fn transport(carrier: &Carrier) -> &Transport {
    match carrier {
        Carrier::Direct(transport, _) => transport,
        Carrier::Posted(posted) => posted.transport(),
    }
}

/// What costs nothing to know.
fn ssl_digest(session: &ClientConnection) -> Arc<SslDigest> {
    let cipher = suites::suite_name(session.negotiated_cipher_suite());
    let version = suites::version_name(session.protocol_version());
    Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()))
}

impl AsyncRead for UpstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_carrier_read(cx, buf);
        // The answer waits for something: what was gathered must not wait with it.
        if polled.is_pending()
            && self.holds_back()
            && let Poll::Ready(Err(error)) = self.poll_out(cx)
        {
            return Poll::Ready(Err(error));
        }
        polled
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // HTTP/2 gathers its frames itself, and whose bytes are somebody else's reads as much as it can.
        if this.alpn == Alpn::Http1
            && let Some(length) = this.gathered.gather(bufs)
        {
            return Poll::Ready(Ok(length));
        }
        let target = &mut this.carrier.writer();
        this.gathered.poll_write(cx, target, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gathered(cx))?;
        Pin::new(&mut self.carrier.writer()).poll_shutdown(cx)
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
        transport(&self.carrier).socket().as_raw_fd()
    }
}

impl Ssl for UpstreamIo {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest.clone()
    }

    /// What is to be spoken. As with Envoy that does not depend on what the server chose: it offered this alone.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.alpn {
            Alpn::None => None,
            Alpn::Http1 => Some(ALPN::H1),
            Alpn::Http2 => Some(ALPN::H2),
        }
    }
}

impl GetTimingDigest for UpstreamIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        vec![Some(self.timing.clone())]
    }
}

impl GetProxyDigest for UpstreamIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for UpstreamIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket_digest.clone())
    }
}

impl Peek for UpstreamIo {}
