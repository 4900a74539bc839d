//! `/config_dump`: what is in force, down to each rule and where it stands.
//!
//! Objects are told by name and place and never by content, so that no Secret can be among it.

use super::forward_proxy::of_forward_proxy;
use super::servers::{of_connections, of_servers};
use super::sidecar::{of_inbound, of_outbound};
use crate::explain::policy_as_json;
use crate::serve::Serving;
use config::Published;
use model::{Origin, Position, Resource};
use rules::{
    Action, Cluster, ClusterTarget, ForwardAction, Listener, Route, Serves, Table, VirtualHost,
    VirtualHosts,
};
use serde_json::{Value, json};
use telemetry::server::{PageRequest, PageResponse};

pub(super) fn show(serving: &Serving, _: &PageRequest) -> PageResponse {
    let dump = serving
        .published()
        .map_or_else(|| json!({ "generation": 0 }), |published| dump(&published));
    PageResponse::json(&dump)
}

fn dump(published: &Published) -> Value {
    let table = &published.table;
    json!({
        "generation": table.generation,
        "objects": published.resources.iter().map(|object| of_object(&object)).collect::<Vec<_>>(),
        "listeners": of_listeners(table),
        "clusters": of_clusters(table),
    })
}

fn of_object(object: &Resource) -> Value {
    let meta = object.meta();
    json!({
        "resource": meta.reference.to_string(),
        "file": meta.position.as_ref().map(|position| &*position.file),
        "line": meta.position.as_ref().map(|position| position.line),
    })
}

fn of_listeners(table: &Table) -> Vec<Value> {
    let mut listeners: Vec<&Listener> = table.listeners.values().map(AsRef::as_ref).collect();
    listeners.sort_by_key(|listener| listener.key);
    listeners.into_iter().map(of_listener).collect()
}

fn of_listener(listener: &Listener) -> Value {
    let (serves, hosts, servers, routes) = match &listener.serves {
        Serves::Http(hosts) => ("http", of_hosts(hosts), Vec::new(), Vec::new()),
        Serves::Tls(servers) => ("tls", Vec::new(), of_servers(servers), Vec::new()),
        Serves::Tcp(routes) => ("tcp", Vec::new(), Vec::new(), of_connections(routes)),
        Serves::ForwardProxy(_) => ("forward_proxy", Vec::new(), Vec::new(), Vec::new()),
        Serves::Outbound(_) => ("outbound", Vec::new(), Vec::new(), Vec::new()),
        Serves::Inbound(_) => ("inbound", Vec::new(), Vec::new(), Vec::new()),
    };
    json!({
        "bind": listener.key.bind.map(|bind| bind.to_string()),
        "port": listener.key.port,
        "serves": serves,
        "origins": listener.origins.iter().map(|origin| of_origin(origin)).collect::<Vec<_>>(),
        "virtual_hosts": hosts,
        "tls_servers": servers,
        "tcp_routes": routes,
        "forward_proxy": match &listener.serves {
            Serves::ForwardProxy(proxy) => Some(of_forward_proxy(proxy)),
            _ => None,
        },
        "sidecar": match &listener.serves {
            Serves::Outbound(outbound) => Some(of_outbound(outbound)),
            Serves::Inbound(inbound) => Some(of_inbound(inbound)),
            _ => None,
        },
    })
}

/// Virtual hosts by domain.
pub(super) fn of_hosts(hosts: &VirtualHosts) -> Vec<Value> {
    let mut hosts: Vec<&VirtualHost> = hosts.iter().map(AsRef::as_ref).collect();
    hosts.sort_by(|one, other| one.domain.cmp(&other.domain));
    hosts.into_iter().map(of_host).collect()
}

fn of_host(host: &VirtualHost) -> Value {
    json!({
        "name": &*host.name,
        "domain": &*host.domain,
        "https_redirect": host.https_redirect.is_some(),
        "routes": host.routes.routes().iter().map(|route| of_route(route)).collect::<Vec<_>>(),
    })
}

fn of_route(route: &Route) -> Value {
    let (action, destinations) = match &route.action {
        Action::Forward(action) => ("forward", of_destinations(action)),
        Action::Redirect(_) => ("redirect", Vec::new()),
        Action::DirectResponse(_) => ("direct_response", Vec::new()),
    };
    json!({
        "name": &*route.name,
        "origin": of_origin(&route.origin),
        "action": action,
        "destinations": destinations,
    })
}

fn of_destinations(action: &ForwardAction) -> Vec<Value> {
    let destinations = action.destinations.iter();
    destinations
        .map(|one| of_destination(&one.cluster, one.weight, &one.origin))
        .collect()
}

/// Where a destination leads.
pub(super) fn of_destination(target: &ClusterTarget, weight: u32, origin: &Origin) -> Value {
    let (cluster, missing) = match target {
        ClusterTarget::Cluster(cluster) => (cluster.key.to_string(), None),
        ClusterTarget::Missing(missing) => (missing.key.to_string(), Some(&*missing.reason)),
    };
    json!({
        "cluster": cluster,
        "missing": missing,
        "weight": weight,
        "origin": of_origin(origin),
    })
}

fn of_clusters(table: &Table) -> Vec<Value> {
    let mut clusters: Vec<&Cluster> = table.clusters.values().map(AsRef::as_ref).collect();
    clusters.sort_by(|one, other| one.key.cmp(&other.key));
    let all = clusters.into_iter().map(|cluster| {
        json!({
            "name": cluster.key.to_string(),
            "host": &*cluster.key.host,
            "subset": cluster.key.subset.as_deref(),
            "port": cluster.key.port,
            "protocol": format!("{:?}", cluster.protocol),
            "load_balancing": format!("{:?}", cluster.load_balancing),
            "policy": policy_as_json(&cluster.policy_in_words()),
            "origin": cluster.origin.as_deref().map(of_origin),
        })
    });
    all.collect()
}

/// Where something stands.
pub(super) fn of_origin(origin: &Origin) -> Value {
    let position = origin.position.as_ref();
    json!({
        "resource": origin.resource.to_string(),
        "path": origin.path,
        "file": position.map(|position| &*position.file),
        "line": position.map(|Position { line, .. }| *line),
    })
}
