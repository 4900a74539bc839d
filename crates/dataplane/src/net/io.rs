//! The byte stream handed to Pingora: a connection with the limits and the write buffer Pingora lacks.

mod apart;
mod digest;
mod head;
mod wait;

pub(super) use wait::Idle;

use self::apart::HeadEnd;
use super::Limits;
use super::linger::linger;
use super::state::ConnectionState;
use super::transport::Transport;
use super::write_buffer::WriteBuffer;
use crate::connection::ConnectionInfo;
use crate::forward_proxy::Proxied;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{Shutdown, SocketDigest};
use pingora_http::ResponseHeader;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

/// What the first bytes of a connection say it speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    /// HTTP/1, or something that will be refused as such.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// A downstream connection as Pingora sees it.
pub(crate) struct DownstreamIo {
    transport: Transport,
    /// The client has closed its side: nothing can be unread.
    ended: bool,
    /// What the client sends and gets is no HTTP any more.
    tunnel: bool,
    /// Bytes read before, given to the first reads: while sniffing, or together with a head that is kept apart.
    prefix: Bytes,
    /// Where the head ends that is arriving. Absent: heads are not kept apart from what follows.
    head_end: Option<HeadEnd>,
    /// Small writes, until a flush or until the reader has to wait.
    gathered: WriteBuffer,
    protocol: Protocol,
    head_bytes: usize,
    head_limit: usize,
    head_timeout: Duration,
    /// Bounds the head of the request that is arriving; made when a read first has to wait.
    head_timer: Option<Pin<Box<Sleep>>>,
    /// Bounds idleness. Kept from request to request and moved only when it fires early.
    idle_timer: Option<Pin<Box<Sleep>>>,
    /// When waiting for the next request is over.
    idle_deadline: Instant,
    state: Arc<ConnectionState>,
    proxy_digest: Arc<ProxyDigest>,
    socket_digest: Arc<SocketDigest>,
    ssl_digest: Option<Arc<SslDigest>>,
}

impl std::fmt::Debug for DownstreamIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "downstream {} {:?}", self.state.peer, self.protocol)
    }
}

impl DownstreamIo {
    /// Takes over a sniffed connection. `prefix` is what sniffing has read.
    pub(super) fn new(
        transport: Transport,
        prefix: Bytes,
        protocol: Protocol,
        info: ConnectionInfo,
        limits: &Limits,
    ) -> pingora_error::Result<Self> {
        let socket_digest = digest::socket_digest(&transport, &info);
        let ssl_digest = info.tls.as_deref().map(digest::ssl_digest);
        let state = info.state.clone();
        let makes_tunnels = info.proxied.as_deref().is_some_and(Proxied::makes_tunnels);
        let apart = makes_tunnels && protocol == Protocol::Http1;
        let placeholder = ResponseHeader::build_no_case(200, Some(0))?;
        Ok(Self {
            head_bytes: 0,
            transport,
            ended: false,
            tunnel: false,
            prefix,
            head_end: apart.then(HeadEnd::default),
            gathered: WriteBuffer::default(),
            protocol,
            head_limit: limits.head_bytes,
            head_timeout: limits.head_timeout,
            head_timer: None,
            idle_timer: None,
            idle_deadline: Instant::now() + limits.idle_timeout,
            state,
            proxy_digest: Arc::new(ProxyDigest::new(
                Box::new(placeholder),
                Some(Box::new(info)),
            )),
            socket_digest,
            ssl_digest,
        })
    }

    /// Makes a tunnel of the connection: from here on `poll_shutdown` ends what is sent, and the client
    /// can still be read. [`Shutdown::shutdown`] closes it as before.
    pub(crate) fn become_tunnel(&mut self) {
        self.tunnel = true;
    }

    /// Tells a client of TLS that nothing more comes, which must be written before the socket's end is. A
    /// full socket buffer loses it, no more.
    fn end_tls(&mut self, cx: &mut Context<'_>) {
        if let Transport::Right(tls) = &mut self.transport {
            let _ = Pin::new(tls).poll_shutdown(cx);
        }
    }

    /// Takes leave of a client that waits for nothing.
    pub(super) fn take_leave(&mut self) {
        self.end_tls(&mut Context::from_waker(Waker::noop()));
    }

    /// The connection is about to be closed: what the client still sends must not reset it.
    fn linger_once(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            linger(self.transport.socket());
        }
    }

    fn poll_prefix(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.prefix.is_empty() {
            return false;
        }
        let length = self.prefix.len().min(buf.remaining());
        let length = self.of_head(length);
        buf.put_slice(&self.prefix.split_to(length));
        self.received(length);
        true
    }

    /// How many of the first bytes of the prefix may be given out together.
    fn of_head(&mut self, length: usize) -> usize {
        match &mut self.head_end {
            Some(end) => end.take(&self.prefix[..length]),
            None => length,
        }
    }

    /// Keeps of what was read into `buf`, behind its first `before` bytes, what is behind the end of a head.
    fn keep_apart(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Some(end) = &mut self.head_end else {
            return;
        };
        let read = &buf.filled()[before..];
        let length = end.take(read);
        if length < read.len() {
            self.prefix = Bytes::copy_from_slice(&read[length..]);
            buf.set_filled(before + length);
        }
    }

    fn received(&mut self, bytes: usize) {
        self.head_bytes += bytes;
        self.state.add_received(bytes);
    }

    /// What carries the connection, and what was read of it that nobody has taken.
    pub(crate) async fn into_parts(mut self) -> io::Result<(Transport, Bytes)> {
        self.flush().await?;
        Ok((self.transport, self.prefix))
    }

    /// Writes out everything that waits to be sent.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gathered.poll_drain(cx, &mut self.transport))?;
        Pin::new(&mut self.transport).poll_flush(cx)
    }
}

impl AsyncRead for DownstreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_prefix(buf) {
            return Poll::Ready(Ok(()));
        }
        let (before, room) = (buf.filled().len(), buf.remaining());
        let polled = Pin::new(&mut self.transport).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        self.ended |= polled.is_ready() && read == 0 && room > 0;
        self.keep_apart(buf, before);
        self.received(buf.filled().len() - before);
        if let Some(end) = self.end_of_head(cx, polled.is_pending()) {
            return Poll::Ready(end);
        }
        if polled.is_pending() && (!self.gathered.is_empty() || self.transport.holds_back()) {
            // The request waits for something: what was gathered must not wait with it.
            if let Poll::Ready(Err(error)) = self.poll_out(cx) {
                return Poll::Ready(Err(error));
            }
        }
        polled
    }
}

impl AsyncWrite for DownstreamIo {
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
        let gathered = match this.protocol {
            Protocol::Http1 => this.gathered.gather(bufs),
            // The h2 crate gathers frames itself.
            Protocol::Http2 => None,
        };
        let written = match gathered {
            Some(length) => length,
            None => ready!(this.gathered.poll_write(cx, &mut this.transport, bufs))?,
        };
        this.state.add_sent(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.gathered.poll_drain(cx, &mut this.transport))?;
        if let Transport::Right(tls) = &mut self.transport {
            ready!(Pin::new(tls).poll_shutdown(cx))?;
        }
        // Pingora and the h2 crate close a connection by this; a tunnel ends one direction.
        if !self.tunnel {
            self.linger_once();
        }
        match &mut self.transport {
            Transport::Left(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Right(_) => Poll::Ready(Ok(())),
        }
    }
}

#[async_trait]
impl Shutdown for DownstreamIo {
    async fn shutdown(&mut self) {
        // The peer may be gone already, and then nothing is left to tell it.
        if self.flush().await.is_ok() {
            // What lingers ends the socket at once, and TLS has a last word.
            let _ = AsyncWriteExt::shutdown(self).await;
            self.linger_once();
        }
    }
}

#[cfg(test)]
mod tests;
