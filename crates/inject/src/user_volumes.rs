//! Volumes that annotations give the sidecar.

use crate::annotations::Annotations;
use crate::finding::Report;
use crate::yaml::{Node, Unreadable, map, read};
use model::Limits;

/// The volumes of `sidecar.istio.io/userVolume`.
pub(crate) fn volumes(annotations: &Annotations<'_>, report: &mut Report<'_>) -> Vec<Node> {
    annotations
        .read("sidecar.istio.io/userVolume", report, |text| {
            named(text, None)
        })
        .unwrap_or_default()
}

/// Where the sidecar has them, by `sidecar.istio.io/userVolumeMount`.
pub(crate) fn mounts(annotations: &Annotations<'_>, report: &mut Report<'_>) -> Vec<Node> {
    let read = |text: &str| named(text, Some("mountPath"));
    annotations
        .read("sidecar.istio.io/userVolumeMount", report, read)
        .unwrap_or_default()
}

/// JSON with names: an object of objects, as Istio's injector reads it, or a list of objects with a `name`, as its
/// documentation has it.
fn named(text: &str, required: Option<&str>) -> Result<Vec<Node>, String> {
    let limits = Limits {
        nesting: 16,
        nodes: 10_000,
        ..Limits::default()
    };
    let root = match read(text, &limits) {
        Ok(read) => read.root.without_origin(),
        Err(Unreadable { message, .. }) => return Err(format!("is not JSON: {message}")),
    };
    let expected = "it is JSON like {\"NAME\": {…}} or [{\"name\": \"NAME\", …}]";
    let nodes: Vec<Node> = if root.is_sequence() {
        root.items().to_vec()
    } else if root.is_mapping() {
        root.entries()
            .iter()
            .map(|entry| with_name(&entry.key, &entry.value))
            .collect()
    } else {
        return Err(expected.to_owned());
    };
    let is_named = |node: &Node| node.get("name").and_then(Node::as_str).is_some();
    if !nodes.iter().all(is_named) {
        return Err(expected.to_owned());
    }
    match required.filter(|key| !nodes.iter().all(|node| node.get(key).is_some())) {
        Some(key) => Err(format!("each one needs `{key}`")),
        None => Ok(nodes),
    }
}

/// The object with its name in it, or nothing like it when it is no object.
fn with_name(name: &str, node: &Node) -> Node {
    if !node.is_mapping() {
        return node.clone();
    }
    let rest = node
        .entries()
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.clone()));
    map(std::iter::once(("name".to_owned(), name.into())).chain(rest))
}
