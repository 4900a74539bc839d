//! One attempt: its endpoint, its time, the head it sends.

use super::chance;
use super::context::{Head, Plan, RequestCtx};
use super::facts::{RequestFacts, RequestTarget};
use super::failure::Failure;
use super::forwarding::{
    ATTEMPT_COUNT, EXPECTED_TIMEOUT, ORIGINAL_HOST, ORIGINAL_PATH, UPSTREAM_TIMEOUT, insert,
};
use super::{admission, deadline, on_demand};
use crate::Side;
use crate::upstream::{Admission, Attempt, Kept, NotFound, Overflow, Stream, Upstream};
use http::header::{ACCEPT, CONNECTION, HOST};
use http::{HeaderValue, Version};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use std::time::{Duration, Instant};
use traffic::{Choice, Entry, Slot};

/// How much later than its deadline a request is cut that could still be answered properly: reading
/// is timed from when there is a connection, and the answer has to be made.
pub(super) const LATEST_CUT: Duration = Duration::from_millis(1250);

/// Waits until the cluster's limits let the next attempt through, and chooses its endpoint.
///
/// For the first attempt this is done before Pingora is asked for an upstream: it closes the client's connection
/// after whatever fails from then on.
pub(super) async fn prepare(session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    request(ctx)?;
    let plan = ctx.plan.as_ref();
    if plan.is_some_and(|plan| plan.cluster.is_to_be_found()) {
        Box::pin(on_demand::find(session, ctx)).await?;
    }
    if !shares_connections(session, ctx) {
        ctx.attempts.permits.slot = Some(slot(session, ctx).await?);
        return select(ctx);
    }
    select(ctx)?;
    ctx.attempts.stream = Some(stream(session, ctx, false).await?);
    Ok(())
}

/// The attempt before was not one, and is made once more at the same endpoint.
async fn prepare_again(session: &mut Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    if shares_connections(session, ctx) {
        let fresh = ctx.attempts.repeated;
        ctx.attempts.stream = Some(stream(session, ctx, fresh).await?);
    } else {
        ctx.attempts.permits.slot = Some(slot(session, ctx).await?);
    }
    Ok(())
}

/// Waits for its turn, unless it is prepared, then dials.
pub(super) async fn begin(
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<Box<HttpPeer>, Failure> {
    let again = std::mem::take(&mut ctx.attempts.again);
    if !again {
        back_off(ctx).await?;
        ctx.attempts.made += 1;
    }
    let is_prepared = ctx.attempts.permits.slot.is_some() || ctx.attempts.stream.is_some();
    match (is_prepared, again) {
        (true, _) => {}
        (false, true) => prepare_again(session, ctx).await?,
        (false, false) => prepare(session, ctx).await?,
    }
    dial(session, ctx, again)
}

fn dial(
    session: &mut Session,
    ctx: &mut RequestCtx,
    fresh: bool,
) -> Result<Box<HttpPeer>, Failure> {
    bound(session, ctx)?;
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let index = ctx.attempts.endpoint.ok_or(Failure::NoEndpoint)?;
    let members = plan.cluster.endpoints.members();
    let member = members.get(index).ok_or(Failure::NoEndpoint)?;
    if leads_back(ctx, &member.value) {
        return Err(Failure::NotFound(NotFound::Itself));
    }
    let mut peer = member.value.peer(how(ctx, fresh));
    // While an endpoint takes nothing of a body, nobody hears the client leave.
    peer.options.write_timeout = Some(ctx.shared.settings.stream_idle_timeout);
    let active = member.state.begin();
    if session.is_body_done() {
        ctx.outcome.received_all = true;
        cut_when_overdue(plan);
    }
    ctx.attempts.dialled += 1;
    ctx.attempts.active = Some(active);
    ctx.attempts.began = Some(Instant::now());
    ctx.outcome.upstream_time = None;
    Ok(peer)
}

/// Whether a client of a forward proxy, or a sidecar's workload, would be led to it again.
fn leads_back(ctx: &RequestCtx, upstream: &Upstream) -> bool {
    let chosen = |head: &&Head| head.asked.is_some() || head.connection.side != Side::Gateway;
    let head = ctx.head.as_deref().filter(chosen);
    head.is_some_and(|head| {
        let port = head.connection.local.port();
        ctx.shared.own_ports.lead_back(&upstream.address, port)
    })
}

/// Whether the request goes on a connection that others use at the same time.
fn shares_connections(session: &Session, ctx: &RequestCtx) -> bool {
    let by_http2 = session.req_header().version == Version::HTTP_2;
    let plan = ctx.plan.as_ref();
    !ctx.is_upgrade() && plan.is_some_and(|plan| plan.cluster.speaks_http2(by_http2))
}

/// Takes one of the requests that the cluster may have.
fn request(ctx: &mut RequestCtx) -> Result<(), Failure> {
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let kept = &plan.cluster.kept;
    let permits = &mut ctx.attempts.permits;
    if permits.request.is_none() {
        let permit = kept.limits.request(ctx.started);
        permits.request = Some(permit.ok_or_else(|| overflow(kept, Overflow::Requests))?);
    }
    Ok(())
}

/// Takes one of the connections that the cluster may have, for which it may have to wait.
async fn slot(session: &mut Session, ctx: &RequestCtx) -> Result<Slot, Failure> {
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let kept = &plan.cluster.kept;
    match kept.limits.enter() {
        Entry::Slot(slot) => Ok(slot),
        Entry::Wait(waiting) => Box::pin(patiently(session, waiting, plan.deadline)).await,
        Entry::Overflow => Err(overflow(kept, Overflow::Pending)),
    }
}

/// Takes a place on a connection to the chosen endpoint, for which it may have to wait.
async fn stream(session: &mut Session, ctx: &RequestCtx, fresh: bool) -> Result<Stream, Failure> {
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let upstream = ctx.upstream().ok_or(Failure::NoEndpoint)?;
    match plan.cluster.stream(upstream, &how(ctx, fresh)) {
        Admission::Stream(stream) => Ok(stream),
        Admission::Wait(wait) => Box::pin(patiently(session, wait.stream(), plan.deadline)).await,
        Admission::Overflow => Err(overflow(&plan.cluster.kept, Overflow::Pending)),
    }
}

fn overflow(kept: &Kept, limit: Overflow) -> Failure {
    kept.overflow(limit);
    Failure::Overflow(limit)
}

/// Waits, for a connection or an address, until the whole exchange has taken too long or the client has gone.
pub(super) async fn patiently<T>(
    session: &mut Session,
    wait: impl Future<Output = T>,
    deadline: Option<Instant>,
) -> Result<T, Failure> {
    // In HTTP/1 only who has sent everything can be heard leaving.
    let is_whole = session.is_body_empty() || session.is_body_done();
    let downstream = session.as_downstream_mut();
    let leaves = async {
        if let Some(closed) = downstream.watch_h2_stream_close() {
            drop(closed.await);
        } else if is_whole {
            drop(downstream.read_body_or_idle(true).await);
        } else {
            std::future::pending().await
        }
    };
    let overdue = async {
        match deadline {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        done = wait => Ok(done),
        () = overdue => Err(Failure::Timeout),
        () = leaves => Err(Failure::ClientGone),
    }
}

/// Until there is an answer, a request ends with one of ours, by Pingora's timers. This is for when they
/// do not hold, as when an upstream sends its head byte by byte.
fn cut_when_overdue(plan: &Plan) {
    if let Some(deadline) = plan.deadline {
        deadline::cut_at(deadline + LATEST_CUT);
    }
}

/// The whole request has been received. The route's timeout counts from here, as Envoy's does.
pub(super) fn received_all(ctx: &mut RequestCtx) {
    // Replays of a body end again, and tunnels never began to count.
    if std::mem::replace(&mut ctx.outcome.received_all, true) || ctx.outcome.upgraded {
        return;
    }
    if ctx.outcome.received > 0 {
        super::route::start_clock(ctx);
    }
    match &ctx.plan {
        Some(plan) if !ctx.outcome.via_upstream => cut_when_overdue(plan),
        Some(Plan {
            deadline: Some(deadline),
            ..
        }) => deadline::cut_at(*deadline),
        _ => {}
    }
}

/// Retries wait; the first attempt does not.
async fn back_off(ctx: &mut RequestCtx) -> Result<(), Failure> {
    let asked_for = ctx.attempts.pause.take().unwrap_or_default();
    let (Some(plan), Some(policy)) = (&ctx.plan, ctx.policy()) else {
        return Err(Failure::Internal);
    };
    if ctx.attempts.made == 0 {
        return Ok(());
    }
    let pause = policy.backoff_before(ctx.attempts.retries, &mut chance::roll);
    let pause = pause.max(asked_for);
    let left = plan.left(Instant::now());
    tokio::time::sleep(left.map_or(pause, |left| left.min(pause))).await;
    match plan.left(Instant::now()) {
        Some(Duration::ZERO) => Err(Failure::Timeout),
        _ => Ok(()),
    }
}

fn select(ctx: &mut RequestCtx) -> Result<(), Failure> {
    let policy = ctx.policy();
    let avoid_tried = policy.is_none_or(|policy| policy.avoid_tried);
    let leave_priority = policy.is_some_and(|policy| policy.remote_localities);
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let choice = Choice {
        hash: plan.affinity.hash,
        tried: match avoid_tried || leave_priority {
            true => &ctx.attempts.tried,
            false => &[],
        },
        leave_priority,
    };
    let connection = ctx.head.as_ref().map(|head| &head.connection);
    let chosen = connection
        .and_then(|connection| plan.cluster.chosen_by(connection))
        .or_else(|| plan.cluster.select(choice, &mut chance::roll));
    let index = chosen.ok_or_else(|| match plan.cluster.endpoints.members() {
        [] => Failure::NoEndpoint,
        _ => Failure::NoHealthyEndpoint,
    })?;
    ctx.attempts.endpoint = Some(index);
    ctx.attempts.lost = 0;
    if !ctx.attempts.tried.contains(&index) {
        ctx.attempts.tried.push(index);
    }
    Ok(())
}

/// How long this attempt may wait. Tunnels and event streams are not bounded between their bytes
/// (promise 15); what bounds their answer's head is the deadline alone.
///
/// The timer of reads runs while the client still sends, and each piece sent over HTTP/1 starts it again: a
/// pause in an upload may not be longer. Pingora cannot start it later, and only it ends with a 504.
fn bound(session: &Session, ctx: &mut RequestCtx) -> Result<(), Failure> {
    let upgrade = ctx.is_upgrade();
    let plan = ctx.plan.as_ref().ok_or(Failure::Internal)?;
    let left = plan.left(Instant::now());
    if left == Some(Duration::ZERO) {
        return Err(Failure::Timeout);
    }
    let per_try = plan
        .per_try_timeout
        .filter(|_| !upgrade && !wants_events(session));
    let bound_by_try = per_try.is_some_and(|per_try| left.is_none_or(|left| per_try < left));
    ctx.attempts.bound_by_try = bound_by_try;
    ctx.attempts.bound = if bound_by_try { per_try } else { left };
    Ok(())
}

pub(super) fn how(ctx: &RequestCtx, fresh: bool) -> Attempt<'_> {
    let upgrade = ctx.is_upgrade();
    let head = ctx.head.as_deref();
    let authority = head.and_then(|head| head.authority.to_str().ok());
    let connection = head.map(|head| &head.connection);
    Attempt {
        stream: ctx.attempts.stream.as_ref(),
        fresh,
        timeout: ctx.attempts.bound.filter(|_| !upgrade),
        connect_timeout: ctx.attempts.bound,
        host: authority.map(rules::host_of).unwrap_or_default(),
        downstream: connection.map(|connection| (connection.peer, connection.local)),
    }
}

fn wants_events(session: &Session) -> bool {
    let accept = session.req_header().headers.get(ACCEPT);
    accept.is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

/// Has the connection closed after this request, when it has served as many as it may, or long enough. One in HTTP/2 is
/// not given any more requests then.
pub(super) fn spend(request: &mut RequestHeader, ctx: &RequestCtx) {
    let (Some(plan), Some(using)) = (&ctx.plan, &ctx.attempts.using) else {
        return;
    };
    let limit = plan.cluster.definition.pool.max_requests_per_connection;
    if !ctx.is_upgrade() && using.connection().is_spent(limit) {
        // A well-formed name and value are never refused.
        let _ = request.insert_header(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Makes the head that goes upstream out of the client's: `request` is a copy made for this attempt.
pub(super) fn dress(
    session: &Session,
    request: &mut RequestHeader,
    ctx: &RequestCtx,
) -> Result<(), Failure> {
    let (Some(plan), Some(head)) = (&ctx.plan, &ctx.head) else {
        return Err(Failure::Internal);
    };
    if !head.stays_as_sent() {
        if head.connection.side != Side::Inbound {
            insert(request, ATTEMPT_COUNT, HeaderValue::from(ctx.attempts.made));
        }
        request.remove_header(&UPSTREAM_TIMEOUT);
        tell_timeout(request, plan);
    }
    let action = plan.action().ok_or(Failure::Internal)?;
    if let Some(operations) = action.request_operations(plan.destination)
        && !operations.is_empty()
    {
        let facts = RequestFacts {
            ctx,
            request: session.req_header(),
            response: None,
        };
        operations.apply(&mut RequestTarget(request), &facts);
    }
    if let Some(authority) = action.authority_for(plan.destination) {
        if !head.stays_as_sent() {
            insert(request, ORIGINAL_HOST, head.authority.clone());
        }
        // Pingora makes the authority of HTTP/2 follow.
        request
            .insert_header(HOST, authority.clone())
            .map_err(|_| Failure::Internal)?;
    }
    if let Some(rewrite) = &action.path_rewrite {
        let target = rewrite.apply(request.uri.path(), request.uri.query());
        if !head.stays_as_sent() {
            tell_original_path(request);
        }
        admission::replace_target(request, target).map_err(|_| Failure::Internal)?;
    }
    Ok(())
}

fn tell_timeout(request: &mut RequestHeader, plan: &Plan) {
    let shortest = [plan.timeout, plan.per_try_timeout]
        .into_iter()
        .flatten()
        .min();
    if let Some(millis) = shortest.and_then(|timeout| u64::try_from(timeout.as_millis()).ok()) {
        insert(request, EXPECTED_TIMEOUT, HeaderValue::from(millis));
    }
}

fn tell_original_path(request: &mut RequestHeader) {
    let Some(target) = request.uri.path_and_query() else {
        return;
    };
    if let Ok(original) = HeaderValue::from_str(target.as_str()) {
        insert(request, ORIGINAL_PATH, original);
    }
}
