//! One connection from its first byte to its last.

use super::io::{DownstreamIo, Idle, Protocol};
use super::listener::Serving;
use super::manager::Application;
use super::sidecar::{self, Way};
use super::sniff::sniff;
use super::transport::Transport;
use super::{ConnectionState, Limits};
use crate::connection::ConnectionInfo;
use crate::forward_proxy::{Content, Refused, Tunnel};
use crate::shared::Speaks;
use crate::tcp::TcpConnection;
use crate::tls::{self, HandshakeFailure, Incoming};
use bytes::Bytes;
use pingora_core::apps::{HttpPersistentSettings, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use rules::{Denial, Serves, Target};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Pingora's spelling of a keep-alive that it does not time by itself.
const KEEPALIVE_UNTIMED: u64 = 0;

/// How long a client that has just shaken hands may take to send its request when its listener goes.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Serves a connection to its end. What is not HTTP in clear is boxed: it would make the future of every
/// connection larger.
pub(super) async fn serve<A: Application>(
    socket: TcpStream,
    mut info: ConnectionInfo,
    serving: &Serving<A>,
    drain: &ShutdownWatch,
) {
    // Small answers must not wait for the client's acknowledgements; where it fails, they do.
    let _ = socket.set_nodelay(true);
    let way = match serving.app.shared().speaks(&info) {
        Speaks::Http => Way::http(Transport::plain(socket)),
        Speaks::ForwardProxy => {
            info.proxied = Some(Arc::default());
            Way::http(Transport::plain(socket))
        }
        Speaks::Tcp => return Box::pin(forward(socket, &info, serving)).await,
        Speaks::Outbound => Box::pin(sidecar::outbound(socket, &mut info, serving)).await,
        Speaks::Inbound => Box::pin(sidecar::inbound(socket, &mut info, serving)).await,
        Speaks::Tls => match Box::pin(secured(socket, &mut info, serving)).await {
            Some(transport) => Way::http(transport),
            None => return,
        },
    };
    let (mut transport, sniffed) = match way {
        Way::Http { transport, sniffed } => (transport, sniffed),
        Way::Bytes {
            connection,
            transport,
            prefix,
        } => return Box::pin(connection.serve(transport, prefix)).await,
        Way::Over => return,
    };
    let sniffed = match sniffed {
        None => first_bytes(&mut transport, &info, &serving.limits).await,
        sniffed => sniffed,
    };
    if let Some(sniffed) = sniffed {
        serve_sniffed(transport, sniffed, info, serving, drain).await;
    }
}

async fn serve_sniffed<A: Application>(
    transport: Transport,
    (protocol, prefix): (Protocol, Bytes),
    info: ConnectionInfo,
    serving: &Serving<A>,
    drain: &ShutdownWatch,
) {
    let limits = &serving.limits;
    let (state, over_tls) = (info.state.clone(), info.tls.is_some());
    if !over_tls && tls::refuse_tls(transport.socket(), &prefix) {
        HandshakeFailure::TlsOnPlainPort.record(&info, serving.app.shared());
        return;
    }
    let proxied = info.proxied.clone();
    let protocol = match &proxied {
        // There only HTTP/1 was offered, and what else comes is refused as such.
        Some(proxied) if over_tls && proxied.makes_tunnels() => Protocol::Http1,
        _ => protocol,
    };
    let Ok(io) = DownstreamIo::new(transport, prefix, protocol, info, limits) else {
        return;
    };
    let io = Box::new(io);
    match protocol {
        Protocol::Http1 => {
            serve_http1(io, &serving.app, limits, drain).await;
            if let Some(tunnel) = proxied.and_then(|proxied| proxied.take_tunnel()) {
                serve_tunnel(tunnel, serving, drain).await;
            }
        }
        Protocol::Http2 => Box::pin(serve_http2(io, &state, &serving.app, drain)).await,
    }
}

async fn first_bytes(
    stream: &mut (impl AsyncRead + Unpin),
    info: &ConnectionInfo,
    limits: &Limits,
) -> Option<(Protocol, Bytes)> {
    let closing = async {
        poll_fn(|cx| info.state.poll_closing(cx)).await;
        if info.tls.is_some() {
            // It could not send anything before.
            tokio::time::sleep(FIRST_REQUEST).await;
        }
    };
    tokio::select! {
        biased;
        sniffed = tokio::time::timeout(limits.head_timeout, sniff(stream)) => sniffed.ok()?.ok()?,
        () = closing => None,
    }
}

/// Brings a connection of a TLS port to where HTTP is in the clear. `None`: it failed, or was no HTTP and is over.
async fn secured<A: Application>(
    socket: TcpStream,
    info: &mut ConnectionInfo,
    serving: &Serving<A>,
) -> Option<Transport> {
    let shared = serving.app.shared();
    let turn = serving.handshakes.turn(serving.limits.handshake_timeout);
    // A handshake that has begun is brought to its end.
    tokio::select! {
        biased;
        _ = turn.wait_for(&socket) => {}
        () = poll_fn(|cx| info.state.poll_closing(cx)) => return None,
    }
    let accepted = tls::accept(socket, info, shared, turn).await?;
    let (transport, prefix, routed) = match accepted {
        Incoming::Http(stream, facts) => {
            info.tls = Some(facts);
            return Some(Transport::tls(stream));
        }
        Incoming::ForwardProxy(stream, facts) => {
            info.tls = Some(facts);
            info.proxied = Some(Arc::default());
            return Some(Transport::tls(stream));
        }
        Incoming::Tcp(stream, facts, routed) => {
            info.tls = Some(facts);
            (Transport::tls(stream), Bytes::new(), routed)
        }
        Incoming::Through(socket, prefix, routed) => (Transport::plain(socket), prefix, routed),
    };
    let connection = TcpConnection::of_tls(shared, info, &routed);
    // It lasts as long as it lasts: the configuration that chose its way is not held on to.
    drop(routed);
    connection.serve(transport, prefix).await;
    None
}

/// Bytes in clear.
async fn forward<A: Application>(socket: TcpStream, info: &ConnectionInfo, serving: &Serving<A>) {
    let shared = serving.app.shared();
    let connection = {
        let snapshot = shared.snapshot();
        let listener = info.listener_in(&snapshot.table);
        let Some(Serves::Tcp(routes)) = listener.map(|listener| &listener.serves) else {
            // The listener has just become another.
            return;
        };
        TcpConnection::routed(shared, &snapshot, info, "", routes)
    };
    connection
        .serve(Transport::plain(socket), Bytes::new())
        .await;
}

/// Serves what the connection has become by CONNECT.
fn serve_tunnel<'s, A: Application>(
    tunnel: Box<Tunnel>,
    serving: &'s Serving<A>,
    drain: &'s ShutdownWatch,
) -> Pin<Box<dyn Future<Output = ()> + Send + 's>> {
    Box::pin(async move {
        let Tunnel {
            io,
            connection,
            content,
        } = *tunnel;
        let Ok((transport, prefix)) = io.into_parts().await else {
            return;
        };
        match content {
            Content::Http(target) => {
                let inside = Inside { connection, target };
                serve_inside(transport, prefix, inside, serving, drain).await;
            }
            content => {
                let patience = serving.limits.handshake_timeout;
                connection
                    .tunnel(transport, prefix, content, patience)
                    .await;
            }
        }
    })
}

/// A tunnel with requests in it.
struct Inside {
    connection: TcpConnection,
    target: Target,
}

/// Serves the requests in a tunnel.
async fn serve_inside<A: Application>(
    mut transport: Transport,
    prefix: Bytes,
    Inside {
        mut connection,
        target,
    }: Inside,
    serving: &Serving<A>,
    drain: &ShutdownWatch,
) {
    connection.opened();
    if connection.establish(&mut transport).await.is_err() {
        return;
    }
    let info = connection.inside(target);
    let state = info.state.clone();
    let (received, sent) = (state.received(), state.sent());
    let mut ahead: &[u8] = &prefix;
    let mut stream = (&mut ahead).chain(&mut transport);
    let Some((protocol, mut first)) = first_bytes(&mut stream, &info, &serving.limits).await else {
        return;
    };
    if !ahead.is_empty() {
        first = [&first, ahead].concat().into();
    }
    if tls::is_hello(&first) {
        tls::last_words(&mut transport, &tls::Alert::HandshakeFailure.record()).await;
        connection.refuse(Refused::Denied(Denial::Protocol), first.len());
        return;
    }
    serve_sniffed(transport, (protocol, first), info, serving, drain).await;
    connection.count(state.received() - received, state.sent() - sent);
}

/// Serves HTTP/2 of which a single connection may be asked to end: Pingora ends those of a listener together.
///
/// One that begins while its listener drains is for a request at least: its client would come back again and again
/// if it were told to go before it has sent any.
async fn serve_http2<A: Application>(
    io: Box<DownstreamIo>,
    state: &ConnectionState,
    app: &Arc<A>,
    drain: &ShutdownWatch,
) {
    let (end, ended) = watch::channel(false);
    let mut drain = drain.clone();
    let serving = app.process_new(io, &ended);
    tokio::pin!(serving);
    let told = async {
        let _ = drain.wait_for(|ends| *ends).await;
        poll_fn(|cx| state.poll_begun(cx)).await;
    };
    tokio::select! {
        biased;
        _ = &mut serving => return,
        () = told => {}
        () = poll_fn(|cx| state.poll_closing(cx)) => {}
    }
    let _ = end.send(true);
    serving.await;
}

/// Pingora's keep-alive loop with the wait between requests taken out of it: a connection that
/// waits holds neither a session nor a header buffer.
async fn serve_http1<A: Application>(
    mut io: Box<DownstreamIo>,
    app: &Arc<A>,
    limits: &Limits,
    drain: &ShutdownWatch,
) {
    let mut settings: Option<HttpPersistentSettings> = None;
    loop {
        // A client that sends ahead has the next request in Pingora's hands already, where waiting
        // for it here would be in vain.
        if io.is_between_requests() {
            if io.wait_for_request(limits.idle_timeout).await != Idle::Readable {
                io.take_leave();
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
