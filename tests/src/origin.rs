//! Upstreams that do as a test says.

use crate::census::Census;
use crate::wire::{Message, read_chunk};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Requests kept for a test to look at; later ones are only counted.
const KEPT_REQUESTS: usize = 4096;

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum After {
    /// The next request is read.
    Keep,
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
}

/// One request, and the way to answer it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Its head; the body once [`Exchange::read_body`] was called.
    pub request: Message,
    /// How many requests came before it, on all connections.
    pub number: usize,
    /// How many connections came before its own.
    pub connection: usize,
    /// How many requests came before it on its own connection.
    pub on_connection: usize,
    reader: &'a mut BufReader<TcpStream>,
    body_read: bool,
}

impl Exchange<'_> {
    /// Reads the request's body, after telling the client to go on if it waits for that.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn read_body(&mut self) -> io::Result<&[u8]> {
        if !self.body_read {
            self.body_read = true;
            if self.request.header("expect").is_some() {
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            self.request.read_body(self.reader, false)?;
        }
        Ok(&self.request.body)
    }

    /// Reads the next chunk of a chunked request body; nothing after the last.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.body_read = true;
        read_chunk(self.reader)
    }

    /// Answers, after reading the request's body.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn reply(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        self.read_body()?;
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        let mut bytes = head.into_bytes();
        if self.request.method() != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.write(&bytes)
    }

    /// The address that was asked: not always the same where an origin listens on several.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.reader.get_ref().local_addr()
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    ///
    /// What the socket says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// The connection itself, once it has stopped speaking HTTP.
    pub fn stream(&mut self) -> &mut BufReader<TcpStream> {
        self.body_read = true;
        self.reader
    }

    /// Whether the peer gave the connection up.
    pub fn peer_is_gone(&mut self, limit: Duration) -> bool {
        let stream = self.reader.get_mut();
        let _ = stream.set_read_timeout(Some(limit));
        let gone = match stream.peek(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        };
        let _ = stream.set_read_timeout(None);
        gone
    }
}

/// An HTTP/1.1 server whose answers a test writes, on loopback unless said otherwise.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    hits: AtomicUsize,
    census: Census,
    requests: Mutex<Vec<Message>>,
}

type Handler = dyn Fn(&mut Exchange<'_>) -> io::Result<After> + Send + Sync;

impl Origin {
    /// Answers every request with `handler`.
    pub fn serving<F>(handler: F) -> Self
    where
        F: Fn(&mut Exchange<'_>) -> io::Result<After> + Send + Sync + 'static,
    {
        Self::serving_on(0, handler)
    }

    /// As [`Origin::serving`], on a given port.
    pub fn serving_on<F>(port: u16, handler: F) -> Self
    where
        F: Fn(&mut Exchange<'_>) -> io::Result<After> + Send + Sync + 'static,
    {
        Self::bound_to((Ipv4Addr::LOCALHOST, port), handler)
    }

    /// As [`Origin::serving`], at this address: all of 127.0.0.0/8 when it is unspecified.
    pub fn bound_to<F>(address: impl ToSocketAddrs, handler: F) -> Self
    where
        F: Fn(&mut Exchange<'_>) -> io::Result<After> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address).expect("a port to listen on");
        let listener = Arc::new(listener);
        let address = listener.local_addr();
        let shared = Arc::new(Shared::default());
        let acceptor = std::thread::spawn({
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            move || accept(&listener, &shared, &(Arc::new(handler) as Arc<Handler>))
        });
        Self {
            address: address.expect("a bound socket has an address"),
            listener,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Answers 200 with `name` as its body.
    pub fn named(name: &'static str) -> Self {
        Self::named_at((Ipv4Addr::LOCALHOST, 0).into(), name)
    }

    /// As [`Origin::named`], at a given address.
    pub fn named_at(address: SocketAddr, name: &'static str) -> Self {
        Self::bound_to(address, move |exchange| {
            exchange.reply(200, &[("Content-Type", "text/plain")], name.as_bytes())?;
            Ok(After::Keep)
        })
    }

    /// Listens on all addresses of 127.0.0.0/8, and answers 200 with the one that was asked.
    pub fn everywhere() -> Self {
        Self::bound_to((Ipv4Addr::UNSPECIFIED, 0), |exchange| {
            let asked = exchange.local_address()?.ip().to_string();
            exchange.reply(200, &[], asked.as_bytes())?;
            Ok(After::Keep)
        })
    }

    /// Answers with these statuses in turn, the last one for ever.
    pub fn answering(statuses: impl Into<Vec<u16>>) -> Self {
        let statuses = statuses.into();
        Self::serving(move |exchange| {
            let status = statuses[exchange.number.min(statuses.len() - 1)];
            exchange.reply(
                status,
                &[],
                format!("answer {}", exchange.number).as_bytes(),
            )?;
            Ok(After::Keep)
        })
    }

    /// Answers 200 with the request as JSON: `method`, `target`, `headers` (pairs), `body`.
    pub fn echo() -> Self {
        Self::echo_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// As [`Origin::echo`], at a given address.
    pub fn echo_at(address: SocketAddr) -> Self {
        Self::bound_to(address, |exchange| {
            exchange.read_body()?;
            let request = &exchange.request;
            let body = json!({
                "method": request.method(),
                "target": request.target(),
                "headers": request.headers,
                "body": request.text(),
            });
            let headers = [("Content-Type", "application/json")];
            exchange.reply(200, &headers, body.to_string().as_bytes())?;
            Ok(After::Keep)
        })
    }

    /// Answers 200 after a while.
    pub fn slow(delay: Duration) -> Self {
        Self::serving(move |exchange| {
            std::thread::sleep(delay);
            exchange.reply(200, &[], b"late")?;
            Ok(After::Keep)
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many requests came in.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// How many connections came in.
    pub fn connections(&self) -> usize {
        self.shared.census.came()
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.census.open()
    }

    /// How many connections were open at one time, at most.
    pub fn peak_connections(&self) -> usize {
        self.shared.census.peak()
    }

    /// The heads of the first few thousand requests.
    pub fn requests(&self) -> Vec<Message> {
        lock(&self.shared.requests).clone()
    }

    /// The head of the newest request.
    ///
    /// # Panics
    ///
    /// When there was none.
    #[track_caller]
    pub fn last_request(&self) -> Message {
        self.requests().pop().expect("the origin got no request")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the acceptor, in whichever network namespace it is.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.shared.census.close();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, handler: &Arc<Handler>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = shared.census.enter(&stream);
        let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
        std::thread::spawn(move || {
            let _ = converse(stream, number, &shared, handler.as_ref());
            shared.census.leave(number);
        });
    }
}

fn converse(
    stream: TcpStream,
    connection: usize,
    shared: &Shared,
    handler: &Handler,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    for on_connection in 0.. {
        let Some(request) = Message::read_head(&mut reader)? else {
            return Ok(());
        };
        shared.note(&request);
        let mut exchange = Exchange {
            request,
            number: shared.hits.fetch_add(1, Ordering::SeqCst),
            connection,
            on_connection,
            reader: &mut reader,
            body_read: false,
        };
        match handler(&mut exchange)? {
            After::Keep => exchange.read_body().map(drop)?,
            After::Close => return reader.get_ref().shutdown(Shutdown::Both),
            After::Reset => {
                rustix::net::sockopt::set_socket_linger(reader.get_ref(), Some(Duration::ZERO))?;
                shared.census.leave(connection);
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Shared {
    fn note(&self, request: &Message) {
        let mut requests = lock(&self.requests);
        if requests.len() < KEPT_REQUESTS {
            requests.push(request.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
