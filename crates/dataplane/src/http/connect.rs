//! CONNECT: from a client that asks for a tunnel to the tunnel that its connection becomes.

use super::context::{Head, RequestCtx};
use super::failure::{Failure, Refusal};
use super::{observe, reply, route, tunnel};
use crate::ConnectionInfo;
use crate::forward_proxy::{Content, Permission, Refused, Tls, Tunnel, permission};
use crate::tcp::{Asking, TcpConnection};
use http::Method;
use pingora_error::Result;
use pingora_proxy::Session;
use rules::{
    ALLOW_ANY, Caller, Denial, EgressMode, OutboundProtocol, OutboundService, Reached, Target,
};
use std::sync::Arc;

/// Whether the request asks for a tunnel.
pub(super) fn is_asked_for(ctx: &RequestCtx) -> bool {
    let head = ctx.head.as_deref();
    head.is_some_and(|head| head.method == Method::CONNECT)
}

/// Answers a client that does not get its tunnel. Otherwise its connection becomes one when the request is over.
pub(super) async fn serve(session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    match decide(ctx) {
        Ok(granted) => hand_over(session, ctx, granted),
        Err(Refusing::Failure(failure)) => {
            session.set_keepalive(None);
            reply::fail(session, ctx, &failure).await.map(drop)
        }
        Err(Refusing::Denial(target, denial)) => {
            // What the client has sent behind it was meant for somebody else, and must not be taken for requests.
            session.set_keepalive(None);
            reply::answer(session, ctx, denial.answer_to_tunnel(&target)).await
        }
    }
}

/// Why there is no tunnel.
enum Refusing {
    Failure(Failure),
    Denial(Target, Denial),
}

/// A tunnel that is granted.
struct Granted {
    connection: TcpConnection,
    content: Content,
}

fn decide(ctx: &RequestCtx) -> std::result::Result<Granted, Refusing> {
    let head = ctx.head.as_deref();
    let asked = head.and_then(|head| Some((head, head.asked.as_ref()?)));
    let (head, target) = asked.ok_or(Refusing::Failure(Failure::Internal))?;
    // What Pingora has read of it would be lost.
    if !head.connection.state.is_between_requests() {
        let late = Failure::Refused(Refusal::LateConnect);
        return Err(Refusing::Failure(late));
    }
    let permission = permission(&ctx.snapshot.table, &head.connection, target);
    let gone = || Refusing::Failure(route::no_proxy(&head.connection));
    let Permission { caller, mode } = permission.ok_or_else(gone)?;
    let metrics = &ctx.shared.metrics;
    let refuse = |denial, mode| {
        Refused::Denied(denial).count(mode, metrics);
        Refusing::Denial(target.clone(), denial)
    };
    // Whoever is not known has no view of the registry that could be let through.
    let caller = caller.map_err(|denial| refuse(denial, EgressMode::Enforce))?;
    match caller.outbound.reach(target) {
        Reached::Refused(denial) => Err(refuse(denial, mode)),
        Reached::Service(service) => Ok(to_service(ctx, head, target, caller, service, mode)),
        Reached::Passed(routes, denial) => {
            let info = bare(&head.connection);
            let mut connection =
                TcpConnection::routed(&ctx.shared, &ctx.snapshot, &info, "", routes);
            ask(&mut connection, ctx, head, target, ALLOW_ANY);
            if let Some(denial) = denial {
                let refused = Refused::Denied(denial);
                refused.count(mode, metrics);
                connection.note(refused);
            }
            let content = match ctx.shared.passages {
                Some(_) => Content::Watched,
                None => Content::Bytes,
            };
            Ok(Granted {
                connection,
                content,
            })
        }
    }
}

fn to_service(
    ctx: &RequestCtx,
    head: &Head,
    target: &Target,
    caller: &Caller,
    service: &Arc<OutboundService>,
    mode: EgressMode,
) -> Granted {
    let info = bare(&head.connection);
    let tls = || Tls {
        target: target.clone(),
        outbound: caller.outbound.clone(),
        service: service.clone(),
        mode,
    };
    let content = match service.protocol {
        OutboundProtocol::Http => Content::Http(target.clone()),
        OutboundProtocol::Tls => Content::Tls(tls()),
        OutboundProtocol::Tcp => Content::Bytes,
        OutboundProtocol::Unspecified => Content::Unspecified(tls()),
    };
    let mut connection = match content {
        Content::Http(_) => TcpConnection::of_requests(&ctx.shared, &info),
        _ => TcpConnection::routed(&ctx.shared, &ctx.snapshot, &info, "", &service.routes),
    };
    ask(&mut connection, ctx, head, target, "");
    Granted {
        connection,
        content,
    }
}

/// The connection as it is outside of any tunnel: one that waits to become a tunnel must not hold itself.
fn bare(connection: &ConnectionInfo) -> ConnectionInfo {
    ConnectionInfo {
        proxied: None,
        ..connection.clone()
    }
}

fn ask(
    connection: &mut TcpConnection,
    ctx: &RequestCtx,
    head: &Head,
    target: &Target,
    route_name: &'static str,
) {
    let asking = Asking {
        authority: head.authority.clone(),
        protocol: observe::protocol(head.version),
        user_agent: head.user_agent.clone(),
        route_name,
        status: 0,
    };
    connection.asked_by(target.clone(), asking, (ctx.started, ctx.start_time));
}

/// From here on it is the connection's, which is logged and counted when it ends.
fn hand_over(session: &mut Session, ctx: &mut RequestCtx, granted: Granted) -> Result<()> {
    let head = ctx.head.as_deref();
    let proxied = head.and_then(|head| head.connection.proxied.clone());
    session.set_keepalive(None);
    if let (Some(proxied), Some(io)) = (proxied, tunnel::take_stream(session)) {
        ctx.recorded = true;
        proxied.become_tunnel(Tunnel {
            io,
            connection: granted.connection,
            content: granted.content,
        });
    }
    Ok(())
}
