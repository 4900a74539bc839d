//! Labels and annotations.

use super::Facts;
use crate::decide::STATUS;
use crate::identity::Identity;
use crate::redirect;
use crate::yaml::{json, list, map, null, text};
use model::labels::{CANONICAL_NAME, CANONICAL_REVISION, TLS_MODE, TLS_MODE_ISTIO};

/// The longest value that a label can have.
const LONGEST_LABEL: usize = 63;

/// Labels to be added where there are none of these names.
pub(crate) fn labels(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let pod = facts.pod;
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| pod.label(name));
    let name = first(["app.kubernetes.io/name", "app"]).or(facts.workload);
    let revision = first(["app.kubernetes.io/version", "version"]).unwrap_or("latest");
    let mut labels = Vec::new();
    // Other agents take it for a promise: their TLS goes to the agent, which has an identity to answer with.
    if facts.options.identity != Identity::None && redirect::receives(&facts.settings.redirect) {
        labels.push((TLS_MODE, TLS_MODE_ISTIO.to_owned()));
    }
    let name = name.filter(|name| !name.is_empty() && name.len() <= LONGEST_LABEL);
    labels.extend(name.map(|name| (CANONICAL_NAME, name.to_owned())));
    labels.push((CANONICAL_REVISION, revision.to_owned()));
    labels.retain(|(name, _)| !pod.labels.contains_key(name));
    labels
}

/// Annotations to be added where there are none of these names, but for those of metrics and status.
pub(crate) fn annotations(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let mut annotations = vec![("istio.io/rev", "default".to_owned())];
    if let Some(application) = facts.pod.app_containers().next() {
        for name in [
            "kubectl.kubernetes.io/default-container",
            "kubectl.kubernetes.io/default-logs-container",
        ] {
            annotations.push((name, application.name.to_owned()));
        }
    }
    annotations.retain(|(name, _)| !facts.pod.annotations.contains_key(name));
    annotations
}

/// The annotation that tells what was added, by which a pod that has a sidecar is known.
pub(crate) fn status(added: &Added) -> (&'static str, String) {
    let names = |names: &[String]| match names {
        // Istio's program writes what its language has for an empty list.
        [] => null(),
        names => list(names.iter().map(|name| text(&**name))),
    };
    let status = map([
        ("initContainers", names(&added.init_containers)),
        ("containers", names(&added.containers)),
        ("volumes", names(&added.volumes)),
        ("imagePullSecrets", names(&added.image_pull_secrets)),
        ("revision", text("default")),
    ]);
    (STATUS, json(&status))
}

/// The names of what was added to a pod.
#[derive(Debug, Default)]
pub(crate) struct Added {
    pub(crate) init_containers: Vec<String>,
    pub(crate) containers: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) image_pull_secrets: Vec<String>,
}
