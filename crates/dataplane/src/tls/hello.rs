//! Reading a ClientHello, and keeping its bytes for where TLS goes through as it is.

use super::alert::HANDSHAKE;
use super::failure::HandshakeFailure;
use bytes::{Bytes, BytesMut};
use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use std::borrow::Cow;
use tokio::io::{AsyncRead, AsyncReadExt};

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
pub(crate) struct Hello {
    pub(crate) accepted: Accepted,
    /// Everything that came so far.
    pub(crate) raw: Bytes,
}

/// What is no ClientHello.
pub(crate) struct NoHello {
    pub(crate) failure: HandshakeFailure,
    /// What the client is told, in its own language. Empty: nothing.
    pub(crate) answer: Cow<'static, [u8]>,
    /// Everything that came so far.
    pub(crate) raw: Bytes,
}

impl NoHello {
    /// Whether the client went away before there was anything to say about it.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.failure, HandshakeFailure::Closed)
    }
}

/// Reads until the ClientHello is whole.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Hello, NoHello> {
    let mut raw = BytesMut::with_capacity(USUAL);
    match read_into(&mut raw, stream).await {
        Ok(accepted) => Ok(Hello {
            accepted,
            raw: raw.freeze(),
        }),
        Err((failure, answer)) => Err(NoHello {
            failure,
            answer,
            raw: raw.freeze(),
        }),
    }
}

/// Why it is none, and what the client is told.
type Broken = (HandshakeFailure, Cow<'static, [u8]>);

fn silently(failure: HandshakeFailure) -> Broken {
    (failure, Cow::Borrowed(&[]))
}

async fn read_into(
    raw: &mut BytesMut,
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Accepted, Broken> {
    let mut acceptor = Acceptor::default();
    loop {
        let known = raw.len();
        let room = PIECE.min(MAX_HELLO - known);
        if room == 0 {
            return Err(silently(HandshakeFailure::TooLarge));
        }
        let read = (&mut *stream).take(room as u64).read_buf(raw).await;
        if read.map_err(|_| silently(HandshakeFailure::Closed))? == 0 {
            return Err(silently(HandshakeFailure::Closed));
        }
        if raw[0] != HANDSHAKE && raw[0].is_ascii_uppercase() {
            return Err((HandshakeFailure::PlainHttp, Cow::Borrowed(PLAIN_HTTP)));
        }
        if let Some(accepted) = feed(&mut acceptor, &raw[known..])? {
            return Ok(accepted);
        }
    }
}

/// Shows rustls what was read.
fn feed(acceptor: &mut Acceptor, mut piece: &[u8]) -> Result<Option<Accepted>, Broken> {
    while !piece.is_empty() {
        match acceptor.read_tls(&mut piece) {
            Ok(0) | Err(_) => return Err(silently(HandshakeFailure::TooLarge)),
            Ok(_) => {}
        }
    }
    acceptor
        .accept()
        .map_err(|(error, alert)| (HandshakeFailure::Malformed(error), record(alert)))
}

fn record(mut alert: AcceptedAlert) -> Cow<'static, [u8]> {
    let mut record = Vec::new();
    // Writing to a vector cannot fail.
    let _ = alert.write_all(&mut record);
    record.into()
}
