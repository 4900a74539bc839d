//! What a connection speaks, told from its first bytes.

use super::io::Protocol;
use bytes::Bytes;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How an HTTP/2 connection with prior knowledge begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads as little as decides it. `None`: the client closed before sending anything.
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
}
