//! What origins have in common that are served by hyper.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// Some free port on loopback.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An answer, whatever its body is made of.
pub(crate) type Reply = Response<BoxBody<Bytes, Infallible>>;

/// A server with a runtime of its own, stopped on drop.
#[derive(Debug)]
pub(crate) struct AsyncServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    runtime: Option<Runtime>,
}

impl AsyncServer {
    /// Hands every connection to `serve`, with the number of those that came before it.
    pub(crate) fn start<F, S>(address: SocketAddr, serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> S + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener = listener.expect("a port to listen on");
        let address = listener.local_addr();
        let connections = Arc::new(AtomicUsize::new(0));
        runtime.spawn(accept(listener, Arc::clone(&connections), serve));
        Self {
            address: address.expect("a bound socket has an address"),
            connections,
            runtime: Some(runtime),
        }
    }

    /// Speaks HTTP/2 without TLS, on loopback; `answer` gets each request with the number of its connection.
    pub(crate) fn http2<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>, usize) -> A + Clone + Send + 'static,
        A: Future<Output = hyper::Result<Reply>> + Send + 'static,
    {
        Self::http2_at(LOOPBACK, answer)
    }

    /// As [`AsyncServer::http2`], at a given address.
    pub(crate) fn http2_at<F, A>(address: SocketAddr, answer: F) -> Self
    where
        F: Fn(Request<Incoming>, usize) -> A + Clone + Send + 'static,
        A: Future<Output = hyper::Result<Reply>> + Send + 'static,
    {
        Self::start(address, move |stream, number| {
            let answer = answer.clone();
            let service = service_fn(move |request| answer(request, number));
            let builder = http2::Builder::new(TokioExecutor::new());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            // How a client leaves is its own affair.
            async move { drop(connection.await) }
        })
    }

    /// The port it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many connections came in.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for AsyncServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One thread beside the test's.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn accept<F, S>(listener: TcpListener, connections: Arc<AtomicUsize>, serve: F)
where
    F: Fn(TcpStream, usize) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let number = connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(serve(stream, number));
    }
}
