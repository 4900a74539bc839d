//! Objects as a user writes them in `testdata/authorization`, then requests and connections and what becomes of them.
//!
//! A `_workload` document says whom they are for, `_mtls` which modes hold by port, `_told` what is told of the
//! objects, all of it, and `_calls` lists requests and connections.

use http::{HeaderMap, HeaderName, HeaderValue};
use model::{Defaults, Diagnostic, Labels, Resources, Severity};
use rules::{
    Authorization, AuthorizationCompiler, CompileOptions, Mesh, Peer, PeerMtls, PeerMtlsCompiler,
    Proxy, Refusal, RequestHead, Verdict, host_of,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

/// Where calls come from that do not say it.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "_workload", default)]
    workload: Option<Workload>,
    #[serde(rename = "_mtls", default)]
    mtls: BTreeMap<String, String>,
    #[serde(rename = "_told", default)]
    told: Option<Vec<String>>,
    #[serde(rename = "_calls", default)]
    calls: Vec<Call>,
}

/// Whom objects are for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Workload {
    namespace: String,
    labels: Labels,
    trust_domain: String,
    aliases: Vec<String>,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            labels: Labels::new(),
            trust_domain: "cluster.local".to_owned(),
            aliases: Vec::new(),
        }
    }
}

/// A request, or a connection that is none: `tcp://10.0.9.9:3306`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    get: Option<String>,
    post: Option<String>,
    /// For other methods: `PUT http://…`.
    request: Option<String>,
    connect: Option<String>,
    /// `namespace/account` of the mesh, or a URI. Absent: the client shows no certificate.
    r#as: Option<String>,
    /// Where it comes from. Default `10.0.0.1`.
    from: Option<IpAddr>,
    /// Who the client is by word of trusted proxies. Default where it comes from.
    remote: Option<IpAddr>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    sni: Option<String>,
    /// `allowed`, `none` when no policy allows it, or who denies it: `shop/deny 0`, `CUSTOM shop/ask 0`.
    want: String,
    /// As `want`, of policies in dry run.
    would: Option<String>,
    #[serde(default)]
    audited: Vec<String>,
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the crate reads no files, its cases do"
)]
fn every_golden_file_behaves_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/authorization");
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    assert!(files.len() > 5, "the cases are gone");
    let mut failures = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let failed = failures_of(&name, &fs::read_to_string(&path).unwrap());
        failures.extend(
            failed
                .into_iter()
                .map(|failure| format!("{name}: {failure}")),
        );
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn failures_of(name: &str, text: &str) -> Vec<String> {
    let (cases, objects) = split(text);
    let parsed = model::parse(&name.into(), &objects, &Defaults::default());
    let resources: Resources = parsed
        .objects
        .iter()
        .filter_map(|object| object.outcome.resource().cloned())
        .collect();
    let options = options(&cases);
    let (mut policies, mut modes) = (
        AuthorizationCompiler::default(),
        PeerMtlsCompiler::default(),
    );
    let authorization = policies.compile(&options, &resources);
    let mtls = modes.compile(&options, &resources);
    let mut told: Vec<Diagnostic> = parsed.all_diagnostics().cloned().collect();
    told.extend(policies.diagnostics().chain(modes.diagnostics()));
    let mut failures = Vec::new();
    for case in &cases {
        failures.extend(wrong_modes(case, &mtls));
        failures.extend(
            case.calls
                .iter()
                .filter_map(|call| wrong_verdict(call, &authorization, &options)),
        );
    }
    let want = cases
        .iter()
        .find_map(|case| case.told.clone())
        .unwrap_or_default();
    let got: Vec<_> = told.iter().map(line).collect();
    if got != want {
        failures.push(format!(
            "told\n  {}\ninstead of\n  {}",
            got.join("\n  "),
            want.join("\n  ")
        ));
    }
    failures
}

/// The documents that are about the others, and the file with those left empty, so that lines stay where they are.
fn split(text: &str) -> (Vec<Case>, String) {
    let (mut cases, mut objects) = (Vec::new(), String::new());
    for document in text.split("---\n") {
        let is_case = document.lines().any(|line| line.starts_with('_'));
        if is_case {
            cases.push(serde_saphyr::from_str(document).unwrap());
            objects.extend(document.lines().map(|_| "\n"));
        } else {
            objects.push_str(document);
        }
        objects.push_str("---\n");
    }
    (cases, objects)
}

fn options(cases: &[Case]) -> CompileOptions {
    let default = Workload::default();
    let of = cases
        .iter()
        .find_map(|case| case.workload.as_ref())
        .unwrap_or(&default);
    CompileOptions {
        proxy: Proxy {
            namespace: of.namespace.as_str().into(),
            labels: of.labels.clone(),
            ..Proxy::default()
        },
        mesh: Mesh {
            trust_domain: of.trust_domain.as_str().into(),
            trust_domain_aliases: of.aliases.iter().map(|one| one.as_str().into()).collect(),
            ..Mesh::default()
        },
        ..CompileOptions::default()
    }
}

fn wrong_modes(case: &Case, mtls: &PeerMtls) -> Vec<String> {
    let modes = case.mtls.iter().map(|(port, want)| {
        let setting = match port.parse() {
            Ok(port) => mtls.setting(port),
            Err(_) => &mtls.default,
        };
        let by = setting.origin.as_ref().map(|origin| {
            let of = &origin.resource;
            format!(" of {}/{}", of.namespace, of.name)
        });
        let got = format!("{}{}", setting.mode.as_str(), by.unwrap_or_default());
        (got != *want).then(|| format!("port {port} is {got}, not {want}"))
    });
    modes.flatten().collect()
}

fn wrong_verdict(
    call: &Call,
    authorization: &Authorization,
    options: &CompileOptions,
) -> Option<String> {
    let verdict = call.decide(authorization, options);
    let audited: Vec<_> = verdict
        .audited
        .iter()
        .map(|rule| rule_name(rule.rule, &rule.origin))
        .collect();
    let would = call.would.as_deref().unwrap_or("allowed");
    let got = (
        written(verdict.denied.as_ref()),
        written(verdict.would_deny.as_ref()),
        audited,
    );
    let want = (call.want.clone(), would.to_owned(), call.audited.clone());
    (got != want).then(|| format!("{call:?}\n    is {got:?}, not {want:?}"))
}

fn written(refusal: Option<&Refusal>) -> String {
    match refusal {
        None => "allowed".to_owned(),
        Some(Refusal::NotAllowed(_)) => "none".to_owned(),
        Some(Refusal::Denied(rule)) => rule_name(rule.rule, &rule.origin),
        Some(Refusal::Custom { rule, .. }) => {
            format!("CUSTOM {}", rule_name(rule.rule, &rule.origin))
        }
    }
}

fn rule_name(rule: usize, origin: &Arc<model::Origin>) -> String {
    let of = &origin.resource;
    format!("{}/{} {rule}", of.namespace, of.name)
}

impl Call {
    fn decide(&self, authorization: &Authorization, options: &CompileOptions) -> Verdict {
        let domain = &options.mesh.trust_domain;
        let principal = self.r#as.as_ref().map(|who| match who.split_once('/') {
            Some((namespace, account)) if !who.contains("://") => {
                format!("spiffe://{domain}/ns/{namespace}/sa/{account}")
            }
            _ => who.clone(),
        });
        let source = self.from.unwrap_or(SOURCE);
        let mut peer = Peer {
            source,
            remote: self.remote.unwrap_or(source),
            principal: principal.as_deref(),
            destination: ([10, 0, 9, 9], 80).into(),
            sni: self.sni.as_deref(),
        };
        if let Some(address) = &self.connect {
            peer.destination = address.trim_start_matches("tcp://").parse().unwrap();
            return authorization.decide_connection(&peer);
        }
        let (method, url) = self.url();
        let (authority, path) = url
            .find('/')
            .map_or((url, "/"), |slash| url.split_at(slash));
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let port = authority[host_of(authority).len()..].trim_start_matches(':');
        peer.destination.set_port(port.parse().unwrap_or(80));
        let headers = self.headers();
        let head = RequestHead {
            method,
            scheme: "http",
            authority,
            path,
            query,
            headers: &headers,
        };
        authorization.decide_request(&peer, &head)
    }

    fn url(&self) -> (&str, &str) {
        let (method, url) = match self {
            Self { get: Some(url), .. } => ("GET", url.as_str()),
            Self {
                post: Some(url), ..
            } => ("POST", url.as_str()),
            _ => self.request.as_deref().unwrap().split_once(' ').unwrap(),
        };
        (method, url.strip_prefix("http://").unwrap())
    }

    fn headers(&self) -> HeaderMap {
        let pairs = self.headers.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        pairs.collect()
    }
}

/// `warning no_effect 3:1 PeerAuthentication a/b: spec.selector: …`
fn line(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let at = diagnostic
        .position
        .as_ref()
        .map_or((0, 0), |at| (at.line, at.column));
    format!(
        "{severity} {} {}:{} {diagnostic}",
        diagnostic.code, at.0, at.1
    )
}
