//! Answering ACME servers, before any rule: no redirect to HTTPS and no missing route may come between.

use super::context::RequestCtx;
use crate::Challenges;
use http::Method;
use pingora_proxy::Session;
use std::sync::Arc;

/// The answer to a server that validates a name over HTTP. `None`: the request is none of these, or nobody waits
/// for it.
///
/// Source: RFC 8555, section 8.3.
pub(super) fn answer(session: &Session, ctx: &RequestCtx) -> Option<Arc<str>> {
    let request = session.req_header();
    let token = request.uri.path().strip_prefix(Challenges::HTTP_PREFIX)?;
    let is_clear = ctx.head.as_ref()?.connection.tls.is_none();
    let asks = request.method == Method::GET || request.method == Method::HEAD;
    ctx.shared
        .challenges
        .http01(token)
        .filter(|_| is_clear && asks)
}
