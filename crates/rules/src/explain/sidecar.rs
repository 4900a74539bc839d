//! What becomes of what a sidecar's workload sends and receives.

use super::connection::{of_routes, on_http_port};
use super::{ExplainRequest, ExplainedOutcome, Explanation, Place, egress, nothing, of_request};
use crate::{
    Endpoints, Inbound, InboundPort, OutboundListener, OutboundProtocol, Peer, Refusal, Target,
    TriedPolicy,
};
use http::StatusCode;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Explains what becomes of what the workload sends.
pub(super) fn of_outbound(
    listener: &OutboundListener,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    let target = match egress::target_of(request) {
        Ok(target) => target,
        Err(explanation) => return *explanation,
    };
    match request.scheme.as_str() {
        "http" => egress::of_request(&listener.outbound, &target, endpoints, request),
        _ => egress::of_connection(&listener.outbound, &target, endpoints),
    }
}

/// Explains what becomes of what the workload receives, on the port of the URL.
pub(super) fn of_inbound(
    inbound: &Inbound,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    let target = match egress::target_of(request) {
        Ok(target) => target,
        Err(explanation) => return *explanation,
    };
    let port = inbound.port(target.port());
    let is_request = matches!(request.scheme.as_str(), "http" | "https");
    match (is_request, port.protocol) {
        (false, OutboundProtocol::Http) => on_http_port(),
        (true, OutboundProtocol::Tcp | OutboundProtocol::Tls) | (false, _) => {
            let tried = |peer: &Peer<'_>| inbound.authorization.explain_connection(peer);
            let verdict = |peer: &Peer<'_>| inbound.authorization.decide_connection(peer).denied;
            let allowed = || of_routes(&port.routes, endpoints);
            of_policies(&target, port, request, (tried, verdict), allowed)
        }
        (true, _) => {
            let head = request.head();
            let tried = |peer: &Peer<'_>| inbound.authorization.explain_request(peer, &head);
            let verdict =
                |peer: &Peer<'_>| inbound.authorization.decide_request(peer, &head).denied;
            let allowed = || of_request(&port.virtual_hosts, endpoints, request);
            of_policies(&target, port, request, (tried, verdict), allowed)
        }
    }
}

/// What policies say, before what becomes of whom they allow.
fn of_policies(
    target: &Target,
    port: &InboundPort,
    request: &ExplainRequest,
    (tried, verdict): (
        impl Fn(&Peer<'_>) -> Vec<TriedPolicy>,
        impl Fn(&Peer<'_>) -> Option<Refusal>,
    ),
    allowed: impl Fn() -> Explanation,
) -> Explanation {
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let source = request.client.unwrap_or(nobody);
    let peer = Peer {
        source,
        remote: source,
        principal: request.client_names.first().map(String::as_str),
        destination: SocketAddr::new(target.address().unwrap_or(nobody), target.port()),
        sni: request.sni.as_deref(),
    };
    let explanation = match verdict(&peer) {
        Some(refusal) => denied(&refusal),
        None => allowed(),
    };
    let place = explanation.place;
    let policies = tried(&peer).into_iter().flat_map(|policy| policy.tried);
    Explanation {
        place: place.or_else(|| Some(Place::from(&*port.origin))),
        tried: policies.chain(explanation.tried).collect(),
        ..explanation
    }
}

fn denied(refusal: &Refusal) -> Explanation {
    Explanation {
        status: Some(StatusCode::FORBIDDEN.as_u16()),
        place: refusal.rule().map(|rule| Place::from(&*rule.origin)),
        reason: Some(refusal.to_string()),
        ..nothing(ExplainedOutcome::Denied)
    }
}
