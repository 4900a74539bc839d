//! An HTTP/1.1 client that sends exactly what it is told to.

use crate::wire::{Message, read_chunk};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::fmt::Write as _;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::ops::Deref;
use std::time::Duration;

/// No answer of a test takes this long.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// `GET target` with this `Host`.
    pub fn get(host: &str, target: &str) -> Self {
        Self::new("GET", host, target)
    }

    /// `POST target` with this `Host` and body.
    pub fn post(host: &str, target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: Some(body.into()),
            ..Self::new("POST", host, target)
        }
    }

    /// Any method.
    pub fn new(method: &str, host: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: vec![("Host".to_owned(), host.to_owned())],
            body: None,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Everything.
    pub message: Message,
}

impl Deref for Response {
    type Target = Message;
    fn deref(&self) -> &Message {
        &self.message
    }
}

/// A client's connection, in clear unless said otherwise.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    reader: BufReader<S>,
}

impl Connection {
    /// Connects to a port on loopback.
    ///
    /// # Panics
    ///
    /// When nothing accepts there.
    #[track_caller]
    pub fn open(port: u16) -> Self {
        match Self::try_open(port) {
            Ok(connection) => connection,
            Err(error) => panic!("connecting to 127.0.0.1:{port}: {error}"),
        }
    }

    /// Connects to a port on loopback.
    ///
    /// # Errors
    ///
    /// When nothing accepts there.
    pub fn try_open(port: u16) -> io::Result<Self> {
        Self::open_at((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Connects to any address.
    ///
    /// # Errors
    ///
    /// When nothing accepts there.
    pub fn open_at(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// As [`Connection::try_open`], from this address of 127.0.0.0/8.
    ///
    /// # Errors
    ///
    /// When nothing accepts there.
    pub fn try_open_from(source: Ipv4Addr, port: u16) -> io::Result<Self> {
        Self::open_from(source, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    /// As [`Connection::open_at`], from this address.
    ///
    /// # Errors
    ///
    /// When nothing accepts there.
    pub fn open_from(source: Ipv4Addr, address: SocketAddrV4) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(source, 0))?;
        connect(&socket, &address)?;
        Self::over(TcpStream::from(socket))
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self::new(stream))
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn finish(&mut self) -> io::Result<()> {
        self.reader.get_mut().shutdown(Shutdown::Write)
    }

    /// Waits for the peer to close an idle connection, and says whether it did within `limit`.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let mut byte = [0];
        let stream = self.reader.get_mut();
        let _ = stream.set_read_timeout(Some(limit));
        let closed = match stream.read(&mut byte) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        };
        let _ = stream.set_read_timeout(Some(READ_TIMEOUT));
        closed
    }
}

impl<S: Read + Write> Connection<S> {
    /// A connection over what is there.
    pub fn new(stream: S) -> Self {
        let reader = BufReader::new(stream);
        Self { reader }
    }

    /// What it is over.
    pub fn stream(&self) -> &S {
        self.reader.get_ref()
    }

    /// What it is over; what was read ahead is not in it.
    pub fn stream_mut(&mut self) -> &mut S {
        self.reader.get_mut()
    }

    /// What it is over, to speak something else there; what was read ahead is lost.
    pub fn into_stream(self) -> S {
        self.reader.into_inner()
    }

    /// Sends a request and reads its whole response.
    ///
    /// # Errors
    ///
    /// What the socket says; `UnexpectedEof` when the connection ended before the response did.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        self.write(&request.bytes())?;
        self.read_response(&request.method)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Reads the whole response to a request with this method.
    ///
    /// # Errors
    ///
    /// What the socket says; `UnexpectedEof` when the connection ended before the response did.
    pub fn read_response(&mut self, method: &str) -> io::Result<Response> {
        let mut response = self.read_head()?;
        let bodiless = method == "HEAD" || matches!(response.status, 100..200 | 204 | 304);
        if !bodiless {
            response.message.read_body(&mut self.reader, true)?;
        }
        Ok(response)
    }

    /// Reads the head of a response.
    ///
    /// # Errors
    ///
    /// What the socket says; `UnexpectedEof` when the connection ended before the head did.
    pub fn read_head(&mut self) -> io::Result<Response> {
        let message = Message::read_head(&mut self.reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = message.target().parse().map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("status line {:?}", message.start),
            )
        })?;
        Ok(Response { status, message })
    }

    /// Reads the next chunk of a chunked response; nothing after the last.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        read_chunk(&mut self.reader)
    }

    /// Reads exactly as many bytes as `buffer` has room for.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)
    }

    /// Sends bytes to a peer that sends them back, and reads as many.
    ///
    /// # Errors
    ///
    /// What the socket says; `UnexpectedEof` when the connection ended before.
    pub fn echo(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        self.write(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.read_exact(&mut back)?;
        Ok(back)
    }

    /// Everything up to the end of the connection, be it orderly or a reset.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.reader.read_to_end(&mut bytes);
        bytes
    }
}
