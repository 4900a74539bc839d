//! What a pod tells its containers about itself: variables and files of Kubernetes' downward API.
//!
//! The names are those that Istio's injection uses.

use model::Labels;
use std::path::Path;

/// The pod's labels, a line each.
const LABELS: &str = "/etc/istio/pod/labels";
/// More is no file of labels.
const MAX_LABELS: usize = 1 << 20;

/// The namespace of objects that name none, and of pods that say nothing.
const DEFAULT: &str = "default";

/// The labels of the pod. None where there is no pod.
pub(crate) fn labels() -> Labels {
    labels_in(Path::new(LABELS))
}

fn labels_in(file: &Path) -> Labels {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    match text.len() {
        0..=MAX_LABELS => text.lines().filter_map(label).collect(),
        _ => Labels::new(),
    }
}

/// `app="reviews"`: what stands in quotation marks is written as Go writes strings, of which labels need nothing.
fn label(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let value = value.strip_prefix('"')?.strip_suffix('"')?;
    Some((name.to_owned(), value.to_owned()))
}

/// The workload that the pod belongs to: as it is told, else as its labels have it, else the pod itself.
pub(crate) fn name(labels: &Labels) -> String {
    let told = variable("ISTIO_META_WORKLOAD_NAME");
    let of_labels = || labels.get("service.istio.io/workload-name").cloned();
    told.or_else(of_labels)
        .or_else(|| variable("POD_NAME"))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The pod's namespace.
pub(crate) fn namespace() -> String {
    variable("POD_NAMESPACE").unwrap_or_else(|| DEFAULT.to_owned())
}

/// The pod's service account.
pub(crate) fn service_account() -> String {
    variable("SERVICE_ACCOUNT").unwrap_or_else(|| DEFAULT.to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels");
        std::fs::write(&file, "app=\"reviews\"\nversion=\"v1\"\nbroken\n").unwrap();
        let labels = labels_in(&file);
        assert_eq!(labels.len(), 2);
        assert_eq!(labels["version"], "v1");
        assert!(labels_in(&folder.path().join("none")).is_empty());
    }
}
