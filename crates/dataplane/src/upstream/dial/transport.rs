//! What carries a connection's bytes: a socket, or TLS on a socket.

use super::socket::Socket;
use super::{DialError, TlsFailure};
use crate::net::{Either, ReadAhead};
use crate::upstream::tls::{Alpn, ClientTls};
use rustls::ClientConnection;
use rustls::pki_types::{ServerName, UnixTime};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TLS on a socket.
type Encrypted = TlsStream<ReadAhead<Socket>>;

/// A connection below HTTP and below tunnels: a socket alone, or TLS on it.
pub(super) type Transport = Either<Socket, Box<Encrypted>>;

impl Transport {
    /// Leaves the socket as it is.
    pub(super) fn plain(socket: Socket) -> Self {
        Self::Left(socket)
    }

    /// Shakes hands on a socket.
    pub(super) async fn encrypted(
        socket: Socket,
        tls: &ClientTls,
        name: ServerName<'static>,
        alpn: Alpn,
    ) -> Result<Self, DialError> {
        let connector = TlsConnector::from(tls.config().clone());
        let connector = connector.with_alpn(tls.offers(alpn));
        let socket = ReadAhead::new(socket);
        let shaken = connector.connect(name.clone(), socket).await;
        let stream = shaken.map_err(|error| DialError::Tls(TlsFailure::of(error)))?;
        tls.verify_again(stream.get_ref().1, &name, UnixTime::now())
            .map_err(|error| DialError::Tls(TlsFailure::of_certificate(&error)))?;
        Ok(Self::Right(Box::new(stream)))
    }

    /// The socket at the bottom.
    pub(super) fn socket(&self) -> &Socket {
        match self {
            Self::Left(socket) => socket,
            Self::Right(tls) => tls.get_ref().0.get_ref(),
        }
    }

    /// Absent: there is no TLS.
    pub(super) fn session(&self) -> Option<&ClientConnection> {
        match self {
            Self::Left(_) => None,
            Self::Right(tls) => Some(tls.get_ref().1),
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
            Self::Left(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Right(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}
