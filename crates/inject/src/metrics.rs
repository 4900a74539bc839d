//! Where Prometheus finds metrics: the agent's port, which has the application's among its own.

use crate::pod::Pod;
use crate::settings::Settings;
use crate::yaml::{Node, json, map, text};

/// The annotations, and what each is called in `ISTIO_PROMETHEUS_ANNOTATIONS`.
const ANNOTATIONS: [(&str, &str); 3] = [
    ("prometheus.io/scrape", "scrape"),
    ("prometheus.io/path", "path"),
    ("prometheus.io/port", "port"),
];

/// The agent's metrics.
const PATH: &str = "/stats/prometheus";

/// What becomes of a pod's annotations for Prometheus.
#[derive(Debug)]
pub(crate) struct Metrics {
    port: String,
    /// Where the application has metrics.
    pub(crate) application: Option<String>,
}

impl Metrics {
    /// Source: Istio `applyPrometheusMerge`. `None`: they stay as they are.
    pub(crate) fn of(pod: &Pod<'_>, settings: &Settings) -> Option<Self> {
        let port = settings
            .status_port
            .filter(|_| settings.merges_metrics)?
            .to_string();
        let said = ANNOTATIONS.map(|(name, key)| (key, value(pod, name)));
        let of = |wanted| {
            said.iter()
                .find(|(key, _)| *key == wanted)
                .and_then(|(_, value)| *value)
        };
        let is_off =
            of("scrape").is_some_and(|scrape| crate::annotations::truth(scrape) == Ok(false));
        // With the agent's port, the author has seen to it.
        if is_off || of("port") == Some(&port) {
            return None;
        }
        let is_said = said.iter().any(|(_, value)| value.is_some());
        let given = || {
            json(&map(said
                .iter()
                .map(|(key, value)| (*key, text(value.unwrap_or_default())))))
        };
        Some(Self {
            port,
            application: is_said.then(given),
        })
    }

    /// Has Prometheus ask the agent.
    pub(crate) fn apply(&self, annotations: &mut Node) {
        for (name, value) in ANNOTATIONS
            .map(|(name, _)| name)
            .into_iter()
            .zip(["true", PATH, &self.port])
        {
            spell(annotations, name);
            annotations.set(name, text(value));
        }
    }
}

/// Prometheus takes `prometheus-io/port` and others for the same as `prometheus.io/port`.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    one.chars().map(plain).eq(other.chars().map(plain))
}

fn value<'n>(pod: &Pod<'n>, name: &str) -> Option<&'n str> {
    let mut same = pod
        .annotations
        .iter()
        .filter(|(other, _)| is_same(name, other));
    same.next().map(|(_, (value, _))| *value)
}

/// Leaves no annotation of the same meaning but the one of this name.
fn spell(annotations: &mut Node, name: &str) {
    let others = annotations
        .entries()
        .iter()
        .map(|entry| &entry.key)
        .filter(|key| *key != name && is_same(key, name));
    let others: Vec<String> = others.cloned().collect();
    for other in others {
        if annotations.entry(name).is_none() {
            annotations.rename(&other, name);
        } else {
            annotations.remove(&other);
        }
    }
}
