//! The byte stream handed to Pingora: a connection with the limits and the write buffer Pingora lacks.

use super::Limits;
use super::linger::linger;
use super::state::{ConnectionState, Phase, RefusedHead};
use super::transport::Transport;
use super::write_buffer::WriteBuffer;
use crate::connection::ConnectionInfo;
use crate::tls::TlsFacts;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use pingora_http::ResponseHeader;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep};

const HEAD_TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const HEAD_TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 15\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nrequest timeout";

/// What the first bytes of a connection say it speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    /// HTTP/1, or something that will be refused as such.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// Why waiting for a request ended without one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Idle {
    /// Bytes are there, or the end of the stream.
    Readable,
    /// Nothing came in time.
    TimedOut,
    /// The listener is draining.
    Closing,
}

/// A downstream connection as Pingora sees it.
pub(crate) struct DownstreamIo {
    transport: Transport,
    /// The client has closed its side: nothing can be unread.
    ended: bool,
    /// What the client sends and gets is no HTTP any more.
    tunnel: bool,
    /// Bytes read while sniffing, given to the first reads.
    prefix: Bytes,
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
        let digest = SocketDigest::from_raw_fd(transport.socket().as_raw_fd());
        remember(&digest, info.peer, info.local);
        let ssl_digest = info.tls.as_deref().map(ssl_digest);
        let state = info.state.clone();
        state.add_received(prefix.len());
        let placeholder = ResponseHeader::build_no_case(200, Some(0))?;
        Ok(Self {
            head_bytes: prefix.len(),
            transport,
            ended: false,
            tunnel: false,
            prefix,
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
            socket_digest: Arc::new(digest),
            ssl_digest,
        })
    }

    /// Makes a tunnel of the connection: from here on `poll_shutdown` ends what is sent, and the client
    /// can still be read. [`Shutdown::shutdown`] closes it as before.
    pub(crate) fn become_tunnel(&mut self) {
        self.tunnel = true;
    }

    /// Whether nothing of the next request has been read.
    pub(super) fn is_between_requests(&self) -> bool {
        !self.prefix.is_empty() || self.state.is_between_requests()
    }

    /// Leaves the wait for the next request to Pingora, which may hold its beginning already.
    pub(super) fn leave_wait(&mut self, timeout: Duration) {
        self.idle_deadline = Instant::now() + timeout;
        self.head_bytes = 0;
        self.head_timer = None;
        self.state.enter(Phase::Head);
    }

    /// Waits until the next request begins to arrive.
    ///
    /// Nothing is allocated meanwhile: an idle connection costs its socket and this struct.
    pub(super) async fn wait_for_request(&mut self, timeout: Duration) -> Idle {
        self.state.enter(Phase::Idle);
        self.head_bytes = self.prefix.len();
        self.gathered.shrink();
        self.idle_deadline = Instant::now() + timeout;
        let idle = poll_fn(|cx| self.poll_idle(cx)).await;
        self.state.enter(Phase::Head);
        self.head_timer = None;
        idle
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        if !self.prefix.is_empty() || self.transport.poll_readable(cx).is_ready() {
            return Poll::Ready(Idle::Readable);
        }
        self.poll_end_of_wait(cx)
    }

    /// Ready when waiting for a request is over without one.
    fn poll_end_of_wait(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        if self.state.poll_closing(cx).is_ready() {
            return Poll::Ready(Idle::Closing);
        }
        self.poll_idle_timer(cx).map(|()| Idle::TimedOut)
    }

    /// Ready at the deadline. An older timer that fires before is moved, which spares every request
    /// in between the work of setting one.
    fn poll_idle_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.idle_deadline;
        let timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    fn poll_head_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.head_timeout;
        let timer = self
            .head_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(cx)
    }

    /// Ends a read before or within a request head: for good when the wait is over, and with an error,
    /// after telling the client, when the head is larger or slower than allowed.
    fn end_of_head(&mut self, cx: &mut Context<'_>, pending: bool) -> Option<io::Result<()>> {
        if self.state.phase() != Phase::Head || self.protocol == Protocol::Http2 {
            return None;
        }
        if self.head_bytes > self.head_limit {
            self.refuse(cx, RefusedHead::TooLarge);
            let large = io::Error::new(io::ErrorKind::InvalidData, "request head is too large");
            return Some(Err(large));
        }
        if !pending {
            return None;
        }
        if self.head_bytes == 0 {
            return self.poll_end_of_wait(cx).is_ready().then_some(Ok(()));
        }
        if self.poll_head_timer(cx).is_pending() {
            return None;
        }
        self.refuse(cx, RefusedHead::TooSlow);
        Some(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "request head is too slow",
        )))
    }

    /// Answers below Pingora, which has no reply for this. A full socket buffer loses it, no more.
    fn refuse(&mut self, cx: &mut Context<'_>, why: RefusedHead) {
        let answer = match why {
            RefusedHead::TooLarge => HEAD_TOO_LARGE,
            RefusedHead::TooSlow => HEAD_TOO_SLOW,
        };
        self.state.refuse(why);
        let transport = Pin::new(&mut self.transport);
        let _ = transport.poll_write(cx, answer);
        self.end_tls(cx);
        linger(self.transport.socket());
        self.ended = true;
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
        buf.put_slice(&self.prefix.split_to(length));
        true
    }

    /// Writes out everything that waits to be sent.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.gathered.poll_drain(cx, &mut self.transport))?;
        Pin::new(&mut self.transport).poll_flush(cx)
    }
}

/// What costs nothing to know; requests find the rest in [`ConnectionInfo::tls`].
fn ssl_digest(tls: &TlsFacts) -> Arc<SslDigest> {
    let (cipher, version) = (tls.cipher, tls.version);
    Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()))
}

fn remember(digest: &SocketDigest, peer: SocketAddr, local: SocketAddr) {
    let _ = digest.peer_addr.set(Some(peer.into()));
    let _ = digest.local_addr.set(Some(local.into()));
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
        self.head_bytes += read;
        self.state.add_received(read);
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

impl UniqueID for DownstreamIo {
    fn id(&self) -> UniqueIDType {
        self.transport.socket().as_raw_fd()
    }
}

impl Ssl for DownstreamIo {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl_digest.clone()
    }

    /// Pingora runs its HTTP/2 server on what says `h2` here, sniffed plain connections included.
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        Some(match self.protocol {
            Protocol::Http1 => ALPN::H1,
            Protocol::Http2 => ALPN::H2,
        })
    }
}

impl GetTimingDigest for DownstreamIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for DownstreamIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(self.proxy_digest.clone())
    }
}

impl GetSocketDigest for DownstreamIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.socket_digest.clone())
    }
}

impl Peek for DownstreamIo {}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::ListenerKey;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn connected() -> (TcpStream, DownstreamIo) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let info = ConnectionInfo {
            listener: ListenerKey {
                bind: None,
                port: 80,
            },
            local,
            peer,
            state: Arc::new(ConnectionState::new(1, peer)),
            tls: None,
        };
        info.state.request_started(None);
        let limits = Limits::default();
        let io = DownstreamIo::new(
            Transport::plain(socket),
            Bytes::new(),
            Protocol::Http1,
            info,
            &limits,
        )
        .unwrap();
        (client, io)
    }

    /// Pingora closes by the end of writing.
    #[tokio::test]
    async fn a_client_that_still_sends_when_it_is_answered_is_not_reset() {
        let (mut client, mut io) = connected().await;
        client.write_all(b"unread").await.unwrap();
        io.write_all(b"answer").await.unwrap();
        AsyncWriteExt::shutdown(&mut io).await.unwrap();
        drop(io);
        client.write_all(b"more").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_tunnel_that_is_closed_does_not_reset_its_client() {
        let (mut client, mut io) = connected().await;
        io.become_tunnel();
        client.write_all(b"unread").await.unwrap();
        io.write_all(b"bye").await.unwrap();
        Shutdown::shutdown(&mut io).await;
        drop(io);
        client.write_all(b"more").await.unwrap();
        let mut bye = String::new();
        client.read_to_string(&mut bye).await.unwrap();
        assert_eq!(bye, "bye");
    }
}
