//! `/clusters`: where requests can go, and how they fared.

use super::wants;
use crate::serve::Serving;
use dataplane::upstream::{Cluster, Upstream};
use rules::Workload;
use serde_json::{Value, json};
use std::fmt::{Display, Write as _};
use telemetry::server::{PageRequest, PageResponse};
use traffic::Member;

pub(super) fn show(serving: &Serving, request: &PageRequest) -> PageResponse {
    let snapshot = serving.shared.snapshot();
    let of_table = snapshot.clusters.values().cloned();
    let mut clusters: Vec<_> = of_table
        .chain(serving.shared.on_demand_clusters())
        .collect();
    clusters.sort_by_cached_key(|cluster| (cluster.name.clone(), asked(cluster)));
    let clusters = clusters.iter();
    if wants(request, "json") {
        let all: Vec<Value> = clusters.map(|cluster| as_json(cluster)).collect();
        return PageResponse::json(&json!({ "clusters": all }));
    }
    PageResponse::text(clusters.map(|cluster| as_text(cluster)).collect::<String>())
}

/// The host that a cluster was made for when a client asked for it. Absent: the whole cluster.
fn asked(cluster: &Cluster) -> Option<String> {
    cluster.asked().map(ToString::to_string)
}

/// Envoy's form, so that what reads that can read this.
fn as_text(cluster: &Cluster) -> String {
    let mut text = String::new();
    // Its limits are those of the whole.
    if cluster.asked().is_some() {
        endpoints_as_text(cluster, &mut text);
        return text;
    }
    for (name, limit) in limits(cluster) {
        let limit = limit.unwrap_or(u32::MAX);
        let _ = writeln!(text, "{}::default_priority::{name}::{limit}", cluster.name);
    }
    for (name, value) in usage(cluster) {
        let _ = writeln!(text, "{}::{name}::{value}", cluster.name);
    }
    endpoints_as_text(cluster, &mut text);
    text
}

fn endpoints_as_text(cluster: &Cluster, text: &mut String) {
    for (index, member) in cluster.endpoints.members().iter().enumerate() {
        endpoint_as_text(cluster, index, member, text);
    }
    if cluster.endpoints.members().is_empty() {
        let what = match cluster.definition.on_demand {
            Some(_) => "what is asked for",
            None => "no endpoint",
        };
        let _ = writeln!(text, "{}::{what}", cluster.name);
    }
}

fn endpoint_as_text(cluster: &Cluster, index: usize, member: &Member<Upstream>, text: &mut String) {
    let mut line = |name: &str, value: &dyn Display| {
        let address = &member.value.address;
        let _ = match cluster.asked() {
            Some(host) => writeln!(text, "{}::{host}::{address}::{name}::{value}", cluster.name),
            None => writeln!(text, "{}::{address}::{name}::{value}", cluster.name),
        };
    };
    line("weight", &member.weight);
    line("priority", &member.place.priority);
    line("locality", &member.value.locality);
    line("tls", &member.value.speaks_tls());
    if let Some(workload) = &member.value.workload {
        let Workload {
            namespace, name, ..
        } = &**workload;
        line("workload", &format_args!("{namespace}/{name}"));
        line("service_account", &account(workload));
    }
    line("rq_active", &member.state.active());
    line("rq_total", &member.state.total());
    line("rq_error", &member.state.failed());
    line("health_flags", &health(member));
    line("in_rotation", &cluster.endpoints.in_rotation(index));
}

/// Empty: not known.
fn account(workload: &Workload) -> &str {
    workload.service_account.as_deref().unwrap_or_default()
}

/// Envoy's words.
fn health(member: &Member<Upstream>) -> &'static str {
    match (member.state.is_ejected(), member.state.is_unhealthy()) {
        (false, false) => "healthy",
        (true, false) => "/failed_outlier_check",
        (false, true) => "/failed_active_hc",
        (true, true) => "/failed_active_hc/failed_outlier_check",
    }
}

fn limits(cluster: &Cluster) -> [(&'static str, Option<u32>); 4] {
    let pool = &cluster.definition.pool;
    [
        ("max_connections", pool.max_connections),
        ("max_pending_requests", pool.max_pending_requests),
        ("max_requests", pool.max_requests),
        ("max_retries", pool.max_retries),
    ]
}

fn usage(cluster: &Cluster) -> [(&'static str, usize); 4] {
    let usage = cluster.usage();
    [
        ("cx_open", usage.connections),
        ("rq_pending", usage.pending),
        ("rq_active", usage.requests),
        ("rq_retry_active", usage.retries),
    ]
}

fn as_json(cluster: &Cluster) -> Value {
    let key = &cluster.definition.key;
    let members = cluster.endpoints.members().iter().enumerate();
    let endpoints = members.map(|(index, member)| endpoint_as_json(cluster, index, member));
    let limits: serde_json::Map<_, _> = limits(cluster)
        .into_iter()
        .map(|(name, limit)| (name.to_owned(), json!(limit)))
        .collect();
    let usage: serde_json::Map<_, _> = usage(cluster)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    json!({
        "name": &*cluster.name,
        "host": &*key.host,
        "subset": key.subset.as_deref(),
        "port": key.port,
        "asked": asked(cluster),
        "namespace": &*cluster.definition.namespace,
        "limits": limits,
        "usage": usage,
        "panicking": cluster.endpoints.is_panicking(),
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

fn endpoint_as_json(cluster: &Cluster, index: usize, member: &Member<Upstream>) -> Value {
    let workload = member.value.workload.as_deref();
    json!({
        "address": member.value.address.to_string(),
        "locality": &*member.value.locality,
        "tls": member.value.speaks_tls(),
        "workload": workload.map(|workload| json!({
            "namespace": &*workload.namespace,
            "name": &*workload.name,
            "service_account": workload.service_account.as_deref(),
            "in_mesh": workload.in_mesh,
        })),
        "priority": member.place.priority,
        "weight": member.weight,
        "active": member.state.active(),
        "total": member.state.total(),
        "failed": member.state.failed(),
        "ejected": member.state.is_ejected(),
        "ejections": member.state.ejections(),
        "unhealthy": member.state.is_unhealthy(),
        "in_rotation": cluster.endpoints.in_rotation(index),
    })
}
