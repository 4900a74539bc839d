//! What carries a downstream connection's bytes: a socket, or TLS on a socket.

use super::ReadAhead;
use super::either::Either;
use std::io::{self, BufRead as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection below HTTP and below tunnels: bytes as they are, or TLS that ends here.
pub(crate) type Transport = Either<TcpStream, Box<Encrypted>>;

/// TLS that ends here.
pub(crate) type Encrypted = TlsStream<ReadAhead<TcpStream>>;

impl Transport {
    /// Bytes as they are.
    pub(super) fn plain(socket: TcpStream) -> Self {
        Self::Left(socket)
    }

    /// TLS that ends here.
    pub(super) fn tls(stream: Box<Encrypted>) -> Self {
        Self::Right(stream)
    }

    /// The socket at the bottom.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Left(socket) => socket,
            Self::Right(tls) => tls.get_ref().0.get_ref(),
        }
    }

    /// Ready when a read would not have to wait. Allocates nothing before bytes have come.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let tls = match self {
            Self::Left(socket) => return socket.poll_read_ready(cx).map(drop),
            Self::Right(tls) => tls,
        };
        if has_plaintext(tls) {
            return Poll::Ready(());
        }
        let below = tls.get_ref().0;
        // Polling TLS itself would make room for a record that may come in an hour.
        if !below.has_read() && ready!(below.get_ref().poll_read_ready(cx)).is_err() {
            return Poll::Ready(());
        }
        // What came may be a message of TLS, and nothing of a request.
        Pin::new(tls).poll_fill_buf(cx).map(drop)
    }

    /// Whether TLS holds back bytes that were written, because the socket took no more.
    pub(super) fn holds_back(&self) -> bool {
        match self {
            Self::Left(_) => false,
            Self::Right(tls) => tls.get_ref().1.wants_write(),
        }
    }
}

/// Whether bytes, the end, or an error can be read without the socket.
fn has_plaintext(tls: &mut Encrypted) -> bool {
    let (_, session) = tls.get_mut();
    let waits = matches!(session.reader().fill_buf(), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    !waits
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tls = match &mut *self {
            Self::Left(socket) => return Pin::new(socket).poll_read(cx, buf),
            Self::Right(tls) => tls,
        };
        match ready!(Pin::new(tls).poll_read(cx, buf)) {
            // Many clients leave without saying so. Where a message was cut, its length tells.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}
