//! A golden file: its resources, what is announced of them, and its calls.

use crate::case::{Call, Calls, NamesDocument, ProxyCase, ProxyDocument};
use crate::outcome::Outcome;
use model::{Defaults, Diagnostic, OutboundMode, Resources};
use rules::{CompileOptions, Compiler, Endpoints, Mesh, NameAnswers, Proxy, Table};

/// A golden file, compiled.
pub(crate) struct GoldenFile {
    calls: Vec<Call>,
    announced: Vec<Announced>,
    table: Table,
    endpoints: Endpoints,
    diagnostics: Vec<Diagnostic>,
}

/// A `_problem` line.
struct Announced {
    code: String,
    path: Option<String>,
    /// The lines of the document that it stands in. What is about no object has no line, and may stand in any.
    lines: std::ops::Range<u32>,
}

impl Announced {
    fn is(&self, diagnostic: &Diagnostic) -> bool {
        let line = diagnostic
            .position
            .as_ref()
            .map_or(0, |position| position.line);
        let path = self.path.as_ref();
        diagnostic.code == self.code
            && (line == 0 || self.lines.contains(&line))
            && path.is_none_or(|path| *path == diagnostic.path)
    }
}

impl GoldenFile {
    pub(crate) fn read(name: &str, text: &str) -> Self {
        let mut resources = String::new();
        let (mut calls, mut announced, mut proxy) = (Vec::new(), Vec::new(), ProxyCase::default());
        let mut answers = NameAnswers::new();
        let mut first_line = 1;
        for document in documents(text) {
            let count = document.lines().count() as u32;
            if document.lines().any(|line| line == "_calls:") {
                let found: Calls = serde_saphyr::from_str(document)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                calls.extend(found.calls);
            } else if document.lines().any(|line| line.starts_with("_proxy:")) {
                let found: ProxyDocument = serde_saphyr::from_str(document).unwrap();
                proxy = found.proxy;
            }
            if document.lines().any(|line| line == "_names:") {
                let found: NamesDocument = serde_saphyr::from_str(document)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                answers = found.answers();
            }
            let is_ours = document
                .lines()
                .any(|line| line == "_calls:" || line == "_names:" || line.starts_with("_proxy:"));
            for line in document.lines() {
                if let Some(problem) = line.strip_prefix("_problem:") {
                    let mut words = problem.split_whitespace();
                    announced.push(Announced {
                        code: words.next().expect("a problem has a code").to_owned(),
                        path: words.next().map(str::to_owned),
                        lines: first_line..first_line + count + 1,
                    });
                } else if !is_ours {
                    resources.push_str(line);
                }
                resources.push('\n');
            }
            resources.push_str("---\n");
            first_line += count + 1;
        }
        Self::compile(name, &resources, proxy, (calls, announced), answers)
    }

    fn compile(
        name: &str,
        text: &str,
        proxy: ProxyCase,
        (calls, announced): (Vec<Call>, Vec<Announced>),
        answers: NameAnswers,
    ) -> Self {
        let parsed = model::parse(&name.into(), text, &Defaults::default());
        let accepted = parsed
            .objects
            .iter()
            .filter_map(|object| object.outcome.resource());
        let resources: Resources = accepted.cloned().collect();
        let (forward_proxy, sidecar) = (proxy.forward_proxy(), proxy.sidecar());
        let names = proxy.names();
        let mut mesh = Mesh::default();
        if proxy.allow_any {
            mesh.outbound_traffic_policy = OutboundMode::AllowAny;
        }
        let aliases = proxy.trust_domain_aliases.iter();
        mesh.trust_domain_aliases = aliases.map(|name| name.as_str().into()).collect();
        let auto_mtls = proxy.auto_mtls;
        let proxy = Proxy {
            name: "gateway".into(),
            namespace: proxy.namespace.as_str().into(),
            labels: proxy.labels,
            locality: rules::Locality::parse(&proxy.locality),
        };
        let mut compiler = Compiler::new(CompileOptions {
            proxy,
            mesh,
            auto_mtls,
            forward_proxy,
            sidecar,
            names,
            ..CompileOptions::default()
        });
        let (table, of_rules) = compiler.compile(&resources);
        let (endpoints, of_endpoints) = compiler.endpoints(&resources, &answers.into());
        let diagnostics = parsed
            .all_diagnostics()
            .cloned()
            .chain(of_rules)
            .chain(of_endpoints);
        // What a later version will honour is not what these cases are about.
        let diagnostics = diagnostics.filter(|one| one.code != "not_honoured");
        Self {
            calls,
            announced,
            table,
            endpoints,
            diagnostics: diagnostics.collect(),
        }
    }

    /// Everything that is not as announced.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for diagnostic in &self.diagnostics {
            if !self
                .announced
                .iter()
                .any(|announced| announced.is(diagnostic))
            {
                let place = diagnostic
                    .position
                    .as_ref()
                    .map_or(0, |position| position.line);
                failures.push(format!(
                    "line {place}: not announced: {} ({})",
                    diagnostic, diagnostic.code
                ));
            }
        }
        for announced in &self.announced {
            if !self
                .diagnostics
                .iter()
                .any(|diagnostic| announced.is(diagnostic))
            {
                let Announced { code, path, lines } = announced;
                failures.push(format!(
                    "lines {lines:?}: announced, but not told: {code} {path:?}"
                ));
            }
        }
        for call in &self.calls {
            let outcome = Outcome::of(call, &self.table, &self.endpoints);
            failures.extend(
                outcome
                    .differences(&call.want)
                    .map(|difference| format!("{call:?}\n    {difference}")),
            );
        }
        failures
    }
}

/// The documents of a file, each without its separator.
fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            documents.push(&text[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    documents.push(&text[start..]);
    documents
}
