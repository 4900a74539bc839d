//! A container that the author of a pod declares, completed by what the injector has for it.
//!
//! Source: Kubernetes' strategic merge, by which Istio's injector lays the one over the other.

use crate::yaml::Node;

/// The image that stands for the injector's.
const AUTO: &str = "auto";

/// Lists that are merged, and the key that tells their items apart.
const MERGED: [(&str, &str); 3] = [
    ("env", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
];

/// Objects that are one thing, where parts of two would contradict each other.
const WHOLE: [&str; 5] = [
    "livenessProbe",
    "postStart",
    "preStop",
    "readinessProbe",
    "startupProbe",
];

/// Adds to a declared container what it does not say itself.
pub(crate) fn overlay(declared: &mut Node, template: &Node) {
    if declared.get("image").and_then(Node::as_str) == Some(AUTO)
        && let Some(image) = template.get("image")
    {
        declared.set("image", image.clone());
    }
    merge(declared, template);
}

fn merge(declared: &mut Node, template: &Node) {
    for entry in template.entries() {
        let key = entry.key.as_str();
        let Some(own) = declared.get_mut(key) else {
            declared.set(key, entry.value.clone());
            continue;
        };
        let by = MERGED.iter().find(|(list, _)| *list == key);
        match by {
            Some((_, by)) if own.is_sequence() => add_missing(own, &entry.value, by),
            Some(_) => {}
            None if own.is_mapping() && !WHOLE.contains(&key) => merge(own, &entry.value),
            None => {}
        }
    }
}

fn add_missing(own: &mut Node, template: &Node, by: &str) {
    for item in template.items() {
        let is_same = |other: &Node| match (other.get(by), item.get(by)) {
            (Some(one), Some(other)) => one.means(other),
            _ => false,
        };
        if !own.items().iter().any(is_same) {
            own.push(item.clone());
        }
    }
}
