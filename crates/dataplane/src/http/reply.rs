//! Answers that Tidegate makes itself.

use super::context::RequestCtx;
use super::failure::{Failure, Report};
use super::sidecar;
use crate::forward_proxy::Refused;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, SERVER};
use http::{HeaderName, HeaderValue, Method};
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use rules::{Answer, EffectiveOps, EgressMode, Reason, grpc_status_for};
use telemetry::ResponseFlags;

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

/// An answer before it is put into HTTP.
struct Reply {
    status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    grpc_status: Option<u32>,
}

/// Sends what a rule decided to answer. The connection stays open.
pub(super) async fn answer(
    session: &mut Session,
    ctx: &mut RequestCtx,
    answer: Answer,
) -> Result<()> {
    let outcome = &mut ctx.outcome;
    outcome.details = answer.reason.details().into();
    outcome.reason = answer.reason.code();
    outcome.flags |= flags_of(answer.reason);
    let denied = matches!(answer.reason, Reason::Denied(_));
    outcome.denied = denied;
    // Only what a fault or a missing rule answers to gRPC takes gRPC's shape: a redirect or a direct
    // response is what somebody wrote.
    let shaped = matches!(
        answer.reason,
        Reason::FaultAbort | Reason::NoHost | Reason::NoRoute | Reason::Denied(_)
    );
    let implied = (shaped && ctx.is_grpc()).then(|| grpc_status_for(answer.status.as_u16()));
    let mut headers = answer.headers;
    if denied {
        headers.push((CONTENT_TYPE, HeaderValue::from_static("text/plain")));
    }
    let reply = Reply {
        status: answer.status.as_u16(),
        headers,
        body: answer.body,
        grpc_status: answer.grpc_status.or(implied),
    };
    send(session, ctx, reply).await
}

/// Sends the answer to an ACME challenge.
pub(super) async fn challenge(
    session: &mut Session,
    ctx: &mut RequestCtx,
    answer: std::sync::Arc<str>,
) -> Result<()> {
    ctx.outcome.details = "acme_challenge".into();
    ctx.outcome.reason = "acme_challenge";
    let reply = Reply {
        status: 200,
        headers: vec![(
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        )],
        body: Bytes::copy_from_slice(answer.as_bytes()),
        grpc_status: None,
    };
    send(session, ctx, reply).await
}

/// Tells the client and the log about a failure. Nothing is sent when an answer is on its way already.
pub(super) async fn fail(
    session: &mut Session,
    ctx: &mut RequestCtx,
    failure: &Failure,
) -> Result<u16> {
    let mut report = failure.report(ctx.attempts.made > 1);
    note(ctx, &report);
    if let Some(told) = told_of_denial(ctx, failure) {
        report.body = told.into();
    }
    if is_answered(session) {
        let details = ctx
            .outcome
            .details
            .replace("before_response_started", "after_response_started");
        ctx.outcome.details = details.into();
        return Ok(0);
    }
    if report.status == 0 {
        return Ok(0);
    }
    if let Failure::Refused(refusal) = failure {
        ctx.shared.refusals.count(*refusal);
    }
    let status = report.status;
    let implied = ctx.is_grpc().then(|| grpc_status_for(status));
    let body = match report.body {
        std::borrow::Cow::Borrowed(body) => Bytes::from_static(body.as_bytes()),
        std::borrow::Cow::Owned(body) => Bytes::from(body),
    };
    let mut reply = Reply {
        status,
        headers: Vec::new(),
        body,
        grpc_status: implied,
    };
    if !reply.body.is_empty() {
        reply
            .headers
            .push((CONTENT_TYPE, HeaderValue::from_static("text/plain")));
    }
    if let Failure::Overflow(_) = failure {
        let overloaded = HeaderName::from_static("x-envoy-overloaded");
        let mark = (overloaded, HeaderValue::from_static("true"));
        reply.headers.push(mark);
    }
    send(session, ctx, reply).await?;
    Ok(status)
}

/// What a client of a forward proxy is told that may not go where the name leads that it asked for.
fn told_of_denial(ctx: &mut RequestCtx, failure: &Failure) -> Option<String> {
    let denial = failure.denial()?;
    let asked = ctx.head.as_deref()?.asked.as_ref()?;
    Refused::Denied(denial).count(EgressMode::Enforce, &ctx.shared.metrics);
    ctx.outcome.denied = true;
    Some(denial.told(asked))
}

fn note(ctx: &mut RequestCtx, report: &Report) {
    let outcome = &mut ctx.outcome;
    outcome.flags |= report.flags;
    outcome.details = report.details.clone();
    outcome.reason = report.reason;
    outcome.transport_failure = report.transport_failure.clone();
}

/// Whether a final answer went to the client, so that another one cannot.
pub(super) fn is_answered(session: &Session) -> bool {
    session.response_written().is_some_and(|response| {
        !response.status.is_informational()
            || response.status == http::StatusCode::SWITCHING_PROTOCOLS
    })
}

fn flags_of(reason: Reason) -> ResponseFlags {
    ResponseFlags::from_name(reason.flag()).unwrap_or_default()
}

async fn send(session: &mut Session, ctx: &mut RequestCtx, reply: Reply) -> Result<()> {
    let (head, body) = match reply.grpc_status {
        Some(status) => (grpc_head(&reply, status)?, Bytes::new()),
        None => (plain_head(&reply)?, reply.body),
    };
    let mut head = Box::new(head);
    let side = ctx.head.as_ref().map(|head| head.connection.side);
    let server = sidecar::server(side.unwrap_or_default(), &ctx.shared.settings.server);
    head.insert_header(SERVER, server)?;
    operate(session, ctx, &mut head);
    ctx.outcome.status = head.status.as_u16();
    ctx.outcome.grpc_status = reply.grpc_status;
    ctx.announce_end(session);
    // Who is gone cannot be told, which is no error of ours.
    let written = write(session, head, body).await;
    written.map_err(|error| error.into_down())
}

fn plain_head(reply: &Reply) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 4))?;
    for (name, value) in &reply.headers {
        head.append_header(name, value.clone())?;
    }
    // An answer without a body says so, except where HTTP forbids it.
    if reply.status >= 200 && reply.status != 204 && reply.status != 304 {
        head.insert_header(CONTENT_LENGTH, reply.body.len())?;
    }
    Ok(head)
}

/// gRPC knows no other HTTP status than 200: its own stands in the headers, and no body follows.
fn grpc_head(reply: &Reply, status: u32) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(200, Some(reply.headers.len() + 6))?;
    for (name, value) in reply
        .headers
        .iter()
        .filter(|(name, _)| *name != CONTENT_TYPE)
    {
        head.append_header(name, value.clone())?;
    }
    head.insert_header(CONTENT_TYPE, "application/grpc")?;
    head.insert_header(CONTENT_LENGTH, 0)?;
    head.insert_header(GRPC_STATUS, status)?;
    if !reply.body.is_empty() {
        head.insert_header(GRPC_MESSAGE, percent_encoded(&reply.body))?;
    }
    Ok(head)
}

/// As gRPC wants its messages: printable ASCII stays, the rest and `%` are `%XX`.
fn percent_encoded(message: &[u8]) -> String {
    message.iter().fold(
        String::with_capacity(message.len()),
        |text, byte| match byte {
            b' '..=b'~' if *byte != b'%' => text + char::from(*byte).encode_utf8(&mut [0; 4]),
            _ => text + &format!("%{byte:02X}"),
        },
    )
}

/// Response operations of the route hold for answers made in an upstream's place too. Those of a redirect
/// or a direct response are in its headers already.
fn operate(session: &Session, ctx: &RequestCtx, head: &mut ResponseHeader) {
    let Some(plan) = &ctx.plan else {
        return;
    };
    let operations = plan
        .action()
        .and_then(|action| action.response_operations(plan.destination));
    if let Some(operations) =
        operations.filter(|operations: &EffectiveOps<'_>| !operations.is_empty())
    {
        super::response::apply(&operations, session, ctx, head);
    }
    super::response::add_cors(plan, head);
}

async fn write(session: &mut Session, head: Box<ResponseHeader>, body: Bytes) -> Result<()> {
    let no_body = body.is_empty() || session.req_header().method == Method::HEAD;
    if let ServerSession::H2(http2) = &mut *session.downstream_session
        && no_body
    {
        // The general way ends the stream with an empty DATA frame, which gRPC clients take for lost trailers.
        return http2.write_response_header(head, true);
    }
    session.write_response_header(head, no_body).await?;
    if no_body {
        return Ok(());
    }
    session.write_response_body(Some(body), true).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_messages_are_percent_encoded() {
        assert_eq!(percent_encoded("100% né\n".as_bytes()), "100%25 n%C3%A9%0A");
    }

    #[test]
    fn reasons_have_their_flags() {
        assert_eq!(flags_of(Reason::NoRoute), ResponseFlags::NR);
        assert_eq!(flags_of(Reason::Redirect), ResponseFlags::empty());
    }
}
