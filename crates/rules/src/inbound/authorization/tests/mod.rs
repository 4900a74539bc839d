//! What policies allow and deny.

mod compiling;
mod connections;
mod explaining;
mod operations;
mod order;
mod sources;

use super::{Authorization, AuthorizationCompiler, Peer, Verdict};
use crate::testing::{headers, request};
use crate::{CompileOptions, Mesh, Proxy, RequestHead};
use http::HeaderMap;
use model::{Defaults, Diagnostic, Resources, Severity};
use std::sync::Arc;

/// The workload: `app: reviews` of namespace `shop`.
fn options() -> CompileOptions {
    CompileOptions {
        proxy: Proxy {
            namespace: "shop".into(),
            labels: [("app".to_owned(), "reviews".to_owned())].into(),
            ..Proxy::default()
        },
        mesh: Mesh::default(),
        ..CompileOptions::default()
    }
}

/// Objects that are all accepted.
fn resources(text: &str) -> Resources {
    let parsed = model::parse(&"test.yaml".into(), text, &Defaults::default());
    let errors: Vec<_> = parsed
        .all_diagnostics()
        .filter(|one| one.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{errors:?} of\n{text}");
    let objects = parsed.objects.iter();
    objects
        .filter_map(|object| object.outcome.resource().cloned())
        .collect()
}

/// A policy of namespace `shop`, whose spec is indented by two.
fn policy(name: &str, spec: &str) -> String {
    policy_of("shop", name, spec)
}

fn policy_of(namespace: &str, name: &str, spec: &str) -> String {
    annotated(namespace, name, "", spec)
}

fn annotated(namespace: &str, name: &str, annotations: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}, annotations: {{{annotations}}}}}\nspec:\n{spec}"
    )
}

fn compiled(text: &str) -> Arc<Authorization> {
    compiled_for(&options(), text).0
}

fn compiled_for(options: &CompileOptions, text: &str) -> (Arc<Authorization>, Vec<Diagnostic>) {
    let mut compiler = AuthorizationCompiler::default();
    let compiled = compiler.compile(options, &resources(text));
    (compiled, compiler.diagnostics().collect())
}

/// One line: `error unsupported_action 6:11 spec.action: …`
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

/// A request and who sends it.
#[derive(Clone, Debug)]
struct Call {
    source: &'static str,
    remote: &'static str,
    principal: Option<&'static str>,
    destination: &'static str,
    sni: Option<&'static str>,
    method: &'static str,
    authority: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: HeaderMap,
}

/// `GET http://reviews.shop/a` of service account `web`, on port 8080.
fn call() -> Call {
    Call {
        source: "10.0.0.1",
        remote: "192.0.2.7",
        principal: Some("spiffe://cluster.local/ns/shop/sa/web"),
        destination: "10.0.9.9:8080",
        sni: None,
        method: "GET",
        authority: "reviews.shop",
        path: "/a",
        query: None,
        headers: HeaderMap::new(),
    }
}

impl Call {
    fn of(principal: Option<&'static str>) -> Self {
        Self {
            principal,
            ..call()
        }
    }

    fn from(source: &'static str) -> Self {
        Self { source, ..call() }
    }

    fn to(authority: &'static str) -> Self {
        Self {
            authority,
            ..call()
        }
    }

    fn with_headers(pairs: &[(&str, &str)]) -> Self {
        Self {
            headers: headers(pairs),
            ..call()
        }
    }

    fn peer(&self) -> Peer<'static> {
        Peer {
            source: self.source.parse().unwrap(),
            remote: self.remote.parse().unwrap(),
            principal: self.principal,
            destination: self.destination.parse().unwrap(),
            sni: self.sni,
        }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: self.method,
            authority: self.authority,
            path: self.path,
            query: self.query,
            headers: &self.headers,
            ..request()
        }
    }

    fn decide(&self, authorization: &Authorization) -> Verdict {
        authorization.decide_request(&self.peer(), &self.head())
    }

    fn connect(&self, authorization: &Authorization) -> Verdict {
        authorization.decide_connection(&self.peer())
    }
}

/// Whether a rule, in YAML's flow style, matches each of the calls: as one that allows, and as one that denies.
#[track_caller]
fn check(rule: &str, cases: &[(Call, bool)]) {
    let spec = |action| format!("action: {action}\nrules: [{rule}]");
    let allow = compiled(&policy("allow", &spec("ALLOW")));
    let deny = compiled(&policy("deny", &spec("DENY")));
    for (call, want) in cases {
        assert_eq!(call.decide(&allow).is_allowed(), *want, "{rule} {call:?}");
        assert_eq!(call.decide(&deny).is_allowed(), !want, "{rule} {call:?}");
    }
}
