//! What a connection speaks, told from its first bytes.

use super::io::Protocol;
use crate::tls::is_hello;
use bytes::{Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

/// How an HTTP/2 connection with prior knowledge begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request line that is longer is not waited for.
const LONGEST_LINE: usize = 8 * 1024;
/// Room for a usual one.
const USUAL_LINE: usize = 512;

/// Methods that nothing but HTTP begins with. Of others the whole line is looked at.
const METHODS: [&[u8]; 9] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
];

/// Reads as little as decides it, where HTTP is spoken. `None`: the client closed before sending anything.
pub(super) async fn sniff(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(Protocol, Bytes)>> {
    let mut first = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let read = stream.read(&mut first[length..]).await?;
        length += read;
        let bytes = &first[..length];
        if length == 0 {
            return Ok(None);
        }
        if bytes == PREFACE {
            return Ok(Some((Protocol::Http2, Bytes::copy_from_slice(bytes))));
        }
        if read == 0 || !PREFACE.starts_with(bytes) {
            return Ok(Some((Protocol::Http1, Bytes::copy_from_slice(bytes))));
        }
    }
}

/// What a client has begun with, where it may speak anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Begun {
    /// HTTP in clear.
    Http(Protocol),
    /// A handshake of TLS.
    Tls,
    /// Something else, or nothing in time.
    Other,
    /// The connection broke before it had begun.
    Failed,
}

/// Reads as little as decides it, for as long as `patience`.
///
/// HTTP/1.0 counts as something else, as in Istio: it is forwarded as it is.
pub(super) async fn detect(
    stream: &mut (impl AsyncRead + Unpin),
    prefix: Bytes,
    patience: Duration,
) -> (Begun, Bytes) {
    let deadline = Instant::now() + patience;
    let mut first = BytesMut::with_capacity(USUAL_LINE.max(prefix.len()));
    first.extend_from_slice(&prefix);
    loop {
        if let Some(begun) = told_by(&first) {
            return (begun, first.freeze());
        }
        let room = (LONGEST_LINE - first.len()) as u64;
        let mut piece = (&mut *stream).take(room);
        let read = timeout_at(deadline, piece.read_buf(&mut first)).await;
        match read {
            Ok(Err(_)) => return (Begun::Failed, Bytes::new()),
            // Who sends nothing more may be listening still: to what a server says by itself.
            Ok(Ok(0)) | Err(_) => return (told_by_now(&first), first.freeze()),
            Ok(Ok(_)) => {}
        }
    }
}

/// What these bytes are, once that cannot change any more.
fn told_by(first: &[u8]) -> Option<Begun> {
    if first.is_empty() {
        return None;
    }
    if is_hello(first) {
        return of_hello(first);
    }
    if first.starts_with(PREFACE) {
        return Some(Begun::Http(Protocol::Http2));
    }
    if PREFACE.starts_with(first) {
        return None;
    }
    match first.iter().position(|byte| *byte == b'\n') {
        Some(end) => Some(of_line(&first[..end])),
        None if first.len() >= LONGEST_LINE => Some(told_by_now(first)),
        None if may_be_request_line(first) => None,
        None => Some(Begun::Other),
    }
}

/// What they are if nothing more comes.
fn told_by_now(first: &[u8]) -> Begun {
    match METHODS.iter().any(|method| first.starts_with(method)) {
        true => Begun::Http(Protocol::Http1),
        false => Begun::Other,
    }
}

/// What begins with the type of a TLS record (RFC 8446, section 5.1), and goes on with its version or as something else.
fn of_hello(first: &[u8]) -> Option<Begun> {
    const MAJOR_VERSION: u8 = 3;
    match *first.get(1)? {
        MAJOR_VERSION => Some(Begun::Tls),
        _ => Some(Begun::Other),
    }
}

fn of_line(line: &[u8]) -> Begun {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_request = may_be_request_line(line) && line.ends_with(b" HTTP/1.1");
    match is_request {
        true => Begun::Http(Protocol::Http1),
        false => Begun::Other,
    }
}

/// Whether it begins with a token (RFC 9110, section 5.6.2), and goes on with what can be seen.
fn may_be_request_line(first: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = first.iter().position(|byte| !is_token(byte));
    let rest = match method {
        None => return true,
        Some(0) => return false,
        Some(end) => &first[end..],
    };
    rest.starts_with(b" ")
        && rest
            .iter()
            .all(|byte| *byte == b'\r' || (*byte >= b' ' && *byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn sniffed(parts: &[&[u8]]) -> Option<(Protocol, Bytes)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        for part in parts {
            client.write_all(part).await.unwrap();
            client.flush().await.unwrap();
        }
        client.shutdown().await.unwrap();
        sniff(&mut server).await.unwrap()
    }

    #[tokio::test]
    async fn the_preface_means_http2_even_in_pieces() {
        let (protocol, prefix) = sniffed(&[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\nrest"])
            .await
            .unwrap();
        assert_eq!((protocol, &prefix[..]), (Protocol::Http2, &PREFACE[..]));
    }

    #[tokio::test]
    async fn a_method_that_begins_like_the_preface_is_http1() {
        let (protocol, prefix) = sniffed(&[b"P", b"OST / HTTP/1.1\r\n"]).await.unwrap();
        assert_eq!(protocol, Protocol::Http1);
        assert!(prefix.starts_with(b"PO"));
    }

    #[tokio::test]
    async fn a_short_request_does_not_wait_for_24_bytes() {
        let (protocol, prefix) = sniffed(&[b"GET / HTTP/1.0\r\n\r\n"]).await.unwrap();
        assert_eq!((protocol, prefix.len()), (Protocol::Http1, 18));
    }

    #[tokio::test]
    async fn a_connection_closed_at_once_is_nothing() {
        assert!(sniffed(&[]).await.is_none());
    }

    /// What is told of these pieces, each of which is read by itself, when nothing more comes for longer than anybody
    /// waits.
    async fn detected(pieces: &[&[u8]]) -> (Begun, Bytes) {
        let (mut client, mut server) = tokio::io::duplex(LONGEST_LINE * 2);
        for piece in pieces {
            client.write_all(piece).await.unwrap();
        }
        let told = detect(&mut server, Bytes::new(), Duration::from_secs(1)).await;
        drop(client);
        told
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_spoken_is_told_from_its_beginning() {
        let long = [b"GET /".as_slice(), &[b'a'; LONGEST_LINE]].concat();
        let (http1, http2) = (Begun::Http(Protocol::Http1), Begun::Http(Protocol::Http2));
        let cases: [(&[u8], Begun); 19] = [
            (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", http1),
            (b"BREW /pot HTTP/1.1\n", http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore", http2),
            (b"\x16\x03\x01", Begun::Tls),
            (b"\x16\x00\x2a", Begun::Other),
            (b"GET / HTTP/1.0\r\n\r\n", Begun::Other),
            (b"SET key value\r\n", Begun::Other),
            (b"*1\r\n$4\r\nPING\r\n", Begun::Other),
            (b"PING\r\n", Begun::Other),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Begun::Other),
            (b" GET / HTTP/1.1\r\n", Begun::Other),
            (b"GET /\x00 HTTP/1.1\r\n", Begun::Other),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Begun::Other),
            // Nothing more comes.
            (b"GET /slow", http1),
            (b"BREW /slow", Begun::Other),
            (b"PRI * HT", Begun::Other),
            (b"\x16", Begun::Other),
            (b"", Begun::Other),
            (&long, http1),
        ];
        for (bytes, want) in cases {
            let (begun, prefix) = detected(&[bytes]).await;
            assert_eq!(begun, want, "{:?}", String::from_utf8_lossy(bytes));
            assert!(bytes.starts_with(&prefix), "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_and_what_was_read_before_make_one_beginning() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.write_all(b" / HTTP/1.1\r\n").await.unwrap();
        let before = Bytes::from_static(b"GET");
        let told = detect(&mut server, before, Duration::from_secs(1)).await;
        let want = Bytes::from_static(b"GET / HTTP/1.1\r\n");
        assert_eq!(told, (Begun::Http(Protocol::Http1), want));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_will_say_nothing_may_listen() {
        let (mut client, mut server) = tokio::io::duplex(64);
        client.shutdown().await.unwrap();
        let told = detect(&mut server, Bytes::new(), Duration::from_secs(1)).await;
        assert_eq!(told, (Begun::Other, Bytes::new()));
    }

    #[tokio::test]
    async fn a_connection_that_breaks_before_it_begins_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let client = client.await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        // Without lingering it ends with a reset.
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        let told = detect(&mut server, Bytes::new(), Duration::from_secs(10)).await;
        assert_eq!(told, (Begun::Failed, Bytes::new()));
    }
}
