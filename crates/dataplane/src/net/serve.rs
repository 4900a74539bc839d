//! One connection from its first byte to its last.

use super::Limits;
use super::io::{DownstreamIo, Idle, Protocol};
use super::sniff::sniff;
use crate::connection::ConnectionInfo;
use bytes::Bytes;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use std::future::poll_fn;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Pingora's spelling of a keep-alive that it does not time by itself.
const KEEPALIVE_UNTIMED: u64 = 0;

/// Serves every request of a connection.
pub(super) async fn serve<A>(
    mut socket: TcpStream,
    info: ConnectionInfo,
    app: &Arc<A>,
    limits: &Limits,
    drain: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    // Small answers must not wait for the client's acknowledgements; where it fails, they do.
    let _ = socket.set_nodelay(true);
    let Some((protocol, prefix)) = first_bytes(&mut socket, &info, limits).await else {
        return;
    };
    let Ok(io) = DownstreamIo::new(socket, prefix, protocol, info, limits) else {
        return;
    };
    match protocol {
        Protocol::Http1 => serve_http1(Box::new(io), app, limits, drain).await,
        Protocol::Http2 => {
            app.process_new(Box::new(io), drain).await;
        }
    }
}

async fn first_bytes(
    socket: &mut TcpStream,
    info: &ConnectionInfo,
    limits: &Limits,
) -> Option<(Protocol, Bytes)> {
    let closing = poll_fn(|cx| info.state.poll_closing(cx));
    tokio::select! {
        biased;
        sniffed = tokio::time::timeout(limits.head_timeout, sniff(socket)) => sniffed.ok()?.ok()?,
        () = closing => None,
    }
}

/// Pingora's keep-alive loop with the wait between requests taken out of it: a connection that
/// waits holds neither a session nor a header buffer.
async fn serve_http1<A>(
    mut io: Box<DownstreamIo>,
    app: &Arc<A>,
    limits: &Limits,
    drain: &ShutdownWatch,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut settings: Option<HttpPersistentSettings> = None;
    loop {
        // A client that sends ahead has the next request in Pingora's hands already, where waiting
        // for it here would be in vain.
        if io.is_between_requests() {
            if io.wait_for_request(limits.idle_timeout).await != Idle::Readable {
                return;
            }
        } else {
            io.leave_wait(limits.idle_timeout);
        }
        let mut session = ServerSession::new_http1(io);
        if let Some(settings) = settings.take() {
            settings.apply_to_session(&mut session);
        }
        session.set_pipelining_enabled(true);
        let last = *drain.borrow();
        session.set_keepalive((!last).then_some(KEEPALIVE_UNTIMED));
        let Some(reused) = app.process_new_http(session, drain).await else {
            return;
        };
        let (stream, kept) = reused.consume();
        let Ok(same) = stream.into_any().downcast() else {
            return;
        };
        (io, settings) = (same, kept);
    }
}
