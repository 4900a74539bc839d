//! WebSocket, both ends, as far as an echo needs it.

use crate::client::{Connection, Request};
use crate::origin::{After, Exchange};
use std::io::{self, Read};

/// The sample of RFC 6455 §1.3, so that no hash has to be computed here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const TEXT: u8 = 0x81;

/// A client's side of a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    connection: Connection,
}

impl WebSocket {
    /// Opens one on a port on loopback.
    ///
    /// # Panics
    ///
    /// When the handshake is not accepted.
    #[track_caller]
    pub fn open(port: u16, host: &str, target: &str) -> Self {
        Self::over(Connection::open(port), host, target)
    }

    /// As [`WebSocket::open`], on a connection that is there.
    ///
    /// # Panics
    ///
    /// When the handshake is not accepted.
    #[track_caller]
    pub fn over(mut connection: Connection, host: &str, target: &str) -> Self {
        let request = Request::get(host, target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", KEY);
        connection
            .write(&request.bytes())
            .expect("the request is sent");
        let head = connection.read_head().expect("an answer to the handshake");
        assert_eq!(head.status, 101, "{head:?}");
        assert_eq!(head.header("sec-websocket-accept"), Some(ACCEPT));
        Self { connection }
    }

    /// Sends a text of at most 125 bytes and reads what comes back.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn echo(&mut self, text: &str) -> io::Result<String> {
        self.send(text)?;
        self.receive()
    }

    /// Sends a text of at most 125 bytes.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        let mut frame = vec![TEXT, 0x80 | length_of(text)];
        frame.extend(MASK);
        frame.extend(masked(text.as_bytes()));
        self.connection.write(&frame)
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// When the connection is gone.
    pub fn receive(&mut self) -> io::Result<String> {
        let mut head = [0; 2];
        self.connection.read_exact(&mut head)?;
        let mut text = vec![0; usize::from(head[1])];
        self.connection.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// The handler of an origin that accepts a WebSocket and sends every text back.
///
/// # Errors
///
/// What the socket says.
pub fn websocket_echo(exchange: &mut Exchange<'_>) -> io::Result<After> {
    if exchange.request.header("sec-websocket-key") != Some(KEY) {
        exchange.reply(400, &[], b"no WebSocket key")?;
        return Ok(After::Close);
    }
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    );
    exchange.write(head.as_bytes())?;
    loop {
        let mut frame = [0; 6];
        if exchange.stream().read_exact(&mut frame).is_err() {
            return Ok(After::Close);
        }
        let mut text = vec![0; usize::from(frame[1] & 0x7f)];
        exchange.stream().read_exact(&mut text)?;
        let mut reply = vec![TEXT, frame[1] & 0x7f];
        reply.extend(masked(&text));
        exchange.write(&reply)?;
    }
}

fn length_of(text: &str) -> u8 {
    u8::try_from(text.len())
        .ok()
        .filter(|length| *length < 126)
        .expect("a short text")
}

fn masked(text: &[u8]) -> Vec<u8> {
    let mask = MASK.iter().cycle();
    text.iter()
        .zip(mask)
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}
