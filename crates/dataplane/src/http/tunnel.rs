//! WebSockets: from the upgrade on, bytes both ways, each way until its end.
//!
//! Once the 101 is written, Pingora's sessions are given up for the streams below them: a session
//! reads and writes in turns, so that a client that stops reading would not be heard either, and knows
//! no end of one direction.
//!
//! Pingora's own way may lose a tunnel at its start: when the 101 is read before the marker that ends
//! the request's empty body, that marker is taken for the end of the tunnel.

use super::context::RequestCtx;
use super::failure::Failure;
use super::{attempt, hop_by_hop, reply, response, retry, route};
use crate::net::{BothWays, DownstreamIo, End, Silence};
use crate::upstream::{Http2Upstream, UpstreamConnector};
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, UPGRADE};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::Shutdown;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::client::HttpSession as AnySession;
use pingora_core::protocols::http::v1::client::HttpSession as UpstreamHttp1;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use std::future::{Future, poll_fn, ready};
use std::io::Cursor;
use std::time::{Duration, Instant};

/// A session of Pingora's.
type HttpSession = AnySession<Http2Upstream>;

/// While both sides are open, silence may last for ever (promise 15).
const SILENCE: Silence = Silence {
    open: None,
    half: Some(Duration::from_secs(300)),
};

/// Whether the request asks for a tunnel: a WebSocket handshake, which has no body.
pub(super) fn is_asked_for(session: &mut Session, ctx: &RequestCtx) -> bool {
    let websocket = |headers: &HeaderMap| {
        let upgrade = headers.get(UPGRADE);
        upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
    };
    ctx.is_upgrade() && websocket(&session.req_header().headers) && session.is_body_empty()
}

/// Serves such a request to its end. What the upstream answers instead of a 101 is an ordinary answer.
pub(super) async fn serve(session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    session.set_keepalive(None);
    route::start_clock(ctx);
    match open(session, ctx).await {
        Ok(upstream) => forward(session, ctx, upstream).await,
        Err(failure) => reply::fail(session, ctx, &failure).await.map(drop),
    }
}

/// Connects and asks, again where the route's retries allow it, until there is the head of an answer.
async fn open(session: &mut Session, ctx: &mut RequestCtx) -> Result<HttpSession, Failure> {
    let shared = ctx.shared.clone();
    loop {
        let peer = attempt::begin(session, ctx).await?;
        let mut upstream = match connect(&shared.tunnels, &peer).await {
            Ok(upstream) => upstream,
            Err(mut error) => {
                error.as_up();
                if retry::after_connect_failure(session, ctx, &error) {
                    continue;
                }
                return Err(failure_of(error, ctx));
            }
        };
        ctx.connected(false, upstream.digest());
        let mut request = session.req_header().clone();
        hop_by_hop::keep_handshake(&mut request);
        attempt::dress(session, &mut request, ctx)?;
        let asked = ask(&mut upstream, request);
        let Err(mut error) = within(ctx, asked).await else {
            return Ok(upstream);
        };
        error.as_up();
        if !retry::after_error(session, ctx, &error, false) {
            return Err(failure_of(error, ctx));
        }
    }
}

/// A connection of its own: after a tunnel nobody else can use it.
async fn connect(connector: &Connector<UpstreamConnector>, peer: &HttpPeer) -> Result<HttpSession> {
    let (upstream, _) = connector.get_http_session(peer).await?;
    Ok(upstream)
}

async fn ask(upstream: &mut HttpSession, request: RequestHeader) -> Result<()> {
    upstream.write_request_header(Box::new(request)).await?;
    upstream.finish_request_body().await?;
    loop {
        upstream.read_response_header().await?;
        let status = upstream.response_header().map(|head| head.status);
        if status.is_none_or(|status| {
            !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
        }) {
            return Ok(());
        }
    }
}

/// The head of the answer is due within what the route's timeout leaves.
async fn within(ctx: &RequestCtx, asked: impl Future<Output = Result<()>>) -> Result<()> {
    let left = ctx.plan.as_ref().and_then(|plan| plan.left(Instant::now()));
    let Some(left) = left else {
        return asked.await;
    };
    match tokio::time::timeout(left, asked).await {
        Ok(asked) => asked,
        Err(_) => Err(Error::new(ErrorType::ReadTimedout)),
    }
}

fn failure_of(mut error: Box<Error>, ctx: &RequestCtx) -> Failure {
    error.as_up();
    Failure::of(&error, ctx.attempts.bound_by_try)
}

async fn forward(session: &mut Session, ctx: &mut RequestCtx, upstream: HttpSession) -> Result<()> {
    let Some(head) = upstream.response_header().cloned() else {
        return reply::fail(session, ctx, &Failure::Internal)
            .await
            .map(drop);
    };
    let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
    write_head(session, ctx, head).await?;
    match upstream {
        HttpSession::H1(upstream) if switched => {
            join(session, ctx, upstream).await;
            Ok(())
        }
        upstream => pass_answer(session, ctx, upstream).await,
    }
}

/// A refused upgrade: the answer must come whole.
async fn pass_answer(
    session: &mut Session,
    ctx: &mut RequestCtx,
    mut upstream: HttpSession,
) -> Result<()> {
    loop {
        match upstream.read_response_body().await {
            Ok(Some(data)) => send_down(session, ctx, data).await?,
            Ok(None) => break,
            Err(mut error) => {
                error.as_up();
                return Err(error);
            }
        }
    }
    upstream.shutdown().await;
    session.write_response_body(None, true).await
}

/// Joins the two connections until both ways have ended. Neither is HTTP's any more, so they are taken
/// out of their sessions, and the request is recorded here: its session has nothing left to tell.
async fn join(session: &mut Session, ctx: &mut RequestCtx, mut upstream: UpstreamHttp1) {
    let sent_ahead = at_once(session.downstream_session.read_request_body()).await;
    let answered_ahead = at_once(upstream.read_body_bytes()).await;
    let Some(mut downstream) = take_stream(session) else {
        return;
    };
    let mut upstream = upstream.into_inner();
    let mut ways = BothWays::new(sent_ahead, answered_ahead, SILENCE);
    let end = poll_fn(|cx| {
        let end = ways.poll(cx, &mut downstream, &mut upstream);
        // At every step, because a tunnel may also end by being dropped.
        ctx.outcome.received = ways.received();
        ctx.outcome.sent = ways.sent();
        end
    })
    .await;
    ctx.record();
    if end == End::Complete {
        upstream.shutdown().await;
        downstream.shutdown().await;
    }
}

/// What was read together with the head, or has just come: at most what Pingora reads at a time.
///
/// An end or an error seen here is seen again by whoever reads next.
async fn at_once(read: impl Future<Output = Result<Option<Bytes>>>) -> Bytes {
    tokio::select! {
        biased;
        read = read => read.ok().flatten().unwrap_or_default(),
        () = ready(()) => Bytes::new(),
    }
}

/// Leaves the session with a stream that is empty. It has no request any more, and nothing but its
/// (closing) end may follow.
pub(super) fn take_stream(session: &mut Session) -> Option<Box<DownstreamIo>> {
    let emptied = ServerSession::new_http1(Box::new(Cursor::new(Vec::new())));
    let taken = std::mem::replace(&mut *session.downstream_session, emptied);
    // Nothing but HTTP/1 can ask for an upgrade, and nothing but our stream is below it.
    let ServerSession::H1(http1) = taken else {
        return None;
    };
    let mut io: Box<DownstreamIo> = http1.into_inner().into_any().downcast().ok()?;
    io.become_tunnel();
    Some(io)
}

async fn write_head(
    session: &mut Session,
    ctx: &mut RequestCtx,
    mut head: ResponseHeader,
) -> Result<()> {
    hop_by_hop::strip(&mut head);
    response::learn(&head, ctx);
    response::forward(session, &mut head, ctx);
    session.write_response_header(Box::new(head), false).await
}

async fn send_down(session: &mut Session, ctx: &mut RequestCtx, data: Bytes) -> Result<()> {
    ctx.count_sent(Some(&data));
    session.write_response_body(Some(data), false).await
}
