//! An upstream's response on its way to the client.

use super::context::{Plan, RequestCtx};
use super::deadline;
use super::facts::{RequestFacts, ResponseTarget};
use super::forwarding::SERVICE_TIME;
use super::sidecar;
use http::header::{HeaderMap, SERVER, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use rules::{EffectiveOps, HeaderOps, HeaderTemplate};
use std::time::Instant;
use traffic::Observed;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Takes note of an upstream's answer that will be forwarded, and dresses it for the client.
pub(super) fn forward(session: &mut Session, response: &mut ResponseHeader, ctx: &mut RequestCtx) {
    note(session, response, ctx);
    let stays_as_sent = ctx.head.as_ref().is_some_and(|head| head.stays_as_sent());
    if !stays_as_sent {
        tell_passage(response, ctx);
    }
    let Some(plan) = &ctx.plan else {
        return;
    };
    let operations = plan
        .action()
        .and_then(|action| action.response_operations(plan.destination));
    if let Some(operations) = operations.filter(|operations| !operations.is_empty()) {
        apply(&operations, session, ctx, response);
    }
    add_cors(plan, response);
    if let Some(cookie) = &plan.affinity.cookie {
        let _ = response.append_header(SET_COOKIE, cookie.clone());
    }
    ctx.outcome.status = response.status.as_u16();
}

/// Tells the client whom the answer passed, and how long it took.
fn tell_passage(response: &mut ResponseHeader, ctx: &RequestCtx) {
    let side = ctx.head.as_ref().map(|head| head.connection.side);
    let server = sidecar::server(side.unwrap_or_default(), &ctx.shared.settings.server);
    let millis = ctx.outcome.upstream_time.unwrap_or_default().as_millis();
    // Well-formed names and values are never refused.
    let _ = response.insert_header(SERVER, server);
    let _ = response.insert_header(
        SERVICE_TIME,
        HeaderValue::from(u64::try_from(millis).unwrap_or(u64::MAX)),
    );
}

fn note(session: &mut Session, response: &ResponseHeader, ctx: &mut RequestCtx) {
    let outcome = &mut ctx.outcome;
    outcome.status = response.status.as_u16();
    outcome.details = "via_upstream".into();
    outcome.via_upstream = true;
    outcome.grpc_status = grpc_status(&response.headers).or(outcome.grpc_status);
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        // A tunnel lasts as long as its ends want (promise 15).
        outcome.upgraded = true;
        deadline::let_run();
        session.set_read_timeout(None);
        session.set_write_timeout(None);
    } else if let Some(deadline) = ctx.plan.as_ref().and_then(|plan| plan.deadline)
        && ctx.outcome.received_all
    {
        deadline::cut_at(deadline);
    }
}

/// `grpc-status` of headers or trailers.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers
        .get(&GRPC_STATUS)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Learns from a response head how long its connection may idle, how long the answer took, and whether
/// the attempt failed.
pub(super) fn learn(response: &ResponseHeader, ctx: &mut RequestCtx) {
    let began = ctx.attempts.began.unwrap_or_else(Instant::now);
    ctx.outcome.upstream_time = Some(began.elapsed());
    if let Some(upstream) = ctx.upstream() {
        upstream.keep_alive.learn(&response.headers);
    }
    if response.status.is_server_error()
        && let Some(active) = &ctx.attempts.active
    {
        active.endpoint().record_failure();
    }
    ctx.observe(Observed::Status(judged(response, ctx)));
}

/// The status by which an endpoint is judged: that which a gRPC status stands for, where one came with the head.
fn judged(response: &ResponseHeader, ctx: &RequestCtx) -> u16 {
    let grpc = ctx.is_grpc().then(|| grpc_status(&response.headers));
    grpc.flatten()
        .map_or(response.status.as_u16(), rules::http_status_for)
}

/// Header operations on a response.
pub(super) fn apply(
    operations: &EffectiveOps<'_>,
    session: &Session,
    ctx: &RequestCtx,
    response: &mut ResponseHeader,
) {
    // Operators may ask for the very headers that are being changed: they see them as they were.
    let before = is_computed(operations).then(|| response.headers.clone());
    let facts = RequestFacts {
        ctx,
        request: session.req_header(),
        response: before.as_ref(),
    };
    operations.apply(&mut ResponseTarget(response), &facts);
}

fn is_computed(operations: &EffectiveOps<'_>) -> bool {
    let (EffectiveOps::Continued { route, destination }
    | EffectiveOps::InTurn { destination, route }) = operations;
    let computed = |ops: &HeaderOps| {
        ops.set
            .iter()
            .chain(&ops.add)
            .any(|(_, value)| matches!(value, HeaderTemplate::Parts(_)))
    };
    computed(route) || computed(destination)
}

/// What the cross-origin policy says replaces what the upstream said.
pub(super) fn add_cors(plan: &Plan, response: &mut ResponseHeader) {
    for (name, value) in &plan.cors_headers {
        let _ = response.insert_header(name, value.clone());
    }
}
