//! What becomes of clients of a forward proxy.

use super::connection::of_routes;
use super::observer::Tried;
use super::{ExplainRequest, ExplainedOutcome, Explanation, Place, nothing, of_decision};
use crate::{Caller, Denial, Endpoints, ForwardProxy, Outbound, OutboundProtocol, Reached, Target};
use http::StatusCode;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Explains what becomes of a request through the proxy, or of a tunnel for what is not HTTP in clear.
pub(super) fn of_proxy(
    proxy: &ForwardProxy,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    let in_clear = request.scheme == "http";
    let target = match target_of(request) {
        Ok(target) => target,
        Err(explanation) => return *explanation,
    };
    let Some(caller) = caller_of(proxy, request) else {
        return denied(Denial::Client, &target, in_clear);
    };
    let explanation = match in_clear {
        true => of_request(&caller.outbound, &target, endpoints, request),
        false => of_connection(&caller.outbound, &target, endpoints),
    };
    Explanation {
        view: Some(caller.namespace.to_string()),
        ..explanation
    }
}

/// The host and port that are asked for.
pub(super) fn target_of(request: &ExplainRequest) -> Result<Target, Box<Explanation>> {
    let default_port = match request.scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Target::parse(&request.authority, default_port)
        .map_err(|invalid| Box::new(malformed(&format!("{:?}: {invalid}", request.authority))))
}

/// Who is not named is one of the others, or the first client that there is.
fn caller_of<'p>(proxy: &'p ForwardProxy, request: &ExplainRequest) -> Option<&'p Arc<Caller>> {
    let names = request.client_names.iter().map(String::as_str);
    match request.client {
        Some(address) => proxy.caller(address, names),
        None if !request.client_names.is_empty() => {
            proxy.caller(IpAddr::V4(Ipv4Addr::UNSPECIFIED), names)
        }
        None => (proxy.others.as_ref()).or_else(|| proxy.callers.first()),
    }
}

/// Explains what becomes of a request for `target`.
pub(super) fn of_request(
    outbound: &Outbound,
    target: &Target,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    let head = request.head();
    let mut tried = Tried::default();
    // The highest roll: shares of less than everything do not hit.
    let dice = &mut |sides: u32| sides.saturating_sub(1);
    let facts = crate::HeadFacts(&head);
    let (decision, denial) = outbound.decide(target, &head, dice, &facts, &mut tried);
    let explanation = of_decision(&decision, tried, &head, endpoints);
    Explanation {
        reason: denial.map(|denial| denial.told(target).trim_end().to_owned()),
        ..explanation
    }
}

/// Explains what becomes of a connection for `target`.
pub(super) fn of_connection(
    outbound: &Outbound,
    target: &Target,
    endpoints: &Endpoints,
) -> Explanation {
    match outbound.reach(target) {
        Reached::Service(service) if service.protocol == OutboundProtocol::Http => Explanation {
            place: Some(Place::from(&*service.origin)),
            reason: Some(
                "the port is for HTTP in clear: the requests on it are served one by one"
                    .to_owned(),
            ),
            ..nothing(ExplainedOutcome::Forward)
        },
        Reached::Service(service) => of_routes(&service.routes, endpoints),
        Reached::Passed(routes, denial) => Explanation {
            reason: denial.map(|denial| denial.told(target).trim_end().to_owned()),
            ..of_routes(routes, endpoints)
        },
        Reached::Refused(denial) => denied(denial, target, false),
    }
}

fn denied(denial: Denial, target: &Target, in_clear: bool) -> Explanation {
    let status = match in_clear {
        true => denial.status_of_request(),
        false => denial.status_of_tunnel(),
    };
    Explanation {
        status: Some(status.as_u16()),
        reason: Some(denial.told(target).trim_end().to_owned()),
        ..nothing(ExplainedOutcome::Denied)
    }
}

pub(super) fn malformed(why: &str) -> Explanation {
    Explanation {
        status: Some(StatusCode::BAD_REQUEST.as_u16()),
        reason: Some(why.to_owned()),
        ..nothing(ExplainedOutcome::Denied)
    }
}
