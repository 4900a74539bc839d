//! Pods, given their sidecar before they are stored.

use crate::review::{Answer, Request};
use crate::telling;
use inject::{Finding, InjectOptions, Injected, inject};
use model::json_as_yaml;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Adds the sidecar to a Pod that is being created, as `mesh-agent inject` would in a file.
///
/// Which namespaces and pods are asked about, the webhook's selectors say. What the Pod says against it counts here, and
/// one that has its sidecar gets no other, so that the API server may ask again. One that could not work with a sidecar is
/// refused rather than let through without: it would be reached past every policy.
pub(crate) fn give_sidecar(request: &Request, options: &InjectOptions) -> Answer {
    let kind = &request.kind;
    let is_pod = kind.group.is_empty() && kind.kind == "Pod" && request.sub_resource.is_empty();
    if !is_pod || request.operation != "CREATE" {
        return Answer::default();
    }
    let pod = match &request.object.0 {
        Ok(pod) if pod.is_object() => as_file(pod, &request.namespace),
        Ok(_) => return Answer::default(),
        Err(why) => return unreadable(why),
    };
    let text = json_as_yaml(pod.to_string());
    match inject(&Arc::from("pod"), &text, options) {
        Ok(injected) => given(&pod, &injected),
        Err(findings) => refused(&findings),
    }
}

/// Whether these options can be used for any Pod at all, or what is wrong with them.
pub(crate) fn check_options(options: &InjectOptions) -> Result<(), String> {
    let checked = inject(&Arc::from("[injection]"), "", options);
    checked.map(drop).map_err(|findings| {
        let diagnostics = findings.iter().map(|finding| &finding.diagnostic);
        telling::refusal(diagnostics)
    })
}

fn given(pod: &Value, injected: &Injected) -> Answer {
    let warnings = injected.warnings.iter();
    let warnings = telling::warnings(warnings.map(|finding| telling::line(&finding.diagnostic)));
    for workload in &injected.workloads {
        if let Some(why) = &workload.skipped {
            tracing::debug!(pod = %workload.object, "gets no sidecar: {why}");
        }
    }
    match serde_json::from_str(&injected.text) {
        Ok(with_sidecar) => {
            let patch = json_patch::diff(pod, &with_sidecar);
            Answer {
                refusal: None,
                warnings,
                patch: (!patch.is_empty()).then_some(patch),
            }
        }
        Err(error) => unreadable(&error.to_string()),
    }
}

fn unreadable(why: &str) -> Answer {
    Answer {
        refusal: Some(format!(
            "no sidecar can be added: the Pod cannot be read: {why}"
        )),
        ..Answer::default()
    }
}

fn refused(findings: &[Finding]) -> Answer {
    let diagnostics = |errors| {
        let findings = findings.iter();
        let wanted = findings.filter(move |finding| finding.is_error() == errors);
        wanted.map(|finding| &finding.diagnostic)
    };
    Answer {
        refusal: Some(format!(
            "no sidecar can be added: {}",
            telling::refusal(diagnostics(true))
        )),
        warnings: telling::warnings(diagnostics(false).map(telling::line)),
        patch: None,
    }
}

/// As the Pod would be in a file: it says what it is and where it belongs, which a request says beside it. The patch
/// leaves both as they are.
fn as_file(object: &Value, namespace: &str) -> Value {
    let mut pod = object.clone();
    let Some(fields) = pod.as_object_mut() else {
        return pod;
    };
    fields.insert("apiVersion".to_owned(), json!("v1"));
    fields.insert("kind".to_owned(), json!("Pod"));
    let metadata = fields.entry("metadata");
    if let Value::Object(metadata) = metadata.or_insert_with(|| Value::Object(Map::new())) {
        metadata.remove("managedFields");
        if !namespace.is_empty() {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
    }
    pod
}

#[cfg(test)]
mod tests;
