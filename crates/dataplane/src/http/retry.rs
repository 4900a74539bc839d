//! Whether a failed attempt is made again.

use super::context::RequestCtx;
use super::failure::{Connect, Failure, Reset};
use crate::upstream::{DialError, Overflow};
use http::StatusCode;
use pingora_error::{Error, ErrorSource, ErrorType, RetryType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use rules::{AttemptFailure, RetryPolicy};
use std::time::{Duration, Instant, SystemTime};
use telemetry::ResponseFlags;
use traffic::Observed;

/// The longest that an answer can ask a retry to wait, when the route has no timeout that is shorter.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Connections gone before a request could be sent on them, after which it is given up.
const MOST_LOST: u32 = 32;

/// Whether the connection could not be made and shall be tried again.
pub(super) fn after_connect_failure(
    session: &Session,
    ctx: &mut RequestCtx,
    error: &Error,
) -> bool {
    match DialError::of(error) {
        Some(DialError::Missing) => return look_again(ctx),
        Some(DialError::NotAdmitted) => {
            finish_attempt(ctx, None);
            if let Some(plan) = &ctx.plan {
                plan.cluster.kept.overflow(Overflow::Pending);
            }
            return false;
        }
        // No other endpoint is spoken to in another way, and others that may be dialled come first.
        Some(DialError::NotReady(_) | DialError::Forbidden) => {
            finish_attempt(ctx, None);
            return false;
        }
        _ => finish_attempt(ctx, Some(observed(&Failure::of(error, false)))),
    }
    ctx.shared.metrics.own().upstream().connect_failures.inc();
    let failure = AttemptFailure::Connect;
    // Nothing of this attempt was sent. What an earlier one took of the body must still be there.
    !session.as_ref().retry_buffer_truncated() && grant(ctx, &failure, session, false)
}

/// Whether the connection ends in order, and its server has said that it did not look at the request (RFC 9113 §6.8).
fn is_let_go(error: &Error) -> bool {
    let http2: Option<&h2::Error> = error.root_cause().downcast_ref();
    http2.is_some_and(|error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    })
}

/// The connection that the attempt was to share has no room for it, or is not there any more. Nothing was done, so that
/// this is no retry: it takes another.
fn look_again(ctx: &mut RequestCtx) -> bool {
    finish_attempt(ctx, None);
    ctx.attempts.lost += 1;
    ctx.attempts.again = ctx.attempts.lost < MOST_LOST;
    ctx.attempts.again
}

/// Whether an attempt that died after it had a connection is made again.
pub(super) fn after_error(
    session: &Session,
    ctx: &mut RequestCtx,
    error: &Error,
    reused: bool,
) -> bool {
    let retry_answer = std::mem::take(&mut ctx.attempts.retry_answer);
    let by_upstream = *error.esource() == ErrorSource::Upstream;
    let failure = Failure::of(error, ctx.attempts.bound_by_try);
    let is_let_go = by_upstream && is_let_go(error);
    if (is_let_go || by_upstream && is_stale(error))
        && let Some(stream) = &ctx.attempts.stream
    {
        stream.leave();
    }
    if is_let_go
        && !super::reply::is_answered(session)
        && !session.as_ref().retry_buffer_truncated()
        && look_again(ctx)
    {
        return true;
    }
    finish_attempt(ctx, by_upstream.then(|| observed(&failure)));
    if retry_answer {
        return true;
    }
    if !by_upstream
        || ctx.outcome.upgraded
        || super::reply::is_answered(session)
        || session.as_ref().retry_buffer_truncated()
    {
        return false;
    }
    if reused && is_stale(error) && repeat(ctx, session) {
        return true;
    }
    match failure {
        Failure::TryTimeout => grant(ctx, &AttemptFailure::PerTryTimeout, session, true),
        Failure::Reset(Reset::RefusedStream) => {
            grant(ctx, &AttemptFailure::RefusedStream, session, false)
        }
        Failure::Reset(_) => grant(
            ctx,
            &AttemptFailure::Reset { request_sent: true },
            session,
            true,
        ),
        Failure::Connect(_) => grant(ctx, &AttemptFailure::Connect, session, false),
        _ => false,
    }
}

/// Whether an answer is thrown away and the request made again. Marks the attempt so.
pub(super) fn after_answer(
    session: &Session,
    ctx: &mut RequestCtx,
    response: &ResponseHeader,
) -> bool {
    if !may_be_retried(response.status)
        || ctx.is_upgrade()
        || session.as_ref().retry_buffer_truncated()
    {
        return false;
    }
    let failure = AttemptFailure::Response {
        status: response.status,
        headers: &response.headers,
        // Set by clients within the mesh only, and an edge strips them.
        retriable_headers: &[],
    };
    let pause = rules::retry_after(&response.headers, SystemTime::now());
    if pause.is_some_and(|pause| !is_worth_waiting(ctx, pause)) {
        return false;
    }
    let granted = grant(ctx, &failure, session, true);
    ctx.attempts.retry_answer = granted;
    ctx.attempts.pause = pause.filter(|_| granted);
    granted
}

/// Whether the client can be kept waiting for so long: not beyond its deadline, and not for ever without one.
fn is_worth_waiting(ctx: &RequestCtx, pause: Duration) -> bool {
    let left = ctx.plan.as_ref().and_then(|plan| plan.left(Instant::now()));
    pause < left.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

/// How an attempt that got no answer went, for the detection of outliers.
fn observed(failure: &Failure) -> Observed {
    match failure {
        Failure::Connect(Connect::Timeout) | Failure::Timeout | Failure::TryTimeout => {
            Observed::Timeout
        }
        Failure::Connect(_) => Observed::ConnectFailure,
        _ => Observed::Reset,
    }
}

/// Spares successful answers the look at the policy. gRPC failures come with 200.
fn may_be_retried(status: StatusCode) -> bool {
    !status.is_informational() && !status.is_redirection()
}

/// Whether the connection may have been closed by the upstream while it was idle, before any byte of an answer.
fn is_stale(error: &Error) -> bool {
    let nothing_read = |error: &Error| {
        error.context.as_ref().is_none_or(|context| {
            !context.as_str().contains("already read: ") || context.as_str().ends_with(": 0")
        })
    };
    match error.etype() {
        ErrorType::WriteError => true,
        ErrorType::ConnectionClosed | ErrorType::ReadError => nothing_read(error),
        _ => error.retry == RetryType::ReusedOnly,
    }
}

/// A request that died on a connection that had been idle is made once more on a fresh one, outside
/// the retry policy, when doing it twice does no harm (promises 10 and 11).
fn repeat(ctx: &mut RequestCtx, session: &Session) -> bool {
    if let Some(upstream) = ctx.upstream() {
        upstream.keep_alive.broke();
    }
    let asked_for = ctx.policy().is_some_and(|policy| policy.asked_for);
    let harmless = session.req_header().method.is_idempotent() || asked_for;
    if ctx.attempts.repeated || ctx.is_upgrade() || !harmless {
        return false;
    }
    ctx.attempts.repeated = true;
    ctx.attempts.again = true;
    true
}

/// Asks the policy, the budget and the clock.
fn grant(
    ctx: &mut RequestCtx,
    failure: &AttemptFailure<'_>,
    session: &Session,
    sent: bool,
) -> bool {
    let Some(policy) = ctx.policy() else {
        return false;
    };
    let method = &session.req_header().method;
    if !policy.allows(failure) || !policy.may_send_again(method, sent) {
        return false;
    }
    let attempts = policy.attempts;
    if ctx.is_overdue() {
        return false;
    }
    if ctx.attempts.retries >= attempts {
        if attempts > 0 {
            ctx.outcome.flags |= ResponseFlags::URX;
        }
        return false;
    }
    if !is_within_limits(ctx) {
        ctx.outcome.flags |= ResponseFlags::UO;
        return false;
    }
    ctx.attempts.retries += 1;
    ctx.shared.metrics.own().upstream().retries.inc();
    true
}

/// Whether the cluster may have one more retry. It counts until the next one, or the end of the request.
fn is_within_limits(ctx: &mut RequestCtx) -> bool {
    let Some(plan) = &ctx.plan else {
        return false;
    };
    let kept = &plan.cluster.kept;
    // The one before is over.
    ctx.attempts.permits.retry = None;
    ctx.attempts.permits.retry = kept.limits.retry(Instant::now());
    if ctx.attempts.permits.retry.is_none() {
        kept.overflow(Overflow::Retries);
    }
    ctx.attempts.permits.retry.is_some()
}

/// An attempt is over, whatever follows. It counts against its endpoint when the upstream ended it without
/// an answer: an answer was judged when it came. `observed`: how the upstream ended it, if it was that.
fn finish_attempt(ctx: &mut RequestCtx, observed: Option<Observed>) {
    let answered = ctx.outcome.upstream_time.is_some();
    ctx.attempts.using = None;
    ctx.attempts.stream = None;
    ctx.attempts.permits.slot = None;
    if let Some(active) = ctx.attempts.active.take()
        && let Some(observed) = observed
        && !answered
    {
        active.endpoint().record_failure();
        ctx.observe(observed);
    }
}

impl RequestCtx {
    pub(super) fn policy(&self) -> Option<&RetryPolicy> {
        Some(&self.plan.as_ref()?.action()?.retry)
    }
}
