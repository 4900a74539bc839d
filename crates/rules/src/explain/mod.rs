//! What becomes of a request or connection and why, for a person to read.
//!
//! The decision is the one that serves requests, so the explanation cannot disagree with it. Chance is shown
//! as it most likely falls: every destination with its weight, and an injected fault only when it always hits.

mod connection;
mod egress;
mod observer;
mod policy;
mod reply;
mod sidecar;

#[cfg(test)]
mod tests;

use crate::{
    Answer, Decision, Endpoints, Listener, Outcome, Reason, RequestHead, Serves, Table,
    VirtualHosts,
};
use http::{HeaderMap, StatusCode};
use observer::Tried;
pub use policy::PolicyInWords;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A request to be explained.
#[derive(Clone, Debug)]
pub struct ExplainRequest {
    /// The port of the Gateway's server.
    pub port: u16,
    /// `GET`
    pub method: String,
    /// `http` or `https`; `tcp` or `tls` for a connection that is none of HTTP.
    pub scheme: String,
    /// The name that the client asks for when it begins TLS (SNI). Absent: none, as when it knows an address only.
    pub sni: Option<String>,
    /// As a client sends it in `Host`, with a port if the URL has one.
    pub authority: String,
    /// Normalised, without query.
    pub path: String,
    /// Without the `?`.
    pub query: Option<String>,
    /// All others.
    pub headers: HeaderMap,
    /// The address of a client of the forward proxy. Absent: one that is not told from others.
    pub client: Option<IpAddr>,
    /// The names in that client's certificate. Empty: it shows none.
    pub client_names: Vec<String>,
    /// The answer to a request for a host that the TLS server of its SNI does not serve: 421, or 404 as Istio's.
    pub misdirected: StatusCode,
}

impl ExplainRequest {
    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ExplainedOutcome {
    /// Sent to an upstream.
    Forward,
    /// Answered with a `Location`.
    Redirect,
    /// Answered as a rule says.
    DirectResponse,
    /// Answered by an injected fault.
    Abort,
    /// Nothing listens on that port.
    NoListener,
    /// No virtual host serves the host.
    NoHost,
    /// The virtual host has no rule for it.
    NoRoute,
    /// The registry does not have it, and what it does not have is refused.
    Denied,
}

impl ExplainedOutcome {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Redirect => "redirect",
            Self::DirectResponse => "direct_response",
            Self::Abort => "abort",
            Self::NoListener => "no_listener",
            Self::NoHost => "no_host",
            Self::NoRoute => "no_route",
            Self::Denied => "denied",
        }
    }

    /// Whether some rule says what becomes of the request.
    pub fn is_by_a_rule(self) -> bool {
        !matches!(
            self,
            Self::NoListener | Self::NoHost | Self::NoRoute | Self::Denied
        )
    }
}

/// Where a rule stands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// `VirtualService shop/cart`
    pub resource: String,
    /// `spec.http[0].match[1]`
    pub path: String,
    /// As the user named it.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
}

/// What becomes of a request, and why.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// In a word.
    pub outcome: ExplainedOutcome,
    /// The status that the gateway answers with. Absent: the upstream's.
    pub status: Option<u16>,
    /// `0.0.0.0:80`, or `80` for all addresses.
    pub listener: Option<String>,
    /// The Gateway's server that the client's SNI chose. Absent: none did, or the port is in clear.
    pub server: Option<ExplainedServer>,
    /// The namespace whose view of the registry the client of a forward proxy has.
    pub view: Option<String>,
    /// Name of the virtual host.
    pub virtual_host: Option<String>,
    /// Name of the route, empty for an unnamed one.
    pub route: Option<String>,
    /// Where the rule stands.
    pub place: Option<Place>,
    /// Where the request can go, by weight.
    pub clusters: Vec<ExplainedCluster>,
    /// The rules before the one that took it, and why they did not.
    pub tried: Vec<TriedRule>,
    /// Headers of an answer, such as `location`.
    pub headers: Vec<(String, String)>,
    /// What is sent upstream. Absent: nothing, or the bytes of a connection as they are.
    pub upstream: Option<ExplainedUpstream>,
    /// Why the request or connection came no further, where no rule is to blame.
    pub reason: Option<String>,
}

/// A server of a TLS port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExplainedServer {
    /// `namespace/gateway/port-name`
    pub name: String,
    /// `SIMPLE`, `PASSTHROUGH`…
    pub mode: &'static str,
    /// Where it stands.
    pub place: Place,
}

/// One place a request can go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExplainedCluster {
    /// Fully qualified.
    pub host: String,
    /// Absent: the whole service.
    pub subset: Option<String>,
    /// Service port.
    pub port: u16,
    /// Relative share.
    pub weight: u32,
    /// Addresses, those of the subset.
    pub endpoints: Vec<String>,
    /// Names among the endpoints that were not resolved.
    pub unresolved: Vec<String>,
    /// Whether there are others: those that a client asks for.
    pub on_demand: bool,
    /// Why there is no such cluster: requests are answered 503.
    pub missing: Option<String>,
    /// What holds for it. Empty where it is missing.
    pub policy: PolicyInWords,
    /// The DestinationRule that shaped it, if one did.
    pub shaped_by: Option<Place>,
}

/// What is sent upstream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExplainedUpstream {
    /// The path with its query, after a rewrite.
    pub path: String,
    /// The host, after a rewrite. With several destinations, the first's.
    pub authority: String,
    /// The limit of the whole exchange.
    pub timeout: Option<Duration>,
    /// How many further attempts there may be.
    pub retries: u32,
    /// The limit of one attempt.
    pub per_try_timeout: Option<Duration>,
    /// The delay injected first, and how often, in parts per million.
    pub delay: Option<(Duration, u32)>,
    /// How often an abort is injected, in parts per million.
    pub abort: Option<u32>,
    /// Where copies go; their weight is how often, in parts per million.
    pub mirrors: Vec<ExplainedCluster>,
}

/// A rule that did not take the request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TriedRule {
    /// The route's name, or the place when it has none.
    pub rule: String,
    /// Where it stands.
    pub place: Place,
    /// Why not: `uri: wants prefix "/a", has "/b"`.
    pub failed: String,
}

/// Explains what becomes of a request.
pub fn explain(table: &Table, endpoints: &Endpoints, request: &ExplainRequest) -> Explanation {
    let Some(listener) = listener_on(table, request.port) else {
        return nothing(ExplainedOutcome::NoListener);
    };
    let explanation = match &listener.serves {
        Serves::Http(_) if matches!(request.scheme.as_str(), "tcp" | "tls") => {
            connection::on_http_port()
        }
        Serves::Http(hosts) => of_request(hosts, endpoints, request),
        Serves::Tls(servers) => connection::of_tls(servers, endpoints, request),
        Serves::Tcp(routes) => connection::of_routes(routes, endpoints),
        Serves::ForwardProxy(proxy) => egress::of_proxy(proxy, endpoints, request),
        Serves::Outbound(listener) => sidecar::of_outbound(listener, endpoints, request),
        Serves::Inbound(inbound) => sidecar::of_inbound(inbound, endpoints, request),
    };
    Explanation {
        listener: Some(name_of(listener)),
        ..explanation
    }
}

/// Explains what becomes of a request among virtual hosts.
fn of_request(
    hosts: &VirtualHosts,
    endpoints: &Endpoints,
    request: &ExplainRequest,
) -> Explanation {
    let head = request.head();
    let mut tried = Tried::default();
    // The highest roll: shares of less than everything do not hit.
    let decision =
        hosts.decide_observed(&head, &mut |sides: u32| sides.saturating_sub(1), &mut tried);
    of_decision(&decision, tried, &head, endpoints)
}

fn of_decision(
    decision: &Decision<'_>,
    tried: Tried,
    head: &RequestHead<'_>,
    endpoints: &Endpoints,
) -> Explanation {
    Explanation {
        virtual_host: decision.virtual_host.map(|host| host.name.to_string()),
        route: decision.route.map(|route| route.name.to_string()),
        place: place_of(decision),
        tried: tried.rules,
        ..reply::of(decision, head, endpoints)
    }
}

/// The rule's place, or that of the Gateway server which answers before there is a rule.
fn place_of(decision: &Decision<'_>) -> Option<Place> {
    if let Some(route) = decision.route {
        return Some(Place::from(&*route.origin));
    }
    let Outcome::Answer(Answer {
        reason: Reason::HttpsRedirect,
        ..
    }) = &decision.outcome
    else {
        return None;
    };
    let server = decision.virtual_host?.https_redirect.as_deref()?;
    Some(Place::from(server))
}

/// Of several addresses, the one of all comes first.
fn listener_on(table: &Table, port: u16) -> Option<&Arc<Listener>> {
    let on_port = table
        .listeners
        .values()
        .filter(|listener| listener.key.port == port);
    on_port.min_by_key(|listener| listener.key)
}

fn name_of(listener: &Listener) -> String {
    match listener.key.bind {
        Some(address) => std::net::SocketAddr::new(address, listener.key.port).to_string(),
        None => listener.key.port.to_string(),
    }
}

fn nothing(outcome: ExplainedOutcome) -> Explanation {
    Explanation {
        outcome,
        status: None,
        listener: None,
        server: None,
        view: None,
        virtual_host: None,
        route: None,
        place: None,
        clusters: Vec::new(),
        tried: Vec::new(),
        headers: Vec::new(),
        upstream: None,
        reason: None,
    }
}
