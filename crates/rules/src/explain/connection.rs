//! What becomes of connections: TLS by the name that is asked for, and bytes.

use super::egress::of_proxy;
use super::reply::cluster;
use super::{
    ExplainRequest, ExplainedOutcome, ExplainedServer, Explanation, Place, TriedRule, nothing,
    of_request,
};
use crate::{
    ClusterTarget, Endpoints, HostMap, TcpMatch, TcpRoute, TcpRoutes, TlsAction, TlsServer,
    VirtualHosts,
};
use http::StatusCode;

/// Explains what becomes of a client on a TLS port.
pub(super) fn of_tls(
    servers: &HostMap<TlsServer>,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    if matches!(request.scheme.as_str(), "http" | "tcp") {
        let reason = "this port is in TLS, and the client speaks in clear";
        return refused(Some(StatusCode::BAD_REQUEST), reason.to_owned());
    }
    let server = match &request.sni {
        Some(name) => servers.lookup(name),
        None => servers.any(),
    };
    let Some(server) = server else {
        return refused(None, unknown(request.sni.as_deref()));
    };
    Explanation {
        server: Some(ExplainedServer {
            name: server.name.to_string(),
            mode: server.mode().as_str(),
            place: Place::from(&*server.origin),
        }),
        ..of_server(server, endpoints, request)
    }
}

/// Explains what becomes of a client that does not speak HTTP, on a port that does.
pub(super) fn on_http_port() -> Explanation {
    let reason = "this port speaks HTTP in clear, which is asked for with http://";
    refused(None, reason.to_owned())
}

fn of_server(server: &TlsServer, endpoints: &Endpoints, request: &ExplainRequest) -> Explanation {
    match &server.action {
        TlsAction::Https {
            virtual_hosts,
            hosts,
            ..
        } => of_https(virtual_hosts, hosts, endpoints, request),
        TlsAction::Tcp { routes, .. } | TlsAction::Passthrough(routes) => {
            of_routes(routes, endpoints)
        }
        TlsAction::AutoPassthrough(clusters) => {
            let found = request.sni.as_deref().and_then(|sni| clusters.lookup(sni));
            match found {
                Some(target) => of_target(target, endpoints),
                None => refused(None, unknown(request.sni.as_deref())),
            }
        }
        TlsAction::ForwardProxy { proxy, .. } => of_proxy(proxy, endpoints, request),
        // A port of a workload, which is explained where that is known.
        TlsAction::Mesh(_) | TlsAction::Workload(_) => nothing(ExplainedOutcome::Forward),
    }
}

fn of_https(
    virtual_hosts: &VirtualHosts,
    hosts: &HostMap<()>,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    if hosts.lookup(&request.authority).is_none() {
        let reason = format!(
            "the server that the SNI chose does not serve host {:?}",
            request.authority
        );
        return refused(Some(request.misdirected), reason);
    }
    of_request(virtual_hosts, endpoints, request)
}

/// Where the client and the address it connects to are is not known, so that rules about them are told only.
pub(super) fn of_routes(routes: &TcpRoutes, endpoints: &Endpoints) -> Explanation {
    let limited = routes.0.iter().take_while(|route| !route.takes_all());
    let tried = limited.map(|route| TriedRule {
        rule: route.origin.path.clone(),
        place: Place::from(&*route.origin),
        failed: route
            .matches
            .iter()
            .map(wanted)
            .collect::<Vec<_>>()
            .join(", or "),
    });
    let tried = tried.collect();
    match routes.0.iter().find(|route| route.takes_all()) {
        Some(route) => Explanation {
            tried,
            ..of_route(route, endpoints)
        },
        None => Explanation {
            tried,
            reason: Some("connections that no rule takes are closed".to_owned()),
            ..nothing(ExplainedOutcome::NoRoute)
        },
    }
}

fn of_route(route: &TcpRoute, endpoints: &Endpoints) -> Explanation {
    let clusters = route
        .destinations
        .iter()
        .map(|destination| cluster(&destination.cluster, destination.weight, endpoints));
    Explanation {
        place: Some(Place::from(&*route.origin)),
        clusters: clusters.collect(),
        ..nothing(ExplainedOutcome::Forward)
    }
}

fn of_target(target: &ClusterTarget, endpoints: &Endpoints) -> Explanation {
    Explanation {
        clusters: vec![cluster(target, 1, endpoints)],
        ..nothing(ExplainedOutcome::Forward)
    }
}

fn wanted(one: &TcpMatch) -> String {
    let to: Vec<_> = one
        .destination_subnets
        .iter()
        .map(ToString::to_string)
        .collect();
    let to = (!to.is_empty()).then(|| format!("connects to {}", to.join(" or ")));
    let from = one.source_subnet.map(|net| format!("is of {net}"));
    let both: Vec<_> = from.into_iter().chain(to).collect();
    format!("it takes only who {}", both.join(" and "))
}

fn unknown(sni: Option<&str>) -> String {
    match sni {
        Some(name) => format!("no server of this port is for the name {name:?}"),
        None => "the client asks for no name, and no server of this port has host \"*\"".to_owned(),
    }
}

fn refused(status: Option<StatusCode>, reason: String) -> Explanation {
    Explanation {
        status: status.map(|status| status.as_u16()),
        reason: Some(reason),
        ..nothing(ExplainedOutcome::NoHost)
    }
}
