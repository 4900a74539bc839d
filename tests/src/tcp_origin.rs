//! Upstreams that speak no HTTP.

use crate::authority::Certificate;
use crate::census::Census;
use rustls::crypto::ring::default_provider;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

type Handler = dyn Fn(TcpStream) -> io::Result<()> + Send + Sync;

/// A TCP server that does with each connection what a test says, on loopback unless said otherwise.
#[derive(Debug)]
pub struct TcpOrigin {
    address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    census: Census,
}

impl TcpOrigin {
    /// Handles every connection on a thread of its own, and closes it then.
    pub fn serving<F>(handler: F) -> Self
    where
        F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::serving_at((Ipv4Addr::LOCALHOST, 0).into(), handler)
    }

    /// As [`TcpOrigin::serving`], at a given address.
    pub fn serving_at<F>(address: SocketAddr, handler: F) -> Self
    where
        F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
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

    /// Sends everything back, and ends when the client has ended.
    pub fn echo() -> Self {
        Self::echo_at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// As [`TcpOrigin::echo`], at a given address.
    pub fn echo_at(address: SocketAddr) -> Self {
        Self::serving_at(address, |stream| echo(&mut &stream))
    }

    /// The same in TLS.
    pub fn tls_echo(certificate: &Certificate) -> Self {
        let config = server_config(certificate);
        Self::serving(move |stream| {
            let mut stream = accept_tls(&config, stream)?;
            echo(&mut stream)?;
            stream.conn.send_close_notify();
            stream.flush()
        })
    }

    /// Speaks first: says its name, and ends.
    pub fn named(name: &'static str) -> Self {
        Self::named_at((Ipv4Addr::LOCALHOST, 0).into(), name)
    }

    /// As [`TcpOrigin::named`], at a given address.
    pub fn named_at(address: SocketAddr, name: &'static str) -> Self {
        Self::serving_at(address, move |mut stream| {
            stream.write_all(name.as_bytes())?;
            stream.shutdown(Shutdown::Write)?;
            until_the_end(&mut stream)
        })
    }

    /// The same in TLS.
    pub fn tls_named(certificate: &Certificate, name: &'static str) -> Self {
        Self::tls_named_at((Ipv4Addr::LOCALHOST, 0).into(), certificate, name)
    }

    /// As [`TcpOrigin::tls_named`], at a given address.
    pub fn tls_named_at(
        address: SocketAddr,
        certificate: &Certificate,
        name: &'static str,
    ) -> Self {
        let config = server_config(certificate);
        Self::serving_at(address, move |stream| {
            let mut stream = accept_tls(&config, stream)?;
            stream.write_all(name.as_bytes())?;
            stream.conn.send_close_notify();
            stream.flush()?;
            until_the_end(&mut stream)
        })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections came in.
    pub fn connections(&self) -> usize {
        self.shared.census.came()
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.shared.census.open()
    }
}

impl Drop for TcpOrigin {
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
            let _ = stream.set_nodelay(true);
            let _ = handler(stream);
            // The copy is all that holds the connection now.
            shared.census.leave(number);
        });
    }
}

fn echo(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..read])?;
        stream.flush()?;
    }
}

fn until_the_end(stream: &mut impl Read) -> io::Result<()> {
    io::copy(stream, &mut io::sink()).map(drop)
}

fn server_config(certificate: &Certificate) -> Arc<ServerConfig> {
    let (chain, key) = certificate.parts();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Arc::new(config.expect("a key of its certificate"))
}

fn accept_tls(
    config: &Arc<ServerConfig>,
    mut stream: TcpStream,
) -> io::Result<StreamOwned<ServerConnection, TcpStream>> {
    let session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut session = session;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}
