//! What a pod tells its containers about itself: variables and files of Kubernetes' downward API.
//!
//! The names are those that Istio's injection uses.

use anyhow::Context;
use model::Labels;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

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

/// Where the application is: at the pod's address, or on loopback where the pod says nothing, or says so.
pub(crate) fn application() -> anyhow::Result<IpAddr> {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    if variable("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION").as_deref() == Some("true") {
        return Ok(loopback);
    }
    let told = ["INSTANCE_IP", "POD_IP"].into_iter();
    let Some((name, address)) = told
        .map(|name| (name, variable(name)))
        .find_map(|(name, value)| Some((name, value?)))
    else {
        return Ok(loopback);
    };
    address
        .parse()
        .with_context(|| format!("{name}: `{address}` is no IP address"))
}

/// How the application is asked whether it is well, as JSON.
pub(crate) fn probers() -> Option<String> {
    variable("ISTIO_KUBE_APP_PROBERS")
}

/// Where the application has metrics, as JSON.
pub(crate) fn prometheus_annotations() -> Option<String> {
    variable("ISTIO_PROMETHEUS_ANNOTATIONS")
}

/// What of Istio's ProxyConfig concerns a sidecar's own process. Absent: it says nothing about it.
///
/// Source: Istio `ProxyConfig`; the other fields are for Envoy, or for whoever injects.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ProxyConfig {
    /// Threads that serve. 0: one a core.
    pub(crate) concurrency: Option<usize>,
    /// The port of metrics and probes. 0: nobody asks there.
    pub(crate) status_port: Option<u16>,
    /// How long the sidecar goes on for sure when its pod ends.
    #[serde(deserialize_with = "proxy::bootstrap::duration_or_none")]
    pub(crate) termination_drain_duration: Option<Duration>,
}

/// What the pod says in `PROXY_CONFIG`.
///
/// # Errors
/// When it is no ProxyConfig.
pub(crate) fn proxy_config() -> Result<ProxyConfig, serde_json::Error> {
    match variable("PROXY_CONFIG") {
        Some(json) => serde_json::from_str(&json),
        None => Ok(ProxyConfig::default()),
    }
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
