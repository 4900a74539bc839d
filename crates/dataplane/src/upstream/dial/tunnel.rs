//! A tunnel through a forward proxy.
//!
//! Source: Istio `TunnelSettings`, RFC 9110, section 9.3.6.

use super::chunked::{Chunked, State};
use super::error::DialError;
use super::socket::Socket;
use model::{TunnelProtocol, TunnelSettings};
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest head of an answer that is read.
const MAX_HEAD: usize = 8 * 1024;

/// A connection to the target through the proxy on the other side of `socket`.
pub(super) async fn open(
    mut socket: Socket,
    settings: &TunnelSettings,
) -> Result<Socket, DialError> {
    let head = ask(&mut socket, settings).await?;
    Ok(match settings.protocol {
        TunnelProtocol::Connect => socket,
        TunnelProtocol::Post if is_chunked(&head) => {
            Socket::Posted(Chunked::new(socket, State::Size))
        }
        TunnelProtocol::Post => Socket::Posted(Chunked::new(socket, State::Plain)),
    })
}

/// Asks the proxy on the other side of `io` for the target. What comes after its answer is the target's.
async fn ask<S>(io: &mut S, settings: &TunnelSettings) -> Result<Vec<u8>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    io.write_all(request(settings).as_bytes()).await?;
    io.flush().await?;
    let head = read_head(io).await?;
    match status(&head) {
        Some(200) => Ok(head),
        Some(status) => Err(refused(format!("the proxy answered {status}"))),
        None => Err(refused("the proxy's answer is not HTTP/1".to_owned())),
    }
}

fn refused(why: String) -> DialError {
    DialError::Tunnel(Arc::from(why))
}

fn request(settings: &TunnelSettings) -> String {
    let target = target(settings);
    let mut head = match settings.protocol {
        TunnelProtocol::Connect => format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"),
        // As Envoy does: the target is the host, and the body both ways are the bytes.
        TunnelProtocol::Post => {
            format!("POST / HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n")
        }
    };
    let _ = write!(head, "\r\n");
    head
}

fn target(settings: &TunnelSettings) -> String {
    let (host, port) = (&settings.target_host, settings.target_port);
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Byte by byte, since what follows the head belongs to somebody else.
async fn read_head<S: AsyncRead + Unpin>(io: &mut S) -> Result<Vec<u8>, DialError> {
    let mut head = Vec::with_capacity(128);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Err(refused(format!(
                "the proxy's answer is longer than {MAX_HEAD} bytes"
            )));
        }
        match io.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Err(refused("the proxy closed the connection".to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(head)
}

fn is_chunked(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines = text.lines();
    lines.any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"))
}

/// `HTTP/1.1 200 OK`
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::At;
    use tokio::io::duplex;

    fn settings(host: &str, protocol: TunnelProtocol) -> TunnelSettings {
        TunnelSettings {
            at: At::default(),
            protocol,
            target_host: host.to_owned(),
            target_port: 443,
        }
    }

    /// What becomes of an answer, and what is left to read after it.
    async fn answered(answer: &[u8]) -> (Result<Vec<u8>, DialError>, Vec<u8>) {
        let (mut near, mut far) = duplex(64 * 1024);
        far.write_all(answer).await.unwrap();
        let settings = settings("pay.test", TunnelProtocol::Connect);
        let opened = ask(&mut near, &settings).await;
        far.shutdown().await.unwrap();
        let mut asked = vec![0; request(&settings).len()];
        far.read_exact(&mut asked).await.unwrap();
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        (opened, rest)
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_the_target_s() {
        let (opened, rest) = answered(b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello").await;
        assert!(opened.is_ok());
        assert_eq!(rest, b"hello");
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        for (answer, why) in [
            (
                &b"HTTP/1.1 403 Forbidden\r\n\r\n"[..],
                "the tunnel was refused: the proxy answered 403",
            ),
            (
                b"SSH-2.0-x\r\n\r\n",
                "the tunnel was refused: the proxy's answer is not HTTP/1",
            ),
        ] {
            let (opened, _) = answered(answer).await;
            assert_eq!(opened.unwrap_err().to_string(), why);
        }
    }

    #[tokio::test]
    async fn an_endless_answer_is_not_read_to_its_end() {
        let (opened, _) = answered(&[b'x'; MAX_HEAD + 1]).await;
        assert!(opened.unwrap_err().to_string().contains("longer than 8192"));
    }

    #[test]
    fn a_target_is_named_as_a_host_is() {
        assert_eq!(
            request(&settings("2001:db8::1", TunnelProtocol::Connect)),
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
        );
        assert!(
            request(&settings("pay.test", TunnelProtocol::Post))
                .starts_with("POST / HTTP/1.1\r\nHost: pay.test:443\r\n")
        );
    }
}
