//! gRPC's health service.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// An HTTP/2 server without TLS that answers every call as `grpc.health.v1.Health/Check` would: it serves, or not.
#[derive(Debug)]
pub struct GrpcHealth {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct Shared {
    serving: AtomicBool,
    checks: AtomicUsize,
}

impl GrpcHealth {
    /// Starts one that serves.
    ///
    /// # Panics
    ///
    /// When there is no port or thread left.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a port to listen on");
        let address = listener.local_addr();
        let shared = Arc::new(Shared {
            serving: AtomicBool::new(true),
            checks: AtomicUsize::new(0),
        });
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address: address.expect("a bound socket has an address"),
            shared,
            runtime: Some(runtime),
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on it says so.
    pub fn set_serving(&self, serving: bool) {
        self.shared.serving.store(serving, Ordering::SeqCst);
    }

    /// How often it was asked by the service's own path.
    pub fn checks(&self) -> usize {
        self.shared.checks.load(Ordering::SeqCst)
    }
}

impl Drop for GrpcHealth {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request: Request<Incoming>| {
            if request.uri().path() == "/grpc.health.v1.Health/Check" {
                shared.checks.fetch_add(1, Ordering::SeqCst);
            }
            let answer = answer(shared.serving.load(Ordering::SeqCst));
            async move { Ok::<_, Infallible>(answer) }
        });
        let builder = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

/// `HealthCheckResponse`: its one field is 1 for SERVING and 2 for NOT_SERVING.
fn answer(serving: bool) -> Response<BoxBody<Bytes, Infallible>> {
    let status = if serving { 1 } else { 2 };
    let message = Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    let mut response = Response::new(body.boxed());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}
