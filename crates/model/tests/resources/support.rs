//! Helpers: parse a text, look at the resource or at what is wrong with it.

use model::{Defaults, Diagnostic, Outcome, Parsed, Resource, Severity};

pub(crate) fn parse(text: &str) -> Parsed {
    model::parse(&"test.yaml".into(), text, &Defaults::default())
}

/// One line: `error unknown_field 3:1 spec.x: unknown field "x"`.
pub(crate) fn line(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let at = diagnostic
        .position
        .as_ref()
        .map_or((0, 0), |at| (at.line, at.column));
    let (code, path, message) = (diagnostic.code, &diagnostic.path, &diagnostic.message);
    format!("{severity} {code} {}:{} {path}: {message}", at.0, at.1)
}

pub(crate) fn told(text: &str) -> Vec<String> {
    parse(text).all_diagnostics().map(line).collect()
}

#[track_caller]
pub(crate) fn check_told(text: &str, want: &[&str]) {
    assert_eq!(told(text), want, "of\n{text}");
}

/// The only object of a text, accepted without a word.
#[track_caller]
pub(crate) fn silently(text: &str) -> Resource {
    assert_eq!(told(text), Vec::<String>::new(), "of\n{text}");
    accepted(text)
}

/// The only object of a text, accepted.
#[track_caller]
pub(crate) fn accepted(text: &str) -> Resource {
    let mut parsed = parse(text);
    assert_eq!(parsed.objects.len(), 1, "of\n{text}\n{:?}", told(text));
    match parsed.objects.remove(0).outcome {
        Outcome::Accepted(resource) => resource,
        Outcome::Refused => panic!("{:#?} of\n{text}", told(text)),
    }
}

/// An object of one of Istio's kinds. The spec begins on line 5, indented by two.
pub(crate) fn istio(kind: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let group = match kind {
        "AuthorizationPolicy" | "PeerAuthentication" => "security",
        _ => "networking",
    };
    format!(
        "apiVersion: {group}.istio.io/v1\nkind: {kind}\nmetadata: {{name: it, namespace: shop}}\nspec:\n{spec}"
    )
}
