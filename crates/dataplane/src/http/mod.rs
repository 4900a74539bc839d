//! HTTP: Pingora's hooks, each with what it asks rules and traffic.

mod admission;
mod affinity;
mod app;
mod asked;
mod attempt;
mod challenge;
mod chance;
mod connect;
mod context;
mod deadline;
mod facts;
mod failure;
mod forwarding;
mod head;
mod hop_by_hop;
mod mirror;
mod observe;
mod on_demand;
mod reply;
mod response;
mod retry;
mod route;
mod sidecar;
mod trailed;
mod tunnel;

#[cfg(test)]
pub(crate) mod tests;

pub use app::GatewayApp;
pub(crate) use chance::roll;
pub(crate) use failure::report_of_connection;
pub(crate) use forwarding::address_value;
pub(crate) use mirror::MirrorPool;
pub(crate) use observe::Refusals;

use crate::Shared;
use crate::upstream::connection_of;
use async_trait::async_trait;
use bytes::Bytes;
use context::RequestCtx;
use failure::Failure;
use http::HeaderMap;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use route::Step;
use std::os::unix::io::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use traffic::Observed;

/// A failure travelling through Pingora; the context holds what it is.
const OURS: ErrorType = ErrorType::Custom("tidegate");
/// An answer thrown away for another attempt.
const RETRIED_ANSWER: ErrorType = ErrorType::Custom("retried answer");

/// The proxy: the order of Pingora's hooks is the order of a request.
pub(crate) struct Gateway {
    shared: Arc<Shared>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = RequestCtx;

    fn new_ctx(&self) -> RequestCtx {
        RequestCtx::new(&self.shared)
    }

    /// None: each would cost every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        admission::admit(session, ctx).map_err(|refusal| ours(ctx, Failure::Refused(refusal)))
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
        if let Some(answer) = challenge::answer(session, ctx) {
            Box::pin(reply::challenge(session, ctx, answer)).await?;
            return Ok(true);
        }
        if connect::is_asked_for(ctx) {
            Box::pin(connect::serve(session, ctx)).await?;
            return Ok(true);
        }
        let (step, delay) = route::decide(session, ctx);
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        // What is rare is boxed: it would make the future of every request kilobytes larger.
        match step {
            Step::Answer(answer) => Box::pin(reply::answer(session, ctx, answer)).await?,
            Step::Fail(failure) => drop(Box::pin(reply::fail(session, ctx, &failure)).await?),
            Step::Forward if tunnel::is_asked_for(session, ctx) => {
                Box::pin(tunnel::serve(session, ctx)).await?
            }
            Step::Forward => {
                route::start_clock(ctx);
                match attempt::prepare(session, ctx).await {
                    Ok(()) => return Ok(false),
                    Err(failure) => drop(Box::pin(reply::fail(session, ctx, &failure)).await?),
                }
            }
        }
        Ok(true)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> Result<Box<HttpPeer>> {
        attempt::begin(session, ctx)
            .await
            .map_err(|failure| ours(ctx, failure))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut RequestCtx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(retry::after_connect_failure(session, ctx, &error));
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        digest: Option<&Digest>,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.connected(reused, digest);
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        attempt::dress(session, request, ctx).map_err(|failure| ours(ctx, failure))?;
        attempt::spend(request, ctx);
        mirror::begin(session, request, ctx);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        let is_trailed = trailed::has_trailers(session, body.as_ref(), end_of_stream);
        if is_trailed {
            trailed::end_body(session);
        }
        let ends = end_of_stream || is_trailed;
        ctx.count_received(body.as_ref());
        ctx.copies.pass(body.as_ref(), ends, ctx.attempts.dialled);
        if ends {
            attempt::received_all(ctx);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        if response.status.is_informational()
            && response.status != http::StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS && !ctx.is_upgrade() {
            // Nobody asked for it, and nothing could follow it.
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        response::learn(response, ctx);
        if retry::after_answer(session, ctx, response) {
            return Err(Error::new_up(RETRIED_ANSWER));
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        head::simplify_response(response);
        hop_by_hop::strip(response);
        if response.status.is_informational()
            && response.status != http::StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        response::forward(session, response, ctx);
        ctx.announce_end(session);
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        ctx: &mut RequestCtx,
    ) -> Result<Option<Duration>> {
        ctx.count_sent(body.as_ref());
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut RequestCtx,
    ) -> Result<()> {
        ctx.outcome.grpc_status = response::grpc_status(trailers).or(ctx.outcome.grpc_status);
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut RequestCtx,
        reused: bool,
    ) -> Box<Error> {
        error.set_retry(retry::after_error(session, ctx, &error, reused));
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut RequestCtx,
    ) -> FailToProxy {
        let failure = ctx.failure_of(error);
        // Where Pingora cannot keep the connection, the client must not expect it to. Once it asked for an
        // upstream, it closes after every failure, whatever is answered here.
        let can_reuse_downstream =
            *error.etype() == OURS && ctx.attempts.made == 0 && failure.keeps_connection();
        if !can_reuse_downstream {
            session.set_keepalive(None);
        }
        // The client may be gone; then nobody is left to tell.
        let error_code = reply::fail(session, ctx, &failure)
            .await
            .unwrap_or_default();
        FailToProxy {
            error_code,
            can_reuse_downstream,
        }
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, ctx: &mut RequestCtx) {
        ctx.record_finished(session);
    }

    /// The access log tells of every request, with the reason.
    fn suppress_error_log(&self, _session: &Session, _ctx: &RequestCtx, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &RequestCtx,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

/// Hands a failure of ours through Pingora to `fail_to_proxy`.
fn ours(ctx: &mut RequestCtx, failure: Failure) -> Box<Error> {
    ctx.attempts.refused = Some(failure);
    Error::new_in(OURS)
}

impl RequestCtx {
    fn failure_of(&mut self, error: &Error) -> Failure {
        if *error.etype() == OURS
            && let Some(failure) = self.attempts.refused.take()
        {
            return failure;
        }
        match Failure::of(error, self.attempts.bound_by_try) {
            // Both ended at once, and there was no time left for another attempt.
            Failure::TryTimeout if self.is_overdue() => Failure::Timeout,
            failure => failure,
        }
    }

    /// Whether the deadline of the whole exchange has passed.
    fn is_overdue(&self) -> bool {
        let left = self
            .plan
            .as_ref()
            .and_then(|plan| plan.left(Instant::now()));
        left.is_some_and(|left| left.is_zero())
    }

    /// Tells the cluster how the present attempt at its endpoint went.
    fn observe(&self, observed: Observed) {
        if let (Some(plan), Some(index)) = (&self.plan, self.attempts.endpoint) {
            plan.cluster.observe(&self.shared, index, observed);
        }
    }

    /// Lets an answer that is the last of its connection say so: what was known when its request came may be
    /// long ago.
    fn announce_end(&self, session: &mut Session) {
        let is_last = |head: &context::Head| head.connection.state.is_ending();
        if self.head.as_deref().is_some_and(is_last) {
            session.set_keepalive(None);
        }
    }

    fn connected(&mut self, reused: bool, digest: Option<&Digest>) {
        if !reused {
            self.shared.metrics.own().upstream().connections.inc();
        }
        let connection = connection_of(digest);
        self.attempts.using = connection.map(|connection| connection.begin(reused));
        self.observe(Observed::Connected);
        let socket = digest.and_then(|digest| digest.socket_digest.as_ref());
        let local = socket.and_then(|socket| socket.local_addr());
        self.attempts.local_address = local.and_then(|address| address.as_inet().copied());
    }
}
