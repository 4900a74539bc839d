//! What became of a request, compared with what was wanted.

use crate::case::{Call, EGRESS_PORT, INBOUND_PORT, OUTBOUND_PORT, Target, Want};
use http::{HeaderMap, HeaderName, HeaderValue};
use model::Origin;
use rules::{
    Answer, Caller, Cluster, ClusterKey, ClusterTarget, Decision, Endpoint, Endpoints, Forward,
    ForwardProxy, FoundName, HeadFacts, Inbound, ListenerKey, NameTable, OutboundListener, Reached,
    RequestHead, ServerVerification, Serves, Table, TcpRoutes, TlsAction, TlsServer,
    TlsTermination, VirtualHosts,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// What may stand in `cluster_is`, so that a slip is not taken for what is not set.
const SETTINGS: &[&str] = &[
    "shaped_by",
    "load_balancing",
    "subset_labels",
    "localities",
    "warmup",
    "outlier_detection",
    "protocol",
    "tls",
    "tunnel",
    "proxy_protocol",
    "max_connections",
    "max_pending_requests",
    "max_requests",
    "max_requests_per_connection",
    "max_retries",
    "retry_budget",
    "connect_timeout",
    "max_connection_duration",
    "idle_timeout",
    "tcp_idle_timeout",
    "tcp_keepalive",
    "max_concurrent_streams",
    "http2_keep_alive",
];

/// What became of a request, in the words of `want`.
pub(crate) struct Outcome {
    got: BTreeMap<&'static str, String>,
    headers: BTreeMap<String, String>,
    response_headers: BTreeMap<String, String>,
    policy: BTreeMap<String, String>,
}

type Lines = Vec<(HeaderName, HeaderValue)>;

impl Outcome {
    pub(crate) fn of(call: &Call, table: &Table, endpoints: &Endpoints) -> Self {
        let mut outcome = Self {
            got: BTreeMap::new(),
            headers: BTreeMap::new(),
            response_headers: BTreeMap::new(),
            policy: BTreeMap::new(),
        };
        if let Some(asked) = &call.resolve {
            outcome.record_name(asked, names_of(table, call), endpoints);
            return outcome;
        }
        let target = call.target();
        let own = [
            (call.egress, EGRESS_PORT),
            (call.outbound, OUTBOUND_PORT),
            (call.inbound, INBOUND_PORT),
        ];
        let own = own.iter().find(|(is_asked, _)| *is_asked);
        let own = own.map(|(_, port)| *port).or(call.loopback);
        let key = ListenerKey {
            bind: own.map(|_| IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: own.unwrap_or(target.port),
        };
        let listener = table.listeners.get(&key);
        match listener.map(|listener| &listener.serves) {
            None => outcome.fails("no_listener"),
            Some(Serves::Http(hosts)) => outcome.record_request(hosts, call, &target, endpoints),
            Some(Serves::Tcp(routes)) => outcome.record_connection(routes, call, endpoints),
            Some(Serves::ForwardProxy(proxy)) => {
                outcome.record_egress(proxy, call, &target, endpoints);
            }
            Some(Serves::Outbound(listener)) => {
                outcome.record_outbound(listener, call, &target, endpoints);
            }
            Some(Serves::Inbound(inbound)) => {
                outcome.record_inbound(inbound, call, &target, endpoints);
            }
            Some(Serves::Tls(_)) => {
                let server = listener.and_then(|one| one.tls_server(target.sni.as_deref()));
                outcome.record_tls(server, call, &target, endpoints);
            }
        }
        outcome
    }

    fn fails(&mut self, why: &str) {
        self.got.insert("error", why.into());
    }

    fn record_egress(
        &mut self,
        proxy: &ForwardProxy,
        call: &Call,
        target: &Target,
        endpoints: &Endpoints,
    ) {
        let asked = rules::Target::parse(&target.authority, Some(target.port));
        let Ok(asked) = asked else {
            return self.fails("invalid");
        };
        let peer = call.peer.unwrap_or(PEER);
        let Some(caller) = proxy.caller(peer, std::iter::empty()) else {
            return self.fails("unknown_client");
        };
        if !target.method.is_empty() {
            return self.record_request_of(caller, &asked, call, target, endpoints);
        }
        match caller.outbound.reach(&asked) {
            Reached::Refused(denial) => self.fails(denial.code()),
            Reached::Passed(routes, denial) => {
                self.got.extend(denial.map(would_refuse));
                self.record_connection(routes, call, endpoints);
            }
            Reached::Service(service) => {
                self.got.insert("virtual_host", service.host.to_string());
                self.got.insert("speaks", format!("{:?}", service.protocol));
                if service.routes.0.is_empty() {
                    self.record_origin(&service.origin);
                } else {
                    self.record_connection(&service.routes, call, endpoints);
                }
            }
        }
    }

    fn record_name(&mut self, asked: &str, names: &NameTable, endpoints: &Endpoints) {
        if let Ok(address) = asked.parse() {
            return match names.name_of(address) {
                Some(name) => drop(self.got.insert("name", name.to_string())),
                None => self.fails("unknown"),
            };
        }
        match names.find(asked, endpoints) {
            Some(FoundName::Addresses(found)) => {
                let found: Vec<_> = found.iter().map(ToString::to_string).collect();
                self.got.insert("addresses", format!("{found:?}"));
            }
            Some(FoundName::Alias(name)) => drop(self.got.insert("alias", name.to_string())),
            None => self.fails("unknown"),
        }
    }

    fn record_outbound(
        &mut self,
        listener: &OutboundListener,
        call: &Call,
        target: &Target,
        endpoints: &Endpoints,
    ) {
        let host = rules::host_of(&target.authority);
        let in_url = host.trim_matches(['[', ']']).parse().ok();
        let local = SocketAddr::new(call.local.or(in_url).unwrap_or(LOCAL), target.port);
        if !target.method.is_empty() {
            let headers = headers_of(call);
            let head = head_of(target, &headers);
            let (dice, facts) = (&mut call.draw.dice(), HeadFacts(&head));
            let (decision, _) = listener.decide(local, &head, dice, &facts, &mut Silent);
            return self.record(&decision, &head, endpoints);
        }
        let reached = match &target.sni {
            Some(sni) => listener.reach_by_name(local, sni, &endpoints.headless),
            None => listener.reach(local, &endpoints.headless),
        };
        match reached {
            Reached::Refused(denial) => self.fails(denial.code()),
            Reached::Passed(routes, _) => self.record_connection(routes, call, endpoints),
            Reached::Service(service) => {
                self.got.insert("virtual_host", service.host.to_string());
                self.got.insert("speaks", format!("{:?}", service.protocol));
                if !service.routes.0.is_empty() {
                    self.record_connection(&service.routes, call, endpoints);
                }
            }
        }
    }

    fn record_inbound(
        &mut self,
        inbound: &Inbound,
        call: &Call,
        target: &Target,
        endpoints: &Endpoints,
    ) {
        let port = inbound.port(target.port);
        self.got.insert("speaks", format!("{:?}", port.protocol));
        if let Some(tls) = port.tls.as_ref().and_then(|server| server.termination()) {
            self.record_termination(tls);
        }
        match target.method.is_empty() {
            true => self.record_connection(&port.routes, call, endpoints),
            false => self.record_request(&port.virtual_hosts, call, target, endpoints),
        }
    }

    fn record_request_of(
        &mut self,
        caller: &Caller,
        asked: &rules::Target,
        call: &Call,
        target: &Target,
        endpoints: &Endpoints,
    ) {
        let headers = headers_of(call);
        let head = head_of(target, &headers);
        let dice = &mut call.draw.dice();
        let outbound = &caller.outbound;
        let (decision, denial) =
            outbound.decide(asked, &head, dice, &HeadFacts(&head), &mut Silent);
        if matches!(decision.outcome, rules::Outcome::Forward(_)) {
            self.got.extend(denial.map(would_refuse));
        }
        self.record(&decision, &head, endpoints);
    }

    fn record_tls(
        &mut self,
        server: Option<&Arc<TlsServer>>,
        call: &Call,
        target: &Target,
        endpoints: &Endpoints,
    ) {
        let Some(server) = server else {
            return self.fails("no_server");
        };
        self.got.insert("server", server.name.to_string());
        self.got.insert("mode", server.mode().to_string());
        if let Some(tls) = server.termination() {
            self.record_termination(tls);
        }
        match &server.action {
            TlsAction::Https {
                virtual_hosts,
                hosts,
                ..
            } => match hosts.lookup(&target.authority) {
                _ if target.method.is_empty() => {}
                Some(_) => self.record_request(virtual_hosts, call, target, endpoints),
                None => self.fails("misdirected"),
            },
            TlsAction::Tcp { routes, .. } | TlsAction::Passthrough(routes) => {
                self.record_connection(routes, call, endpoints);
            }
            TlsAction::ForwardProxy { .. } => self.fails("forward_proxy"),
            TlsAction::Mesh(_) | TlsAction::Workload(_) => self.fails("workload"),
            TlsAction::AutoPassthrough(clusters) => {
                let sni = target.sni.as_deref().unwrap();
                self.record_target(clusters.lookup(sni).unwrap(), endpoints);
            }
        }
    }

    fn record_termination(&mut self, tls: &TlsTermination) {
        let authorities = tls.client.authorities.as_ref();
        let certificates = tls.certificates.iter().map(ToString::to_string);
        let got = [
            (
                "certificates",
                format!("{:?}", certificates.collect::<Vec<_>>()),
            ),
            ("client", snake(&format!("{:?}", tls.client.mode))),
            (
                "authorities",
                authorities.map_or_else(|| "none".to_owned(), ToString::to_string),
            ),
            (
                "versions",
                format!("{:?}-{:?}", tls.min_version, tls.max_version),
            ),
            ("cipher_suites", format!("{:?}", tls.cipher_suites)),
            ("alpn", format!("{:?}", tls.alpn)),
        ];
        self.got.extend(got);
    }

    fn record_connection(&mut self, routes: &TcpRoutes, call: &Call, endpoints: &Endpoints) {
        let peer = call.peer.unwrap_or(PEER);
        let local = call.local.unwrap_or(LOCAL);
        let Some(route) = routes.route(peer, local) else {
            return self.fails("no_route");
        };
        self.record_origin(&route.origin);
        let drawn = route.draw(&mut call.draw.dice());
        self.record_target(&drawn.cluster, endpoints);
    }

    fn record_origin(&mut self, origin: &Origin) {
        let resource = &origin.resource;
        let rule = format!("{}/{} {}", resource.namespace, resource.name, origin.path);
        self.got.insert("rule", rule);
    }

    fn record_request(
        &mut self,
        hosts: &VirtualHosts,
        call: &Call,
        target: &Target,
        endpoints: &Endpoints,
    ) {
        let headers = headers_of(call);
        let head = head_of(target, &headers);
        let decision = hosts.decide(&head, &mut call.draw.dice());
        self.record(&decision, &head, endpoints);
    }

    fn record(&mut self, decision: &Decision<'_>, head: &RequestHead<'_>, endpoints: &Endpoints) {
        if let Some(host) = decision.virtual_host {
            self.got.insert("virtual_host", host.name.to_string());
        }
        if let Some(route) = decision.route {
            self.got.insert("route", route.name.to_string());
            self.record_origin(&route.origin);
        }
        if let Some(delay) = decision.delay {
            self.got.insert("delay", format!("{delay:?}"));
        }
        match &decision.outcome {
            rules::Outcome::Answer(answer) => self.record_answer(answer),
            rules::Outcome::Forward(forward) => self.record_forward(forward, head, endpoints),
        }
    }

    fn record_answer(&mut self, answer: &Answer) {
        self.got
            .insert("status", answer.status.as_u16().to_string());
        self.got.insert("error", answer.reason.code().into());
        self.got
            .insert("body", String::from_utf8_lossy(&answer.body).into_owned());
        if let Some(status) = answer.grpc_status {
            self.got.insert("grpc_status", status.to_string());
        }
        self.headers = texts(&answer.headers);
        if let Some(location) = self.headers.get("location") {
            self.got.insert("location", location.clone());
        }
    }

    fn record_forward(
        &mut self,
        forward: &Forward<'_>,
        head: &RequestHead<'_>,
        endpoints: &Endpoints,
    ) {
        let action = forward.action;
        self.record_target(&action.destinations[forward.destination].cluster, endpoints);
        let unchanged = || match head.query {
            Some(query) => format!("{}?{query}", head.path),
            None => head.path.to_owned(),
        };
        let rewrite = action.path_rewrite.as_ref();
        let path = rewrite.map_or_else(unchanged, |rewrite| rewrite.apply(head.path, head.query));
        self.got.insert("path", path);
        let authority = action.authority_for(forward.destination);
        let authority = authority.map_or(head.authority, |value| value.to_str().unwrap());
        self.got.insert("authority", authority.into());
        let retry = &action.retry;
        self.got.insert("retries", retry.attempts.to_string());
        self.got.insert(
            "retry_on",
            retry
                .retry_on
                .iter_names()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
                .join(" | "),
        );
        self.got.insert("timeout", format!("{:?}", action.timeout));
        self.got
            .insert("per_try", format!("{:?}", retry.per_try_timeout));
        let mirrors = forward
            .mirrors
            .iter()
            .map(|mirror| short_of(&action.mirrors[*mirror].cluster));
        self.got
            .insert("mirrors", format!("{:?}", mirrors.collect::<Vec<_>>()));
        self.record_headers(forward, head);
    }

    fn record_target(&mut self, target: &ClusterTarget, endpoints: &Endpoints) {
        match target {
            ClusterTarget::Cluster(cluster) => self.record_cluster(cluster, endpoints),
            ClusterTarget::Missing(missing) => {
                self.fails("no_cluster");
                self.got.insert("cluster", short(&missing.key));
                self.got.insert("reason", missing.reason.to_string());
            }
        }
    }

    fn record_cluster(&mut self, cluster: &Cluster, endpoints: &Endpoints) {
        self.got.insert("cluster", short(&cluster.key));
        let port = cluster.key.service();
        let all = endpoints
            .services
            .get(&port)
            .into_iter()
            .flat_map(|list| list.iter());
        let own = all.filter(|one| model::selects(&cluster.subset_labels, one.labels()));
        let own: Vec<_> = own.collect();
        let addresses: Vec<_> = own.iter().map(|one| one.address.to_string()).collect();
        self.got.insert("endpoints", format!("{addresses:?}"));
        let secured = own.iter().filter_map(|one| secured(cluster, one));
        let secured: Vec<_> = secured.collect();
        self.got.insert("secured", format!("{secured:?}"));
        self.got
            .insert("protocol", snake(&format!("{:?}", cluster.protocol)));
        self.got
            .insert("balancing", snake(&format!("{:?}", cluster.load_balancing)));
        self.got.insert(
            "connect_timeout",
            format!("{:?}", cluster.pool.connect_timeout),
        );
        let policy = cluster.policy_in_words().into_iter();
        self.policy = policy
            .map(|(name, value)| (name.to_owned(), value))
            .chain(cluster.origin.as_ref().map(|origin| {
                let place = format!("{} {}", origin.resource.name, origin.path);
                ("shaped_by".to_owned(), place)
            }))
            .collect();
    }

    fn record_headers(&mut self, forward: &Forward<'_>, head: &RequestHead<'_>) {
        let (action, destination) = (forward.action, forward.destination);
        let mut request: Lines = head
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        action
            .request_operations(destination)
            .unwrap()
            .apply(&mut request, &HeadFacts(head));
        self.headers = texts(&request);
        let mut response: Lines = forward.cors_headers.clone();
        action
            .response_operations(destination)
            .unwrap()
            .apply(&mut response, &HeadFacts(head));
        self.response_headers = texts(&response);
    }

    /// What is not as wanted.
    pub(crate) fn differences(&self, want: &Want) -> impl Iterator<Item = String> {
        let list = |list: &Option<Vec<String>>| list.as_ref().map(|list| format!("{list:?}"));
        let duration = |text: &Option<String>| match text.as_deref() {
            None => None,
            Some("none") => Some("None".to_owned()),
            Some(text) => Some(format!("Some({text})")),
        };
        let wanted = [
            ("status", want.status.map(|status| status.to_string())),
            ("cluster", want.cluster.clone()),
            ("route", want.route.clone()),
            ("error", want.error.clone()),
            ("virtual_host", want.virtual_host.clone()),
            ("rule", want.rule.clone()),
            ("location", want.location.clone()),
            ("body", want.body.clone()),
            ("path", want.path.clone()),
            ("authority", want.authority.clone()),
            ("delay", want.delay.clone()),
            ("timeout", duration(&want.timeout)),
            ("per_try", duration(&want.per_try)),
            ("retries", want.retries.map(|retries| retries.to_string())),
            ("retry_on", want.retry_on.clone()),
            ("mirrors", list(&want.mirrors)),
            ("endpoints", list(&want.endpoints)),
            ("secured", list(&want.secured)),
            ("protocol", want.protocol.clone()),
            ("balancing", want.balancing.clone()),
            ("would_refuse", want.would_refuse.clone()),
            ("speaks", want.speaks.clone()),
            (
                "grpc_status",
                want.grpc_status.map(|status| status.to_string()),
            ),
            ("connect_timeout", want.connect_timeout.clone()),
            ("server", want.server.clone()),
            ("mode", want.mode.clone()),
            ("certificates", list(&want.certificates)),
            ("client", want.client.clone()),
            ("authorities", want.authorities.clone()),
            ("versions", want.versions.clone()),
            ("cipher_suites", list(&want.cipher_suites)),
            ("alpn", list(&want.alpn)),
            ("addresses", list(&want.addresses)),
            ("alias", want.alias.clone()),
            ("name", want.name.clone()),
        ];
        let mut differences = Vec::new();
        for (name, wanted) in wanted
            .into_iter()
            .filter_map(|(name, wanted)| Some((name, wanted?)))
        {
            let got = self.got.get(name).map_or("nothing", String::as_str);
            if got != wanted {
                differences.push(format!(
                    "{name}: wanted {wanted}, got {got}; all: {:?}",
                    self.got
                ));
            }
        }
        if let Some(reason) = &want.reason
            && !self
                .got
                .get("reason")
                .is_some_and(|got| got.contains(reason))
        {
            differences.push(format!(
                "reason: wanted {reason:?}, got {:?}",
                self.got.get("reason")
            ));
        }
        for (name, wanted) in &want.cluster_is {
            assert!(SETTINGS.contains(&&**name), "{name:?} is no setting");
            let got = self.policy.get(name).map_or("none", String::as_str);
            if got != wanted {
                differences.push(format!(
                    "cluster_is: {name}: wanted {wanted:?}, got {got:?}"
                ));
            }
        }
        differences.extend(differing("headers", &want.headers, &self.headers));
        differences.extend(differing(
            "response_headers",
            &want.response_headers,
            &self.response_headers,
        ));
        differences.into_iter()
    }
}

/// The names that may be asked for: those of the sidecar's workload, or of the forward proxy's client.
fn names_of<'t>(table: &'t Table, call: &Call) -> &'t NameTable {
    let peer = call.peer.unwrap_or(PEER);
    let outbounds = table
        .listeners
        .values()
        .filter_map(|one| match &one.serves {
            Serves::Outbound(listener) => Some(&listener.outbound),
            Serves::ForwardProxy(proxy) => {
                let caller = proxy.caller(peer, std::iter::empty())?;
                Some(&caller.outbound)
            }
            _ => None,
        });
    let mut names = outbounds.map(|outbound| &*outbound.names);
    names.next().expect("somebody may ask for names")
}

/// Whom an endpoint must be. Absent: it is spoken to in clear text.
fn secured(cluster: &Cluster, endpoint: &Endpoint) -> Option<String> {
    let tls = cluster.tls.toward(endpoint)?;
    let expected = match &tls.verification {
        ServerVerification::Nothing => "anybody".to_owned(),
        ServerVerification::Verified { names, .. } => {
            let account = endpoint.workload.as_ref().and_then(|one| one.account());
            names.expected(account.as_ref()).to_string()
        }
    };
    Some(format!("{} {expected}", endpoint.address))
}

fn differing<'d>(
    what: &'d str,
    want: &'d BTreeMap<String, String>,
    got: &'d BTreeMap<String, String>,
) -> impl Iterator<Item = String> + 'd {
    want.iter().filter_map(move |(name, value)| {
        let found = got.get(name).map_or("", String::as_str);
        (found != value).then(|| format!("{what}: {name}: wanted {value:?}, got {found:?}"))
    })
}

/// Several values of one name are joined with a comma.
fn texts(lines: &Lines) -> BTreeMap<String, String> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in lines {
        let value = value.to_str().unwrap();
        let text = texts.entry(name.to_string());
        text.and_modify(|text| *text = format!("{text},{value}"))
            .or_insert_with(|| value.to_owned());
    }
    texts
}

fn short_of(target: &ClusterTarget) -> String {
    match target {
        ClusterTarget::Cluster(cluster) => short(&cluster.key),
        ClusterTarget::Missing(missing) => short(&missing.key),
    }
}

fn short(key: &ClusterKey) -> String {
    if key.is_passthrough() || key.is_inbound() {
        return key.to_string();
    }
    let view = key.view.as_deref();
    let view = view.map_or_else(String::new, |view| format!("@{view}"));
    let host = key
        .host
        .strip_suffix(".svc.cluster.local")
        .unwrap_or(&key.host);
    let host = host.strip_suffix(".default").unwrap_or(host);
    match &key.subset {
        Some(subset) => format!("{host}:{}/{subset}", key.port) + &view,
        None => format!("{host}:{}", key.port) + &view,
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Hears nothing of rules that were passed over.
struct Silent;

impl rules::Observer for Silent {
    const LISTENS: bool = false;

    fn passed_over(&mut self, _: &Arc<rules::Route>, _: rules::Criterion<'_>, _: &RequestHead<'_>) {
    }
}

fn would_refuse(denial: rules::Denial) -> (&'static str, String) {
    ("would_refuse", denial.code().to_owned())
}

fn headers_of(call: &Call) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

fn head_of<'h>(target: &'h Target, headers: &'h HeaderMap) -> RequestHead<'h> {
    RequestHead {
        method: &target.method,
        scheme: &target.scheme,
        authority: &target.authority,
        path: &target.path,
        query: target.query.as_deref(),
        headers,
    }
}
