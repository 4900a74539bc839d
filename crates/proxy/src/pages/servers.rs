//! `/config_dump`: servers of TLS ports, and the routes of connections.
//!
//! Certificates are told by the name that refers to them, never by content.

use super::dump::{of_destination, of_hosts, of_origin};
use super::forward_proxy::of_forward_proxy;
use rules::{
    ClientVerification, HostMap, TcpRoute, TcpRoutes, TlsAction, TlsServer, TlsTermination,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Servers with all the domains that each has, in the order of its first one.
pub(super) fn of_servers(servers: &HostMap<TlsServer>) -> Vec<Value> {
    let mut by_server: BTreeMap<*const TlsServer, (Vec<String>, &TlsServer)> = BTreeMap::new();
    for (domain, server) in servers.entries() {
        let (domains, _) = by_server
            .entry(Arc::as_ptr(server))
            .or_insert_with(|| (Vec::new(), server));
        domains.push(domain.into_owned());
    }
    let mut servers: Vec<_> = by_server.into_values().collect();
    servers.iter_mut().for_each(|(domains, _)| domains.sort());
    servers.sort_by(|(one, _), (other, _)| one.cmp(other));
    servers
        .into_iter()
        .map(|(domains, server)| of_server(&domains, server))
        .collect()
}

fn of_server(domains: &[String], server: &TlsServer) -> Value {
    let (hosts, routes) = match &server.action {
        TlsAction::Https { virtual_hosts, .. } => (of_hosts(virtual_hosts), Vec::new()),
        TlsAction::Tcp { routes, .. } | TlsAction::Passthrough(routes) => {
            (Vec::new(), of_connections(routes))
        }
        // Its domains spell the clusters already.
        TlsAction::AutoPassthrough(_)
        | TlsAction::ForwardProxy { .. }
        | TlsAction::Mesh(_)
        | TlsAction::Workload(_) => (Vec::new(), Vec::new()),
    };
    json!({
        "name": &*server.name,
        "mode": server.mode().as_str(),
        "sni": domains,
        "origin": of_origin(&server.origin),
        "tls": server.termination().map(|tls| of_termination(tls)),
        "virtual_hosts": hosts,
        "tcp_routes": routes,
        "forward_proxy": match &server.action {
            TlsAction::ForwardProxy { proxy, .. } => Some(of_forward_proxy(proxy)),
            _ => None,
        },
    })
}

fn of_termination(tls: &TlsTermination) -> Value {
    json!({
        "certificates": tls.certificates.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "client": of_client(&tls.client),
        "min_version": format!("{:?}", tls.min_version),
        "max_version": format!("{:?}", tls.max_version),
        "cipher_suites": tls.cipher_suites,
        "alpn": tls.alpn,
    })
}

fn of_client(client: &ClientVerification) -> Value {
    json!({
        "certificate": format!("{:?}", client.mode).to_lowercase(),
        "authorities": client.authorities.as_ref().map(ToString::to_string),
        "subject_alt_names": client.subject_alt_names,
        "spki": client.spki,
        "hashes": client.hashes,
    })
}

/// Routes of connections, in order.
pub(super) fn of_connections(routes: &TcpRoutes) -> Vec<Value> {
    routes.0.iter().map(|route| of_connection(route)).collect()
}

fn of_connection(route: &TcpRoute) -> Value {
    let matches = route.matches.iter().map(|one| {
        json!({
            "destination_subnets":
                one.destination_subnets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "source_subnet": one.source_subnet.map(|net| net.to_string()),
        })
    });
    let destinations = route
        .destinations
        .iter()
        .map(|one| of_destination(&one.cluster, one.weight, &one.origin));
    json!({
        "origin": of_origin(&route.origin),
        "matches": matches.collect::<Vec<_>>(),
        "destinations": destinations.collect::<Vec<_>>(),
    })
}
