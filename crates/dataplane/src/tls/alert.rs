//! Short answers to clients that are turned away before there is a connection of TLS.

use crate::net::{Transport, linger};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// The first byte of everything that begins with a handshake of TLS.
pub(super) const HANDSHAKE: u8 = 22;

/// A fatal alert in clear, as every version of TLS understands it before keys are agreed on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Alert {
    /// Nothing here can be agreed on.
    HandshakeFailure = 40,
    /// A mistake on this side: there is no certificate.
    InternalError = 80,
    /// No server of this name.
    UnrecognizedName = 112,
}

impl Alert {
    pub(crate) fn record(self) -> [u8; 7] {
        [21, 3, 3, 0, 2, 2, self as u8]
    }

    /// Sends it, and lets the client read it before the connection ends.
    pub(super) fn send(self, socket: &TcpStream) {
        say(socket, &self.record());
    }
}

/// Sends a few bytes as the last of a connection. A full socket buffer loses them, no more.
pub(super) fn say(socket: &TcpStream, bytes: &[u8]) {
    let _ = socket.try_write(bytes);
    linger(socket);
}

/// Sends the last bytes of a connection, and lets the client read them. Whoever is gone misses them, no more.
pub(crate) async fn last_words(downstream: &mut Transport, bytes: &[u8]) {
    let _ = downstream.write_all(bytes).await;
    let _ = downstream.flush().await;
    if let Transport::Right(tls) = downstream {
        let _ = tls.shutdown().await;
    }
    linger(downstream.socket());
}

/// Whether something begins as TLS does.
pub(crate) fn is_hello(first: &[u8]) -> bool {
    first.first() == Some(&HANDSHAKE)
}

/// Whether the first bytes of a connection in clear are those of TLS. If so, its client is told in its own
/// language that there is none here.
pub(crate) fn refuse_tls(socket: &TcpStream, first: &[u8]) -> bool {
    let is_tls = is_hello(first);
    if is_tls {
        Alert::HandshakeFailure.send(socket);
    }
    is_tls
}
