//! From an admitted head to an answer, or to a plan of how it is forwarded.

use super::affinity::Affinity;
use super::context::{self, Head, Plan, RequestCtx};
use super::facts::RequestFacts;
use super::failure::Failure;
use super::forwarding::UPSTREAM_TIMEOUT;
use super::{asked, chance, sidecar};
use crate::forward_proxy::{Permission, Proxied, Refused, permission};
use crate::{ConnectionInfo, Misdirected, Side, authorization};
use model::Origin;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use rules::{
    Answer, ClusterTarget, Criterion, Decision, Denial, EgressMode, Forward, ForwardAction,
    Inbound, Observer, Outbound, OutboundListener, Outcome, RequestHead, Route, Table, Target,
    TlsAction, Verdict, VirtualHosts,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use telemetry::{Metrics, ResponseFlags};

/// What is to be done with a request, free of the table it was read from.
pub(super) enum Step {
    /// A rule answers it.
    Answer(Answer),
    /// The context holds its plan.
    Forward,
    /// The rule leads nowhere.
    Fail(Failure),
}

/// Asks the rules. The second value is an injected delay, to be waited for before the step is taken.
pub(super) fn decide(session: &mut Session, ctx: &mut RequestCtx) -> (Step, Option<Duration>) {
    let snapshot = ctx.snapshot.clone();
    if let Some(head) = &mut ctx.head {
        sidecar::name_service(&snapshot.table, session.req_header_mut(), head);
    }
    let Some(head) = &ctx.head else {
        return (Step::Fail(Failure::Internal), None);
    };
    let ways = match ways_of(&snapshot.table, head, ctx.shared.settings.misdirected) {
        Ok(ways) => ways,
        Err(No::Failure((failure, origin))) => {
            close_if_gone(session, &head.connection, &failure);
            ctx.origin = origin;
            return (Step::Fail(failure), None);
        }
        Err(No::Denied(answer, denial)) => {
            // In every mode: nobody is known whose view could be let through, or it is not what was asked for.
            Refused::Denied(denial).count(EgressMode::Enforce, &ctx.shared.metrics);
            return (Step::Answer(answer), None);
        }
    };
    let request = session.req_header();
    let request_head = request_head(head, request);
    if let Ways::ToWorkload(inbound) = ways {
        let verdict = sidecar::authorize(inbound, head, &request_head, &ctx.shared.metrics);
        if let Err(failure) = obey(verdict, &mut ctx.outcome, &mut ctx.origin) {
            return (Step::Fail(failure), None);
        }
    }
    let facts = RequestFacts {
        ctx,
        request,
        response: None,
    };
    let (decision, denial) = ask(&ways, head, &request_head, &facts);
    if let Some((denial, mode)) = denial {
        note(&ctx.shared.metrics, &mut ctx.outcome, denial, mode);
    }
    let (route, delay) = (decision.route.cloned(), decision.delay);
    let step = match decision.outcome {
        Outcome::Answer(answer) => Step::Answer(answer),
        Outcome::Forward(forward) => plan(ctx, request, route.as_ref(), forward),
    };
    ctx.route = route;
    if delay.is_some() {
        ctx.outcome.flags |= ResponseFlags::DI;
    }
    (step, delay)
}

fn request_head<'h>(head: &'h Head, request: &'h RequestHeader) -> RequestHead<'h> {
    RequestHead {
        method: request.method.as_str(),
        scheme: if head.https { "https" } else { "http" },
        authority: head.authority.to_str().unwrap_or_default(),
        path: request.uri.path(),
        query: request.uri.query(),
        headers: &request.headers,
    }
}

/// Does what policies have said.
fn obey(
    verdict: Verdict,
    outcome: &mut context::Outcome,
    origin: &mut Option<Arc<Origin>>,
) -> Result<(), Failure> {
    if let Some((reason, of)) = authorization::noted(&verdict) {
        outcome.reason = reason;
        *origin = Some(of.clone());
    }
    let Some(refusal) = verdict.denied else {
        return Ok(());
    };
    *origin = refusal.rule().map(|rule| rule.origin.clone());
    Err(Failure::Forbidden(refusal))
}

/// What the routes say, and what of it is denied or would be.
fn ask<'t>(
    ways: &Ways<'t, '_>,
    head: &Head,
    request: &RequestHead<'_>,
    facts: &RequestFacts<'_>,
) -> (Decision<'t>, Option<(Denial, EgressMode)>) {
    let roll = &mut chance::roll;
    match ways {
        Ways::Hosts(hosts) => (hosts.decide_with(request, roll, facts), None),
        Ways::ToWorkload(inbound) => {
            let port = inbound.port(head.connection.local.port());
            (port.virtual_hosts.decide_with(request, roll, facts), None)
        }
        Ways::Outbound(outbound, target, mode) => {
            let (decision, denial) = outbound.decide(target, request, roll, facts, &mut Nobody);
            (decision, denial.map(|denial| (denial, *mode)))
        }
        Ways::Workload(listener, local) => {
            let (decision, denial) = listener.decide(*local, request, roll, facts, &mut Nobody);
            (decision, denial.map(|denial| (denial, EgressMode::Enforce)))
        }
    }
}

/// Where the routes of a request are.
pub(super) enum Ways<'t, 'h> {
    /// A listener's own.
    Hosts(&'t VirtualHosts),
    /// Those to what a client of a forward proxy may reach.
    Outbound(&'t Outbound, &'h Target, EgressMode),
    /// Those to what a sidecar's workload may reach, and where its connection was going.
    Workload(&'t OutboundListener, SocketAddr),
    /// Those of a sidecar's workload itself, for whom policies let in.
    ToWorkload(&'t Inbound),
}

/// Why there are none.
enum No {
    Failure(FailureOf),
    Denied(Answer, Denial),
}

/// Finds them by what the connection and the request are to.
fn ways_of<'t, 'h>(
    table: &'t Table,
    head: &'h Head,
    misdirected: Misdirected,
) -> Result<Ways<'t, 'h>, No> {
    let connection = &head.connection;
    let authority = head.authority.to_str().unwrap_or_default();
    let ways = match (&head.asked, connection.side) {
        (_, Side::Outbound) => sidecar::outbound(table, connection),
        (_, Side::Inbound) => sidecar::inbound(table, connection),
        (None, Side::Gateway) => {
            virtual_hosts(table, connection, authority, misdirected).map(Ways::Hosts)
        }
        (Some(target), Side::Gateway) => return outbound(table, connection, authority, target),
    };
    ways.map_err(No::Failure)
}

/// Hears nothing of the routes that do not match.
struct Nobody;

impl Observer for Nobody {
    const LISTENS: bool = false;

    fn passed_over(&mut self, _: &Arc<Route>, _: Criterion<'_>, _: &RequestHead<'_>) {}
}

/// What the client of a forward proxy may reach that asks for `target`.
fn outbound<'t, 'h>(
    table: &'t Table,
    connection: &ConnectionInfo,
    authority: &str,
    target: &'h Target,
) -> Result<Ways<'t, 'h>, No> {
    let no_proxy = || No::Failure((no_proxy(connection), None));
    let Permission { caller, mode } = permission(table, connection, target).ok_or_else(no_proxy)?;
    let within = connection.proxied.as_deref().and_then(Proxied::tunnel_to);
    let denial = match caller {
        Err(denial) => denial,
        Ok(_) if within.is_some_and(|tunnel| !asked::is_of_tunnel(authority, tunnel)) => {
            Denial::Mismatch
        }
        Ok(caller) => return Ok(Ways::Outbound(&caller.outbound, target, mode)),
    };
    Err(No::Denied(denial.answer_to_request(target), denial))
}

/// What it means that there is no forward proxy behind a connection any more.
pub(super) fn no_proxy(connection: &ConnectionInfo) -> Failure {
    match connection.tls {
        Some(_) => Failure::ServerGone,
        None => Failure::NoListener,
    }
}

/// Counts what is refused, or would be if that were enforced; then the log says so, unless something else goes wrong.
fn note(metrics: &Metrics, outcome: &mut context::Outcome, denial: Denial, mode: EgressMode) {
    let refused = Refused::Denied(denial);
    refused.count(mode, metrics);
    outcome.reason = refused.would_be_code();
    outcome.noted = Some(denial);
}

/// What went wrong, and the object that it is about, if there is one.
pub(super) type FailureOf = (Failure, Option<Arc<Origin>>);

/// The virtual hosts for a connection's requests. Over TLS they are those of the server that the SNI chooses
/// now, as long as it asks of clients what was asked of this one.
fn virtual_hosts<'t>(
    table: &'t Table,
    connection: &ConnectionInfo,
    authority: &str,
    misdirected: Misdirected,
) -> Result<&'t VirtualHosts, FailureOf> {
    let Some(listener) = connection.listener_in(table) else {
        return Err((Failure::NoListener, None));
    };
    let Some(facts) = &connection.tls else {
        return listener.virtual_hosts().ok_or((Failure::NoListener, None));
    };
    let Some(server) = listener.tls_server(facts.sni.as_deref()) else {
        return Err((Failure::ServerGone, None));
    };
    let about = || Some(server.origin.clone());
    let TlsAction::Https {
        tls,
        virtual_hosts,
        hosts,
    } = &server.action
    else {
        return Err((Failure::ServerGone, about()));
    };
    if !facts.is_of(tls) {
        return Err((Failure::ServerGone, about()));
    }
    if misdirected == Misdirected::Status421 && hosts.lookup(authority).is_none() {
        return Err((Failure::Misdirected, about()));
    }
    Ok(virtual_hosts)
}

/// A connection whose server is gone serves nobody any more.
fn close_if_gone(session: &mut Session, connection: &ConnectionInfo, failure: &Failure) {
    if *failure == Failure::ServerGone {
        session.set_keepalive(None);
        connection.state.close_when_idle();
    }
}

fn plan(
    ctx: &mut RequestCtx,
    request: &RequestHeader,
    route: Option<&Arc<Route>>,
    forward: Forward<'_>,
) -> Step {
    let (Some(route), Some(destination)) =
        (route, forward.action.destinations.get(forward.destination))
    else {
        return Step::Fail(Failure::Internal);
    };
    let definition = match &destination.cluster {
        ClusterTarget::Cluster(cluster) => cluster,
        ClusterTarget::Missing(missing) => {
            ctx.origin = Some(destination.origin.clone());
            return Step::Fail(Failure::NoCluster(
                missing.key.clone(),
                missing.reason.clone(),
            ));
        }
    };
    let Some(cluster) = ctx.snapshot.clusters.get(&definition.key) else {
        ctx.origin = Some(destination.origin.clone());
        return Step::Fail(Failure::NoCluster(
            definition.key.clone(),
            "not in the table".into(),
        ));
    };
    if let Some(answer) = in_clear_instead_of_tls(ctx, definition) {
        return Step::Answer(answer);
    }
    let empty = cluster.endpoints.members().is_empty() && !cluster.is_to_be_found();
    let timeout = timeout(ctx, request, forward.action);
    ctx.plan = Some(Plan {
        route: route.clone(),
        destination: forward.destination,
        cluster: cluster.clone(),
        mirrors: forward.mirrors,
        cors_headers: forward.cors_headers,
        deadline: None,
        timeout,
        per_try_timeout: forward.action.retry.per_try_timeout,
        affinity: Affinity::of(ctx, request, &cluster.definition.load_balancing),
    });
    if empty {
        Step::Fail(Failure::NoEndpoint)
    } else {
        Step::Forward
    }
}

/// The answer to a client of a forward proxy that asks for `https://`, where nothing begins TLS: what it wants to be
/// secret must not leave in clear.
fn in_clear_instead_of_tls(ctx: &RequestCtx, cluster: &rules::Cluster) -> Option<Answer> {
    let head = ctx.head.as_deref()?;
    let target = head.asked.as_ref().filter(|_| head.https)?;
    if cluster.tls.is_certain() {
        return None;
    }
    Refused::Denied(Denial::Protocol).count(EgressMode::Enforce, &ctx.shared.metrics);
    let told = format!(
        "{}: no DestinationRule begins TLS with {target}. Ask for a tunnel with CONNECT, to begin it yourself\n",
        Denial::Protocol.code()
    );
    Some(Answer {
        body: told.into(),
        ..Denial::Protocol.answer_to_request(target)
    })
}

/// The route's timeout, unless a trusted caller or gRPC knows better. gRPC cannot lengthen it.
fn timeout(ctx: &RequestCtx, request: &RequestHeader, action: &ForwardAction) -> Option<Duration> {
    let head = ctx.head.as_ref()?;
    // Asked in this order: most requests are neither trusted nor gRPC.
    let told = head
        .trusted
        .then(|| request.headers.get(&UPSTREAM_TIMEOUT))
        .flatten();
    let told = told
        .and_then(|millis| millis.to_str().ok()?.parse().ok())
        .map(Duration::from_millis);
    let timeout = told.or(action.timeout).filter(|timeout| !timeout.is_zero());
    let grpc = head
        .grpc
        .then(|| request.headers.get("grpc-timeout"))
        .flatten();
    match (timeout, grpc.and_then(|grpc| grpc_timeout(grpc.as_bytes()))) {
        (Some(timeout), Some(grpc)) => Some(timeout.min(grpc)),
        (timeout, grpc) => timeout.or(grpc),
    }
}

/// `100m`: up to eight digits and a unit.
fn grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Starts the clock of the whole exchange: after an injected delay, and when a request with a body has
/// been received as a whole.
pub(super) fn start_clock(ctx: &mut RequestCtx) {
    if let Some(plan) = &mut ctx.plan {
        plan.deadline = plan.timeout.map(|timeout| Instant::now() + timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_have_a_unit() {
        let cases = [
            ("1H", Some(Duration::from_secs(3600))),
            ("20S", Some(Duration::from_secs(20))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("123456789n", None),
            ("5", None),
            ("S", None),
            ("-1S", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(grpc_timeout(text.as_bytes()), want, "{text}");
        }
    }
}
