//! What was noticed while compiling, put together over all ports and hosts.

use super::HostKey;
use super::diagnostics::warning;
use super::part::{Layer, Part, PartKey};
use super::virtual_hosts::CompiledHost;
use ahash::{HashMap, HashMapExt, HashSet};
use model::{Diagnostic, ObjectKey};
use std::sync::Arc;

/// What was noticed of each VirtualService, on all its ports together.
pub(super) fn of_parts<'p>(parts: &'p HashMap<PartKey, Arc<Part>>) -> Vec<Diagnostic> {
    // Of most there is nothing to say, and there may be ten thousand.
    let identity = |key: &'p PartKey| (&key.virtual_service, key.layer);
    let told = parts.iter().filter(|(_, part)| part.is_noteworthy());
    let told: HashSet<_> = told.map(|(key, _)| identity(key)).collect();
    let mut by_service: HashMap<(&ObjectKey, Layer), Vec<&Part>> = HashMap::new();
    if !told.is_empty() {
        for (key, part) in parts {
            if told.contains(&identity(key)) {
                by_service.entry(identity(key)).or_default().push(part);
            }
        }
    }
    let mut all = Vec::new();
    for ((_, layer), parts) in &by_service {
        all.extend(
            parts
                .iter()
                .flat_map(|part| part.diagnostics.iter().cloned()),
        );
        all.extend(never_reached(parts));
        all.extend(no_effect(parts, *layer));
    }
    all.sort_by(|one, other| {
        (&one.resource, &one.position, &one.path).cmp(&(
            &other.resource,
            &other.position,
            &other.path,
        ))
    });
    all
}

/// Rules that are reached on no port.
fn never_reached(parts: &[&Part]) -> Vec<Diagnostic> {
    let shadowed = parts.iter().flat_map(|part| &part.shadowed);
    if parts.len() == 1 {
        return shadowed.cloned().collect();
    }
    let reached: HashSet<_> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            let hidden: HashSet<_> = part.shadowed.iter().map(|one| one.path.as_str()).collect();
            let of_requests = part.routes.iter().map(|route| route.origin.path.as_str());
            let of_connections = part.connections.iter().map(|one| one.path.as_str());
            of_requests
                .chain(of_connections)
                .filter(move |path| !hidden.contains(path))
        })
        // A match that is reached makes its rule be reached.
        .flat_map(|path| [Some(path), path.split_once(".match[").map(|(rule, _)| rule)])
        .flatten()
        .collect();
    let mut told = HashSet::default();
    let never = shadowed.filter(|one| !reached.contains(one.path.as_str()));
    never
        .filter(|one| told.insert((&one.resource, &one.path)))
        .cloned()
        .collect()
}

/// A VirtualService none of whose rules applies anywhere, though nothing is wrong with any of them.
fn no_effect(parts: &[&Part], layer: Layer) -> Option<Diagnostic> {
    let nothing = |part: &&Part| part.is_empty() && part.diagnostics.is_empty();
    let path = match layer {
        Layer::Http => "spec.http",
        Layer::Tls => "spec.tls",
        Layer::Tcp => "spec.tcp",
    };
    let service = &parts.first()?.virtual_service;
    parts.iter().all(nothing).then(|| {
        let message =
            "takes no effect: its matches ask for other ports, gateways or sources than there are";
        warning(
            &service.meta,
            "no_effect",
            path,
            model::At::default(),
            message,
        )
    })
}

/// Rules that rules of other VirtualServices hide, each once.
pub(super) fn of_hosts(hosts: &HashMap<HostKey, CompiledHost>) -> Vec<Diagnostic> {
    let mut hosts: Vec<_> = hosts
        .iter()
        .filter(|(_, host)| !host.diagnostics.is_empty())
        .collect();
    hosts.sort_by_key(|(key, _)| *key);
    let mut told = HashSet::default();
    let all = hosts
        .into_iter()
        .flat_map(|(_, host)| host.diagnostics.iter());
    all.filter(|one| told.insert((&one.resource, &one.path)))
        .cloned()
        .collect()
}
