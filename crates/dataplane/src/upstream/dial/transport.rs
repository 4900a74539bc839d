//! What carries a connection's bytes: a socket, or TLS on a socket.

use super::socket::Socket;
use super::{DialError, TlsFailure};
use crate::upstream::tls::{Alpn, ClientTls};
use rustls::ClientConnection;
use rustls::pki_types::{ServerName, UnixTime};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of TLS that are read at a time: the library would read a record in pieces of 4 KiB.
const READ: usize = 32 * 1024;

/// TLS on a socket.
type Encrypted = TlsStream<BufReader<Socket>>;

/// A connection below HTTP and below tunnels.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<Encrypted>),
}

impl Transport {
    /// Shakes hands on a socket.
    pub(super) async fn encrypted(
        socket: Socket,
        tls: &ClientTls,
        name: ServerName<'static>,
        alpn: Alpn,
    ) -> Result<Self, DialError> {
        let connector = TlsConnector::from(tls.config().clone());
        let connector = connector.with_alpn(tls.offers(alpn));
        let socket = BufReader::with_capacity(READ, socket);
        let shaken = connector.connect(name.clone(), socket).await;
        let stream = shaken.map_err(|error| DialError::Tls(TlsFailure::of(error)))?;
        tls.verify_again(stream.get_ref().1, &name, UnixTime::now())
            .map_err(|error| DialError::Tls(TlsFailure::of_certificate(&error)))?;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// The socket at the bottom.
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.get_ref().0.get_ref(),
        }
    }

    /// Absent: there is no TLS.
    pub(super) fn session(&self) -> Option<&ClientConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.get_ref().1),
        }
    }

    /// Whether TLS holds back bytes that were written, because the socket took no more.
    pub(super) fn holds_back(&self) -> bool {
        self.session().is_some_and(|session| session.wants_write())
    }
}

impl AsyncRead for Transport {
    /// An end of TLS that was not announced is an error: what came may be cut off.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
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
