//! gRPC's health service.

use crate::async_server::AsyncServer;
use crate::grpc;
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// An HTTP/2 server without TLS that answers every call as `grpc.health.v1.Health/Check` would: it serves, or not.
#[derive(Debug)]
pub struct GrpcHealth {
    server: AsyncServer,
    serving: Arc<AtomicBool>,
    checks: Arc<AtomicUsize>,
}

impl GrpcHealth {
    /// Starts one that serves.
    ///
    /// # Panics
    ///
    /// When there is no port or thread left.
    pub fn start() -> Self {
        let serving = Arc::new(AtomicBool::new(true));
        let checks = Arc::new(AtomicUsize::new(0));
        let server = AsyncServer::http2({
            let (serving, checks) = (Arc::clone(&serving), Arc::clone(&checks));
            move |request, _| {
                let is_check = request.uri().path() == "/grpc.health.v1.Health/Check";
                checks.fetch_add(usize::from(is_check), Ordering::SeqCst);
                // `HealthCheckResponse`: its one field is 1 for SERVING and 2 for NOT_SERVING.
                let status = if serving.load(Ordering::SeqCst) { 1 } else { 2 };
                let message = grpc::framed(&[8, status]);
                async move { Ok(grpc::reply(message, HeaderMap::new())) }
            }
        });
        Self {
            server,
            serving,
            checks,
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// From now on it says so.
    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::SeqCst);
    }

    /// How often it was asked by the service's own path.
    pub fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }
}
