//! Whether a pod gets a sidecar.

use crate::annotations::{self, Annotations};
use crate::finding::Report;
use crate::pod::Pod;
use crate::yaml::Node;
use std::fmt;

/// Why a pod is left as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Skipped {
    /// It has a sidecar: the annotation `sidecar.istio.io/status` is there.
    AlreadyInjected,
    /// The label or the annotation `sidecar.istio.io/inject` says `false`.
    NotWanted,
    /// It is on the network of its node, whose traffic is not the pod's to redirect.
    HostNetwork,
    /// It is for Windows, where nothing redirects traffic.
    Windows,
    /// It is of a namespace that belongs to Kubernetes.
    SystemNamespace(String),
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInjected => {
                f.write_str("it has a sidecar already (annotation sidecar.istio.io/status)")
            }
            Self::NotWanted => f.write_str("sidecar.istio.io/inject is \"false\""),
            Self::HostNetwork => {
                f.write_str("hostNetwork is true: the traffic of its node is not to be redirected")
            }
            Self::Windows => f.write_str("it is for Windows"),
            Self::SystemNamespace(namespace) => {
                write!(f, "namespace {namespace} belongs to Kubernetes")
            }
        }
    }
}

/// Namespaces whose pods never have a sidecar.
///
/// Source: Istio `IgnoredNamespaces`.
const SYSTEM_NAMESPACES: [&str; 4] = [
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

const INJECT: &str = "sidecar.istio.io/inject";

/// The annotation that says that a pod has a sidecar.
pub(crate) const STATUS: &str = "sidecar.istio.io/status";

/// Why a pod of this namespace is left alone. `None`: it gets a sidecar.
pub(crate) fn skipped(
    pod: &Pod<'_>,
    annotations: &Annotations<'_>,
    namespace: &str,
    report: &mut Report<'_>,
) -> Option<Skipped> {
    if pod.annotations.contains_key(STATUS) {
        return Some(Skipped::AlreadyInjected);
    }
    if pod.spec.get("hostNetwork").and_then(Node::as_bool) == Some(true) {
        return Some(Skipped::HostNetwork);
    }
    if SYSTEM_NAMESPACES.contains(&namespace) {
        return Some(Skipped::SystemNamespace(namespace.to_owned()));
    }
    if is_windows(pod) {
        return Some(Skipped::Windows);
    }
    (!is_wanted(pod, annotations, report)).then_some(Skipped::NotWanted)
}

/// The label counts before the annotation, which Istio has deprecated. Neither: it is wanted.
fn is_wanted(pod: &Pod<'_>, annotations: &Annotations<'_>, report: &mut Report<'_>) -> bool {
    let label = pod
        .labels
        .get(INJECT)
        .map(|(value, at)| (format!("metadata.labels[{INJECT}]"), *value, *at));
    let annotation = || {
        annotations
            .get(INJECT)
            .map(|said| (annotations::path(INJECT), said.value, said.at))
    };
    match label.or_else(annotation) {
        None | Some((_, "" | "true", _)) => true,
        Some((_, "false", _)) => false,
        // Istio goes by the default then, and leaves its author in the belief that it is as written.
        Some((path, other, at)) => {
            let message = format!("`{other}` is not possible: it is `true` or `false`");
            report.error(at, &path, "invalid_annotation", message);
            true
        }
    }
}

fn is_windows(pod: &Pod<'_>) -> bool {
    let os = [&["os", "name"][..], &["nodeSelector", "kubernetes.io/os"]];
    os.into_iter()
        .any(|path| pod.spec.follow(path).and_then(Node::as_str) == Some("windows"))
}
