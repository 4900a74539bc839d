//! Istio's resources, checked before they are stored.

use crate::review::{Answer, Request};
use crate::telling;
use model::{Defaults, Diagnostic, Outcome, Severity, parse};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// The groups of Istio's resources. Others' kinds of the same names are not ours to judge.
const GROUPS: [&str; 2] = ["networking.istio.io", "security.istio.io"];

/// What `kubectl apply` keeps for itself: the object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Refuses an object that the gateway would refuse, and passes its warnings on.
///
/// Only what the object itself says is looked at. What it refers to may be stored after it.
///
/// An error that the stored version has as well refuses nothing, but is a warning: else nobody could take a finalizer off
/// an object that was stored before this webhook was there, nor change its labels. An object that is being deleted is
/// let through, whatever it says. The gateway refuses what is bad all the same, and keeps to the last good version.
pub(crate) fn validate(request: &Request) -> Answer {
    let is_ours = GROUPS.contains(&&*request.kind.group);
    let is_write = matches!(&*request.operation, "CREATE" | "UPDATE");
    if !is_ours || !is_write || !request.sub_resource.is_empty() || is_going(&request.object) {
        return Answer::default();
    }
    let found = problems(&request.object, &request.namespace);
    let known = match request.old_object.is_object() {
        true => problems(&request.old_object, &request.namespace),
        false => Vec::new(),
    };
    let known: HashSet<_> = known.iter().map(identity).collect();
    let (errors, rest): (Vec<_>, Vec<_>) = found.iter().partition(|diagnostic| {
        diagnostic.severity == Severity::Error && !known.contains(&identity(diagnostic))
    });
    Answer {
        refusal: (!errors.is_empty()).then(|| telling::refusal(errors.into_iter())),
        warnings: telling::warnings(rest.into_iter().map(warning)),
        patch: None,
    }
}

/// What makes two diagnostics one and the same, wherever they stand.
fn identity(diagnostic: &Diagnostic) -> (&str, &str, &str) {
    (diagnostic.code, &diagnostic.path, &diagnostic.message)
}

fn warning(diagnostic: &Diagnostic) -> String {
    let line = telling::line(diagnostic);
    match diagnostic.severity {
        Severity::Warning => line,
        Severity::Error => format!("not in force, as before: {line}"),
    }
}

fn is_going(object: &Value) -> bool {
    object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string)
}

/// What there is to say about an object, errors first. Nothing: it is good, or of a kind that is not read.
fn problems(object: &Value, namespace: &str) -> Vec<Diagnostic> {
    let mut defaults = Defaults::default();
    if !namespace.is_empty() {
        defaults.namespace = namespace.into();
    }
    let text = as_it_is_read(object).to_string();
    let parsed = parse(&Arc::from("object"), &text, &defaults);
    let mut problems: Vec<_> = parsed.diagnostics;
    problems.retain(|diagnostic| diagnostic.code != "skipped_kind");
    for object in parsed.objects {
        debug_assert!(
            object.outcome != Outcome::Refused || !object.diagnostics.is_empty(),
            "nothing is refused without a reason"
        );
        problems.extend(object.diagnostics);
    }
    problems.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.severity));
    problems
}

/// Without what only Kubernetes uses, as the gateway has it from the API server, and with the name that it will have.
fn as_it_is_read(object: &Value) -> Value {
    let mut object = object.clone();
    let Some(fields) = object.as_object_mut() else {
        return object;
    };
    fields.remove("status");
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(LAST_APPLIED);
        }
        give_name(metadata);
    }
    object
}

/// Kubernetes makes a name of `generateName` when this is over.
fn give_name(metadata: &mut Map<String, Value>) {
    let text = |key: &str| {
        metadata
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if text("name").is_empty() && !text("generateName").is_empty() {
        let name = format!("{}xxxxx", text("generateName"));
        metadata.insert("name".to_owned(), json!(name));
    }
}

#[cfg(test)]
mod tests;
