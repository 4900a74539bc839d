//! Reading a ClientHello, and keeping its bytes for where TLS goes through as it is.

use super::alert::{HANDSHAKE, say};
use super::failure::HandshakeFailure;
use bytes::{Bytes, BytesMut};
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Bytes of a ClientHello at most. Those of today have 500 to 2,000.
const MAX_HELLO: usize = 16 * 1024;
/// What is read at a time: what rustls takes at a time.
const PIECE: usize = 4096;
/// Room for a usual hello.
const USUAL: usize = 2048;

/// The answer to a request in clear.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 63\r\nconnection: close\r\n\r\n\
This port speaks HTTPS. Use https:// instead of http:// for it.";

/// A ClientHello that was read whole.
pub(super) struct Hello {
    pub(super) accepted: Accepted,
    /// Everything that came so far.
    pub(super) raw: Bytes,
}

/// Reads until the ClientHello is whole. What is none is answered, and an error.
pub(super) async fn read(socket: &mut TcpStream) -> Result<Hello, HandshakeFailure> {
    let mut acceptor = Acceptor::default();
    let mut raw = BytesMut::with_capacity(USUAL);
    loop {
        let known = raw.len();
        let room = PIECE.min(MAX_HELLO - known);
        if room == 0 {
            return Err(HandshakeFailure::TooLarge);
        }
        let read = (&mut *socket).take(room as u64).read_buf(&mut raw).await;
        if read.map_err(|_| HandshakeFailure::Closed)? == 0 {
            return Err(HandshakeFailure::Closed);
        }
        if raw[0] != HANDSHAKE && raw[0].is_ascii_uppercase() {
            say(socket, PLAIN_HTTP);
            return Err(HandshakeFailure::PlainHttp);
        }
        if let Some(accepted) = feed(&mut acceptor, &raw[known..], socket)? {
            let raw = raw.freeze();
            return Ok(Hello { accepted, raw });
        }
    }
}

/// Shows rustls what was read.
fn feed(
    acceptor: &mut Acceptor,
    mut piece: &[u8],
    socket: &TcpStream,
) -> Result<Option<Accepted>, HandshakeFailure> {
    while !piece.is_empty() {
        match acceptor.read_tls(&mut piece) {
            Ok(0) | Err(_) => return Err(HandshakeFailure::TooLarge),
            Ok(_) => {}
        }
    }
    acceptor.accept().map_err(|(error, alert)| {
        tell(socket, alert);
        HandshakeFailure::Malformed(error)
    })
}

fn tell(socket: &TcpStream, mut alert: AcceptedAlert) {
    let mut record = Vec::new();
    // Writing to a vector cannot fail.
    let _ = alert.write_all(&mut record);
    say(socket, &record);
}
