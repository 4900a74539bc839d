//! WebSockets: from the upgrade on, bytes both ways until an end closes.
//!
//! Pingora's own way may lose a tunnel at its start: when the 101 is read before the marker that ends
//! the request's empty body, that marker is taken for the end of the tunnel.

use super::context::RequestCtx;
use super::failure::Failure;
use super::{attempt, hop_by_hop, reply, response, retry, route};
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, UPGRADE};
use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use std::future::Future;
use std::time::Instant;

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
            Err(_) if retry::after_connect_failure(session, ctx) => continue,
            Err(error) => return Err(failure_of(error, ctx)),
        };
        ctx.connected(false, upstream.digest());
        let mut request = session.req_header().clone();
        hop_by_hop::keep_handshake(&mut request);
        attempt::dress(session, &mut request, ctx)?;
        let asked = ask(&mut upstream, request);
        within(ctx, asked)
            .await
            .map_err(|error| failure_of(error, ctx))?;
        return Ok(upstream);
    }
}

/// A connection of its own: after a tunnel nobody else can use it.
async fn connect(connector: &Connector, peer: &HttpPeer) -> Result<HttpSession> {
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

async fn forward(
    session: &mut Session,
    ctx: &mut RequestCtx,
    mut upstream: HttpSession,
) -> Result<()> {
    let Some(head) = upstream.response_header().cloned() else {
        return reply::fail(session, ctx, &Failure::Internal)
            .await
            .map(drop);
    };
    let tunnel = head.status == StatusCode::SWITCHING_PROTOCOLS;
    write_head(session, ctx, head).await?;
    if tunnel && let HttpSession::H1(upstream) = &mut upstream {
        upstream.maybe_upgrade_body_writer();
    }
    loop {
        tokio::select! {
            data = upstream.read_response_body() => match data {
                Ok(Some(data)) => send_down(session, ctx, data).await?,
                Ok(None) => break,
                // A tunnel may end in any way; the answer to a refused upgrade must be whole.
                Err(_) if tunnel => break,
                Err(mut error) => {
                    error.as_up();
                    return Err(error);
                }
            },
            data = session.downstream_session.read_request_body(), if tunnel => match data {
                Ok(Some(data)) => {
                    ctx.count_received(Some(&data));
                    if upstream.write_request_body(data, false).await.is_err() {
                        break;
                    }
                }
                Ok(None) | Err(_) => break,
            },
        }
    }
    upstream.shutdown().await;
    session.write_response_body(None, true).await
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
