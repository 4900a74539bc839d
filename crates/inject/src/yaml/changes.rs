//! Which parts of a tree are no longer what the text says.

use super::node::{Entry, Form, Mapping, Node, Value};
use std::collections::HashSet;

/// Whether anything in it was changed. What an alias stands for counts as its own.
pub(super) fn is_changed(node: &Node) -> bool {
    if node.origin.is_none() {
        return true;
    }
    match &node.value {
        Value::Scalar(_) => false,
        Value::Sequence(items) => items.iter().any(is_changed),
        Value::Mapping(mapping) => {
            !mapping.removed.is_empty() || mapping.entries.iter().any(is_entry_changed)
        }
    }
}

fn is_entry_changed(entry: &Entry) -> bool {
    entry.key_at.is_none() || entry.is_renamed || is_changed(&entry.value)
}

/// The anchors whose nodes are no longer what aliases for them meant.
pub(super) fn changed_anchors(root: &Node) -> HashSet<usize> {
    let mut anchors = HashSet::new();
    collect(root, &mut anchors);
    anchors
}

fn collect(node: &Node, anchors: &mut HashSet<usize>) {
    let Some(origin) = node
        .origin
        .as_ref()
        .filter(|origin| origin.form != Form::Alias)
    else {
        return;
    };
    if origin.anchor != 0 && is_changed(node) {
        anchors.insert(origin.anchor);
    }
    match &node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter().for_each(|item| collect(item, anchors)),
        Value::Mapping(mapping) => collect_in_mapping(mapping, anchors),
    }
}

fn collect_in_mapping(mapping: &Mapping, anchors: &mut HashSet<usize>) {
    for entry in mapping.written() {
        let replaced = entry
            .was
            .as_ref()
            .filter(|was| was.form != Form::Alias && entry.value.origin.is_none());
        anchors.extend(replaced.map(|was| was.anchor).filter(|anchor| *anchor != 0));
        collect(&entry.value, anchors);
    }
    for entry in &mapping.removed {
        all(&entry.value, anchors);
    }
    for merged in &mapping.merges {
        collect(merged, anchors);
    }
}

/// Every anchor of what is taken out.
fn all(node: &Node, anchors: &mut HashSet<usize>) {
    let own = node
        .origin
        .as_ref()
        .filter(|origin| origin.form != Form::Alias);
    anchors.extend(
        own.map(|origin| origin.anchor)
            .filter(|anchor| *anchor != 0),
    );
    node.items().iter().for_each(|item| all(item, anchors));
    node.entries()
        .iter()
        .for_each(|entry| all(&entry.value, anchors));
}
