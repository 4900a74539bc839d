//! The command `explain`.

use crate::Program;
use crate::args::{ExplainArgs, Format};
use crate::bootstrap::{Bootstrap, Capture, InterceptionMode};
use crate::resources::Loaded;
use anyhow::Context;
use clap::error::ErrorKind;
use dataplane::Misdirected;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use rules::{
    ExplainRequest, ExplainedCluster, ExplainedOutcome, ExplainedServer, ExplainedUpstream,
    Explanation, Place, PolicyInWords,
};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// What may stand before `://`: requests in clear and in TLS, and connections that are none of HTTP.
const SCHEMES: &[&str] = &["http", "https", "tcp", "tls"];

/// No listener, host or route takes the request.
const NOT_TAKEN: u8 = 3;

/// Prints what becomes of a request. 0: some rule says; 3: none does.
pub fn run(program: &Program, mut args: ExplainArgs, way: Way) -> anyhow::Result<ExitCode> {
    let asked = Asked::new(&mut args, way).unwrap_or_else(|message| {
        clap::Command::new(program.name)
            .error(ErrorKind::ValueValidation, message)
            .exit()
    });
    let mut loaded = Loaded::read(program, args.config.as_deref(), &args.resources)?;
    let request = asked.request(&loaded)?;
    let published = &loaded.published;
    let explanation = rules::explain(&published.table, &published.endpoints, &request);
    let errors = loaded.published.receipt.errors;
    if errors > 0 {
        eprintln!(
            "warning: {errors} errors in these resources, see `{} check`",
            program.name
        );
    }
    if let Some(server) = &explanation.server {
        warn_of_tls(server, &mut loaded);
    }
    let printed = match args.format {
        Format::Json => format!("{:#}\n", as_json(&explanation)),
        Format::Text => as_text(&explanation, &request),
    };
    std::io::stdout().lock().write_all(printed.as_bytes())?;
    Ok(if explanation.outcome.is_by_a_rule() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_TAKEN)
    })
}

/// What is to be said about a server's TLS, its certificate above all: without one no request comes this far.
fn warn_of_tls(server: &ExplainedServer, loaded: &mut Loaded) {
    loaded.read_certificates();
    let (resource, tls) = (&server.place.resource, format!("{}.tls", server.place.path));
    for diagnostic in loaded.published.diagnostics.iter() {
        let about = diagnostic.resource.as_ref().map(ToString::to_string);
        if about.as_ref() == Some(resource) && diagnostic.path.starts_with(&tls) {
            eprintln!("warning: {diagnostic}");
        }
    }
}

/// A request as the command line has it.
struct Asked {
    url: Uri,
    method: String,
    headers: HeaderMap,
    way: Way,
}

/// Which way a request comes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    /// To a Gateway server's port, or the port that is bound for it. Absent: the URL's.
    Gateway(Option<u16>),
    /// Through the forward proxy.
    ForwardProxy(Client),
    /// From a sidecar's workload.
    Outbound,
    /// To a sidecar's workload.
    Inbound(Client),
}

/// Who asks a forward proxy, or a sidecar's workload.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Client {
    /// Its address. Absent: one that nobody tells apart.
    pub address: Option<IpAddr>,
    /// The names in its certificate.
    pub names: Vec<String>,
}

impl Asked {
    fn new(args: &mut ExplainArgs, way: Way) -> Result<Self, String> {
        let url = args.take_url().ok_or("the URL is missing")?;
        let parsed: Uri = url
            .parse()
            .map_err(|error| format!("`{url}` is no URL: {error}"))?;
        if !SCHEMES.contains(&parsed.scheme_str().unwrap_or_default()) || parsed.host().is_none() {
            return Err(format!(
                "`{url}` is no URL of the form http://HOST/PATH; the scheme may be one of {}",
                SCHEMES.join(", ")
            ));
        }
        check_authority(&url, &parsed)?;
        http::Method::from_bytes(args.method.as_bytes())
            .map_err(|_| format!("`{}` is no method", args.method))?;
        let mut headers = HeaderMap::new();
        for header in &args.headers {
            let (name, value) = parse_header(header)?;
            headers.append(name, value);
        }
        Ok(Self {
            url: parsed,
            method: args.method.clone(),
            headers,
            way,
        })
    }
}

/// What the parser of URLs lets pass: users in front of the host, and ports that are none.
fn check_authority(url: &str, parsed: &Uri) -> Result<(), String> {
    let authority = parsed
        .authority()
        .map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("the URL names a user: leave out what stands before the @".to_owned());
    }
    let after = authority.rsplit_once(':').map(|(_, port)| port);
    match after.filter(|port| !port.contains(']')) {
        Some(port) if parsed.port_u16().is_none() => {
            Err(format!("`{port}` in `{url}` is no port: 0 to 65535"))
        }
        _ => Ok(()),
    }
}

impl Asked {
    /// The request as it would meet the listeners of `loaded`.
    fn request(mut self, loaded: &Loaded) -> anyhow::Result<ExplainRequest> {
        let scheme = self.url.scheme_str().unwrap_or("http").to_owned();
        let of_url = self
            .url
            .authority()
            .map(|authority| authority.as_str().to_owned());
        // As with curl, a Host header of one's own replaces the URL's.
        let host = self.headers.remove(http::header::HOST);
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let client = match &self.way {
            Way::ForwardProxy(client) | Way::Inbound(client) => client.clone(),
            _ => Client::default(),
        };
        let normalization = loaded.bootstrap.mesh.path_normalization;
        let path = rules::path::normalise(self.url.path(), normalization)
            .with_context(|| format!("the path {} is refused with 400", self.url.path()))?;
        Ok(ExplainRequest {
            port: match &self.way {
                Way::Gateway(port) => self.port(*port, &scheme, loaded),
                Way::ForwardProxy(_) => forward_proxy_port(loaded)?,
                Way::Outbound => capture(loaded)?.outbound.port(),
                Way::Inbound(_) => capture(loaded)?.inbound.port(),
            },
            sni: self.sni(&scheme),
            method: self.method,
            authority: host.or(of_url).unwrap_or_default(),
            path: path.into_owned(),
            query: self.url.query().map(str::to_owned),
            headers: self.headers,
            client: client.address,
            client_names: client.names,
            misdirected: match loaded.bootstrap.tls.misdirected_status.0 {
                Misdirected::Status421 => StatusCode::MISDIRECTED_REQUEST,
                Misdirected::NotFound => StatusCode::NOT_FOUND,
            },
            scheme,
        })
    }

    /// The URL's host, whatever the Host header says. Clients do not ask for addresses.
    fn sni(&self, scheme: &str) -> Option<String> {
        let host = self.url.host()?;
        let is_address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        (matches!(scheme, "https" | "tls") && !is_address).then(|| host.to_owned())
    }

    /// A Gateway server's port, also where the port bound for it was given.
    fn port(&self, port: Option<u16>, scheme: &str, loaded: &Loaded) -> u16 {
        let default = match scheme {
            "https" | "tls" => 443,
            _ => 80,
        };
        let asked = port.or_else(|| self.url.port_u16()).unwrap_or(default);
        let is_served = |port| {
            loaded
                .published
                .table
                .listeners
                .keys()
                .any(|key| key.port == port)
        };
        if is_served(asked) {
            asked
        } else {
            server_port(&loaded.bootstrap, asked).unwrap_or(asked)
        }
    }
}

/// How connections come to the sidecar.
fn capture(loaded: &Loaded) -> anyhow::Result<&Capture> {
    let capture = loaded.bootstrap.capture.as_ref();
    let capture = capture.filter(|capture| capture.mode() != InterceptionMode::None);
    capture.context("nothing is redirected here: `[capture] mode` is \"NONE\"")
}

/// Where the forward proxy listens.
fn forward_proxy_port(loaded: &Loaded) -> anyhow::Result<u16> {
    let address = loaded.bootstrap.listen.forward_proxy;
    let address =
        address.context("there is no forward proxy: `[listen] forward-proxy` is not set")?;
    Ok(address.port())
}

/// The Gateway server's port that is bound as `bound`.
fn server_port(bootstrap: &Bootstrap, bound: u16) -> Option<u16> {
    bootstrap
        .listen
        .ports
        .iter()
        .find_map(|(server, to)| (*to == bound).then_some(*server))
}

fn parse_header(header: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = header
        .split_once(':')
        .ok_or_else(|| format!("`{header}` is no header of the form `name: value`"))?;
    let parsed_name = name
        .trim()
        .parse()
        .map_err(|_| format!("`{name}` is no name of a header"))?;
    let parsed_value = value
        .trim()
        .parse()
        .map_err(|_| format!("`{value}` is no value of a header"))?;
    Ok((parsed_name, parsed_value))
}

/// As the contract has it.
fn as_json(explanation: &Explanation) -> Value {
    let place = explanation.place.as_ref();
    let tried = explanation.tried.iter().map(|tried| {
        json!({
            "rule": tried.rule,
            "file": tried.place.file,
            "line": tried.place.line,
            "failed": tried.failed,
        })
    });
    json!({
        "outcome": explanation.outcome.as_str(),
        "status": explanation.status,
        "listener": explanation.listener,
        "server": explanation.server.as_ref().map(server_as_json),
        "view": explanation.view,
        "virtual_host": explanation.virtual_host,
        "route": explanation.route,
        "resource": place.map(|place| &place.resource),
        "file": place.and_then(|place| place.file.as_deref()),
        "line": place.and_then(|place| place.line),
        "clusters": explanation.clusters.iter().map(cluster_as_json).collect::<Vec<_>>(),
        "tried": tried.collect::<Vec<_>>(),
        "reason": explanation.reason,
    })
}

fn server_as_json(server: &ExplainedServer) -> Value {
    json!({
        "name": server.name,
        "mode": server.mode,
        "resource": server.place.resource,
        "file": server.place.file,
        "line": server.place.line,
    })
}

fn cluster_as_json(cluster: &ExplainedCluster) -> Value {
    json!({
        "host": cluster.host,
        "subset": cluster.subset,
        "port": cluster.port,
        "weight": cluster.weight,
        "endpoints": cluster.endpoints,
        "names": cluster.unresolved,
        "on_demand": cluster.on_demand,
        "policy": policy_as_json(&cluster.policy),
        "shaped_by": cluster.shaped_by.as_ref().map(place_as_json),
    })
}

fn place_as_json(place: &Place) -> Value {
    json!({
        "resource": place.resource,
        "path": place.path,
        "file": place.file,
        "line": place.line,
    })
}

/// Names of settings, and what they are in words.
pub(crate) fn policy_as_json(policy: &PolicyInWords) -> Value {
    let settings = policy.iter();
    settings
        .map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())))
        .collect()
}

fn as_text(explanation: &Explanation, request: &ExplainRequest) -> String {
    let ExplainRequest {
        method,
        scheme,
        authority,
        path,
        port,
        ..
    } = request;
    let mut text = Lines(match scheme.as_str() {
        "tcp" | "tls" => format!("{scheme}://{authority}\n\n"),
        _ => format!("{method} {scheme}://{authority}{path}\n\n"),
    });
    let Some(listener) = &explanation.listener else {
        text.add("listener", &format!("none on port {port}"));
        text.add("outcome", &outcome(explanation));
        return text.0;
    };
    text.add("listener", listener);
    if let Some(view) = &explanation.view {
        text.add("view", &format!("of a client of namespace {view}"));
    }
    if let Some(server) = &explanation.server {
        let place = shown(&server.place);
        text.add(
            "server",
            &format!("{} {}, {place}", server.mode, server.name),
        );
    }
    match (&explanation.virtual_host, explanation.outcome) {
        (Some(host), _) => text.add("virtual host", host),
        (None, ExplainedOutcome::NoHost) if explanation.reason.is_none() => {
            text.add("virtual host", &format!("none for {authority}"));
        }
        _ => {}
    }
    for tried in &explanation.tried {
        text.add("not", &format!("{} at {}", tried.rule, shown(&tried.place)));
        text.add("", &format!("because {}", tried.failed));
    }
    if explanation.outcome != ExplainedOutcome::NoHost {
        text.add("rule", &rule(explanation));
    }
    text.add("outcome", &outcome(explanation));
    if let Some(reason) = &explanation.reason {
        text.add("", &format!("because {reason}"));
    }
    for (name, value) in &explanation.headers {
        text.add("", &format!("{name}: {value}"));
    }
    for cluster in &explanation.clusters {
        text.add("destination", &destination(cluster, &explanation.clusters));
        text.add_policy(cluster);
    }
    if let Some(upstream) = &explanation.upstream {
        text.add(
            "sent as",
            &format!("{method} {} to {}", upstream.path, upstream.authority),
        );
        text.add_upstream(upstream);
    }
    text.0
}

/// Names on the left, what is said of them on the right.
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name:>12}  {value}");
    }

    fn add_policy(&mut self, cluster: &ExplainedCluster) {
        let settings = cluster.policy.iter().map(|(name, value)| (*name, value));
        for (name, value) in settings.filter(|(name, _)| *name != "subset_labels") {
            self.add("", &format!("{}: {value}", name.replace('_', " ")));
        }
        if let Some(place) = &cluster.shaped_by {
            self.add("", &format!("shaped by {}", shown(place)));
        }
    }

    fn add_upstream(&mut self, upstream: &ExplainedUpstream) {
        let timeout = upstream.timeout.map(|limit| format!("{limit:?}"));
        self.add("timeout", timeout.as_deref().unwrap_or("none"));
        let per_try = upstream
            .per_try_timeout
            .map(|limit| format!(", each within {limit:?}"));
        self.add(
            "retries",
            &format!("{}{}", upstream.retries, per_try.unwrap_or_default()),
        );
        if let Some((delay, share)) = upstream.delay {
            self.add("delay", &format!("{delay:?} for {}", percent(share)));
        }
        if let Some(share) = upstream.abort {
            self.add("abort", &format!("for {}", percent(share)));
        }
        for mirror in &upstream.mirrors {
            let share = percent(mirror.weight);
            self.add(
                "mirror",
                &format!("{}:{} for {share}", mirror.host, mirror.port),
            );
        }
    }
}

fn rule(explanation: &Explanation) -> String {
    let Some(place) = &explanation.place else {
        return "none".to_owned();
    };
    match explanation.route.as_deref() {
        None | Some("") => shown(place),
        Some(name) => format!("{name}, {}", shown(place)),
    }
}

/// `VirtualService default/httpbin spec.http[0] (httpbin.yaml:30)`
fn shown(place: &Place) -> String {
    let Place {
        resource,
        path,
        file,
        line,
    } = place;
    let at = match (file, line) {
        (Some(file), Some(line)) => format!(" ({file}:{line})"),
        _ => String::new(),
    };
    format!("{resource} {path}{at}")
}

fn outcome(explanation: &Explanation) -> String {
    let outcome = explanation.outcome.as_str().replace('_', " ");
    match explanation.status {
        Some(status) => format!("{outcome}, answered {status}"),
        None => outcome,
    }
}

fn destination(cluster: &ExplainedCluster, all: &[ExplainedCluster]) -> String {
    let subset = cluster
        .subset
        .as_ref()
        .map(|subset| format!(" subset {subset}"))
        .unwrap_or_default();
    let total: u64 = all.iter().map(|cluster| u64::from(cluster.weight)).sum();
    let share = match all.len() {
        1 => String::new(),
        _ => format!(", weight {} of {total}", cluster.weight),
    };
    let reached = match &cluster.missing {
        Some(reason) => format!("nowhere: {reason}"),
        None => endpoints(cluster),
    };
    format!(
        "{}:{}{subset}{share} -> {reached}",
        cluster.host, cluster.port
    )
}

/// The addresses, and the names that stand for more of them. Nobody is asked which.
fn endpoints(cluster: &ExplainedCluster) -> String {
    let names = cluster.unresolved.iter();
    let names = names.map(|name| format!("the addresses of {name} (not resolved here)"));
    let on_demand = cluster
        .on_demand
        .then(|| "whatever is asked for".to_owned());
    let all = cluster.endpoints.iter().cloned().chain(names);
    let all: Vec<String> = all.chain(on_demand).collect();
    match all.is_empty() {
        true => "no endpoint".to_owned(),
        false => all.join(", "),
    }
}

/// Parts per million as a person writes them.
fn percent(share: u32) -> String {
    format!("{}% of the requests", f64::from(share) / 10_000.0)
}
