//! `/clusters`: where requests can go, and how they fared.

use super::wants;
use crate::serve::Serving;
use dataplane::upstream::{Cluster, Upstream};
use serde_json::{Value, json};
use std::fmt::Write as _;
use telemetry::server::{PageRequest, PageResponse};
use traffic::Member;

pub(super) fn show(serving: &Serving, request: &PageRequest) -> PageResponse {
    let snapshot = serving.shared.snapshot();
    let mut clusters: Vec<_> = snapshot.clusters.values().collect();
    clusters.sort_by(|one, other| one.name.cmp(&other.name));
    if wants(request, "json") {
        let all: Vec<Value> = clusters
            .into_iter()
            .map(|cluster| as_json(cluster))
            .collect();
        return PageResponse::json(&json!({ "clusters": all }));
    }
    PageResponse::text(
        clusters
            .into_iter()
            .map(|cluster| as_text(cluster))
            .collect::<String>(),
    )
}

/// Envoy's form, so that what reads that can read this.
fn as_text(cluster: &Cluster) -> String {
    let mut text = String::new();
    for member in cluster.endpoints.members() {
        let mut line = |name: &str, value: u64| {
            let _ = writeln!(
                text,
                "{}::{}::{name}::{value}",
                cluster.name, member.value.address
            );
        };
        line("weight", u64::from(member.weight));
        line("rq_active", u64::from(member.state.active()));
        line("rq_total", member.state.total());
        line("rq_error", member.state.failed());
    }
    if text.is_empty() {
        text = format!("{}::no endpoint\n", cluster.name);
    }
    text
}

fn as_json(cluster: &Cluster) -> Value {
    let key = &cluster.definition.key;
    json!({
        "name": cluster.name,
        "host": &*key.host,
        "subset": key.subset.as_deref(),
        "port": key.port,
        "namespace": &*cluster.definition.namespace,
        "endpoints": cluster.endpoints.members().iter().map(endpoint_as_json).collect::<Vec<_>>(),
    })
}

fn endpoint_as_json(member: &Member<Upstream>) -> Value {
    json!({
        "address": member.value.address.to_string(),
        "weight": member.weight,
        "active": member.state.active(),
        "total": member.state.total(),
        "failed": member.state.failed(),
    })
}
