//! An HTTP/1 client that sends what it is told and shows what it got.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing on loopback takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request or response as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Start line and header lines, case kept.
    pub(crate) head: String,
    pub(crate) body: String,
    /// The stream ended before the body did.
    pub(crate) cut: bool,
}

impl Message {
    /// `None` at the end of the stream.
    pub(crate) async fn read(
        socket: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
        response: bool,
    ) -> Option<Self> {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            more(socket, buffer).await?;
        };
        let head = String::from_utf8(buffer.drain(..end + 4).collect()).unwrap();
        let mut message = Self {
            head,
            body: String::new(),
            cut: false,
        };
        if response
            && ["HTTP/1.1 1", "HTTP/1.1 204", "HTTP/1.1 304"]
                .iter()
                .any(|s| message.head.starts_with(s))
        {
            return Some(message);
        }
        message.read_body(socket, buffer).await;
        Some(message)
    }

    async fn read_body(&mut self, socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) {
        if self.header("transfer-encoding").is_some() {
            while self.read_chunk(socket, buffer).await {}
            return;
        }
        let length = self
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while buffer.len() < length && !self.cut {
            self.cut = more(socket, buffer).await.is_none();
        }
        let length = length.min(buffer.len());
        self.body = String::from_utf8(buffer.drain(..length).collect()).unwrap();
    }

    async fn read_chunk(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
        buffer: &mut Vec<u8>,
    ) -> bool {
        loop {
            if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
                let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).unwrap(), 16)
                    .unwrap();
                if buffer.len() >= end + 4 + size {
                    let chunk: Vec<u8> = buffer.drain(..end + 4 + size).collect();
                    self.body += std::str::from_utf8(&chunk[end + 2..end + 2 + size]).unwrap();
                    return size > 0;
                }
            }
            if more(socket, buffer).await.is_none() {
                self.cut = true;
                return false;
            }
        }
    }

    /// All values of a header, joined by `|`.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let values: Vec<_> = lines
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        (!values.is_empty()).then(|| values.join("|"))
    }

    pub(crate) fn start_line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start_line()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap()
    }
}

async fn more(socket: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 4096];
    let read = tokio::time::timeout(PATIENCE, socket.read(&mut piece))
        .await
        .expect("bytes in time");
    match read {
        Ok(length) if length > 0 => {
            buffer.extend_from_slice(&piece[..length]);
            Some(())
        }
        _ => None,
    }
}

/// A connection to the gateway.
pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: S,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Over a stream that is connected.
    pub(crate) fn on(socket: S) -> Self {
        Self {
            socket,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &str) {
        self.socket.write_all(bytes.as_bytes()).await.unwrap();
        self.socket.flush().await.unwrap();
    }

    /// The next response. Panics at the end of the stream.
    pub(crate) async fn response(&mut self) -> Message {
        self.try_response().await.expect("a response")
    }

    /// `None` at the end of the stream.
    pub(crate) async fn try_response(&mut self) -> Option<Message> {
        Message::read(&mut self.socket, &mut self.buffer, true).await
    }

    pub(crate) async fn ask(&mut self, request: &str) -> Message {
        self.send(request).await;
        self.response().await
    }

    /// As [`Self::ask`], where the connection may end instead of an answer.
    pub(crate) async fn try_ask(&mut self, request: &str) -> std::io::Result<Message> {
        self.socket.write_all(request.as_bytes()).await?;
        self.socket.flush().await?;
        let answer = self.try_response().await;
        answer.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    /// Bytes beyond responses, up to this many.
    pub(crate) async fn bytes(&mut self, length: usize) -> String {
        while self.buffer.len() < length {
            more(&mut self.socket, &mut self.buffer)
                .await
                .expect("more bytes");
        }
        String::from_utf8(self.buffer.drain(..length).collect()).unwrap()
    }

    /// Whether the gateway closes the connection without another byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && more(&mut self.socket, &mut self.buffer).await.is_none()
    }
}

/// A `GET` with the host that the gateways of these tests serve.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n")
}

/// A `POST` with a body of known length.
pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
