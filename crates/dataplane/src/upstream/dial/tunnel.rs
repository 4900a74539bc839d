//! Tunnels through a forward proxy.
//!
//! Source: Istio `TrafficPolicy.TunnelSettings`; RFC 9110, 9.3.6.

use super::posted::{Framing, Posted};
use super::transport::Transport;
use super::{DialError, TunnelFailure};
use crate::net::Either;
use bytes::{Bytes, BytesMut};
use model::{TunnelProtocol, TunnelSettings};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest head of an answer that is read, whatever comes before it included.
const LONGEST_HEAD: usize = 8 * 1024;

/// What a forward proxy is asked for.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    request: Bytes,
    protocol: TunnelProtocol,
}

/// What bytes are read from and written to once there is a tunnel, or where there is none.
#[derive(Debug)]
pub(super) enum Carrier {
    /// As they are. What came right behind the proxy's answer is read first.
    Direct(Transport, Bytes),
    /// In the body of a request and of its answer.
    Posted(Box<Posted>),
}

impl Carrier {
    /// What bytes are written to.
    pub(super) fn writer(&mut self) -> Either<&mut Transport, &mut Posted> {
        match self {
            Self::Direct(transport, _) => Either::Left(transport),
            Self::Posted(posted) => Either::Right(posted),
        }
    }
}

impl Tunnel {
    pub(super) fn new(settings: &TunnelSettings) -> Self {
        let (host, port) = (&settings.target_host, settings.target_port);
        let target = match host.parse() {
            Ok(std::net::IpAddr::V6(address)) => format!("[{address}]:{port}"),
            _ => format!("{host}:{port}"),
        };
        let request = match settings.protocol {
            TunnelProtocol::Connect => {
                format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n")
            }
            // As Envoy's: the proxy knows the target by the host alone.
            TunnelProtocol::Post => {
                format!("POST / HTTP/1.1\r\nhost: {target}\r\ntransfer-encoding: chunked\r\n\r\n")
            }
        };
        Self {
            request: request.into(),
            protocol: settings.protocol,
        }
    }

    /// Asks for the tunnel and waits for the answer.
    pub(super) async fn open(&self, mut transport: Transport) -> Result<Carrier, DialError> {
        let head = self.ask(&mut transport).await.map_err(DialError::Tunnel)?;
        if !(200..300).contains(&head.status) {
            return Err(DialError::Tunnel(TunnelFailure::Status(head.status)));
        }
        Ok(match self.protocol {
            // What the answer says of a body does not count (RFC 9110).
            TunnelProtocol::Connect => Carrier::Direct(transport, head.rest),
            TunnelProtocol::Post => {
                let posted = Posted::new(transport, head.framing, head.rest);
                Carrier::Posted(Box::new(posted))
            }
        })
    }

    async fn ask(&self, transport: &mut Transport) -> Result<Head, TunnelFailure> {
        let asked = async {
            transport.write_all(&self.request).await?;
            transport.flush().await
        };
        asked.await.map_err(TunnelFailure::Io)?;
        let mut bytes = BytesMut::with_capacity(512);
        let mut read = 0;
        loop {
            while let Some(head) = take_head(&mut bytes)? {
                // A provisional answer; the answer is yet to come.
                if !(100..200).contains(&head.status) {
                    return Ok(head);
                }
                bytes = BytesMut::from(&*head.rest);
            }
            let got = transport.read_buf(&mut bytes).await;
            let got = got.map_err(TunnelFailure::Io)?;
            read += got;
            if got == 0 {
                return Err(TunnelFailure::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            if read > LONGEST_HEAD && end_of_head(&bytes).is_none_or(|end| end > LONGEST_HEAD) {
                return Err(TunnelFailure::Malformed("too long"));
            }
        }
    }
}

/// The head of an answer.
struct Head {
    status: u16,
    /// How its body is delimited.
    framing: Framing,
    /// What came behind it.
    rest: Bytes,
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// `None`: more bytes will tell.
fn take_head(bytes: &mut BytesMut) -> Result<Option<Head>, TunnelFailure> {
    let Some(end) = end_of_head(bytes) else {
        return Ok(None);
    };
    let rest = bytes.split_off(end).freeze();
    let text = std::str::from_utf8(bytes).map_err(|_| TunnelFailure::Malformed("not HTTP"))?;
    let mut lines = text.trim_end().split("\r\n");
    let status = lines.next().and_then(status_of);
    let status = status.ok_or(TunnelFailure::Malformed("not HTTP/1"))?;
    let mut framing = Framing::UntilEnd;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            // Of what else it may be coded in nothing is asked for.
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && framing != Framing::Chunked {
            let length = value.parse();
            let length = length.map_err(|_| TunnelFailure::Malformed("of no valid length"))?;
            framing = Framing::Length(length);
        }
    }
    Ok(Some(Head {
        status,
        framing,
        rest,
    }))
}

/// 200 of `HTTP/1.1 200 OK`.
fn status_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let mut words = rest.split(' ');
    let minor = words.next()?;
    let status = words.next()?;
    let is_number = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
    (matches!(minor, "0" | "1") && is_number)
        .then(|| status.parse().ok())
        .flatten()
}
