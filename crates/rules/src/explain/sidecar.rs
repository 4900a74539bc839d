//! What becomes of what a sidecar's workload sends and receives.

use super::connection::{of_routes, on_http_port};
use super::{ExplainRequest, Explanation, Place, egress, of_request};
use crate::{Endpoints, Inbound, OutboundListener, OutboundProtocol};

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

/// Explains what becomes of what the workload receives. The port is that of the URL.
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
    let explanation = match (is_request, port.protocol) {
        (true, OutboundProtocol::Http | OutboundProtocol::Unspecified) => {
            of_request(&port.virtual_hosts, endpoints, request)
        }
        (false, OutboundProtocol::Http) => on_http_port(),
        _ => of_routes(&port.routes, endpoints),
    };
    Explanation {
        place: explanation
            .place
            .or_else(|| Some(Place::from(&*port.origin))),
        ..explanation
    }
}
