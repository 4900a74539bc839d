//! Istio's resources, checked before they are stored.

use crate::review::{Answer, Object, Request};
use crate::telling;
use model::{Defaults, Diagnostic, Outcome, Severity, json_as_yaml, parse};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
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
    if !is_ours || !is_write || !request.sub_resource.is_empty() {
        return Answer::default();
    }
    let object = match &request.object.0 {
        Ok(object) if is_going(object) => return Answer::default(),
        Ok(object) => object,
        Err(why) => return unreadable(why, &request.old_object),
    };
    let found = problems(object, &request.namespace);
    let known = match &request.old_object.0 {
        Ok(before) if before.is_object() => problems(before, &request.namespace),
        _ => Vec::new(),
    };
    let mut known = counted(&known);
    let (errors, rest): (Vec<_>, Vec<_>) = found.iter().partition(|diagnostic| {
        diagnostic.severity == Severity::Error && !takes_one(&mut known, diagnostic)
    });
    Answer {
        refusal: (!errors.is_empty()).then(|| telling::refusal(errors.into_iter())),
        warnings: telling::warnings(rest.into_iter().map(warning)),
        patch: None,
    }
}

fn unreadable(why: &str, before: &Object) -> Answer {
    let problem = format!("the object cannot be read: {why}");
    match before.0 {
        Ok(_) => Answer {
            refusal: Some(problem),
            ..Answer::default()
        },
        Err(_) => Answer {
            warnings: vec![format!("not in force, as before: {problem}")],
            ..Answer::default()
        },
    }
}

/// What makes two diagnostics one and the same, wherever they stand: what is put in before an item of a list moves it.
type Identity<'d> = (&'d str, String, &'d str);

fn identity(diagnostic: &Diagnostic) -> Identity<'_> {
    let mut path = String::new();
    for c in diagnostic.path.chars() {
        let is_of_index = path.ends_with('[') && c.is_ascii_digit();
        if !is_of_index {
            path.push(c);
        }
    }
    (diagnostic.code, path, &diagnostic.message)
}

fn counted(diagnostics: &[Diagnostic]) -> HashMap<Identity<'_>, usize> {
    let mut counts = HashMap::new();
    for diagnostic in diagnostics {
        *counts.entry(identity(diagnostic)).or_default() += 1;
    }
    counts
}

/// Whether there is still one of these, which is taken.
fn takes_one<'d>(known: &mut HashMap<Identity<'d>, usize>, diagnostic: &'d Diagnostic) -> bool {
    let left = known
        .get_mut(&identity(diagnostic))
        .filter(|left| **left > 0);
    left.map(|left| *left -= 1).is_some()
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
    let text = json_as_yaml(as_it_is_read(object).to_string());
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
