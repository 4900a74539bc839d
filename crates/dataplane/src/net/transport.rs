//! What carries a downstream connection's bytes: a socket, or TLS on a socket.

use std::io::{self, BufRead as _, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A connection below HTTP and below tunnels.
pub(crate) enum Transport {
    /// Bytes as they are.
    Plain(TcpStream),
    /// TLS that ends here.
    Tls(Box<TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "plain",
            Self::Tls(_) => "tls",
        })
    }
}

impl Transport {
    /// The socket at the bottom.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Ready when a read would not have to wait. Allocates nothing before bytes have come.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let tls = match self {
            Self::Plain(socket) => return socket.poll_read_ready(cx).map(drop),
            Self::Tls(tls) => tls,
        };
        if has_plaintext(tls) {
            return Poll::Ready(());
        }
        // Polling TLS itself would make room for a record that may come in an hour.
        if ready!(tls.get_ref().0.poll_read_ready(cx)).is_err() {
            return Poll::Ready(());
        }
        // What came may be a message of TLS, and nothing of a request.
        Pin::new(tls).poll_fill_buf(cx).map(drop)
    }

    /// Whether TLS holds back bytes that were written, because the socket took no more.
    pub(super) fn holds_back(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.get_ref().1.wants_write(),
        }
    }
}

/// Whether bytes, the end, or an error can be read without the socket.
fn has_plaintext(tls: &mut TlsStream<TcpStream>) -> bool {
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
            Self::Plain(socket) => return Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => tls,
        };
        match ready!(Pin::new(tls).poll_read(cx, buf)) {
            // Many clients leave without saying so. Where a message was cut, its length tells.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            read => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Ends what is sent; with TLS, says so first.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
