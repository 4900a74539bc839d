//! What clients of a forward proxy reach, for the configuration dump.

use super::dump::{of_hosts, of_origin};
use super::servers::of_connections;
use rules::{Caller, ForwardProxy, Outbound, OutboundPort, OutboundService, UnknownPolicy};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A forward proxy with its clients, those that are not told apart last.
pub(super) fn of_forward_proxy(proxy: &ForwardProxy) -> Value {
    let callers = proxy.callers.iter().chain(&proxy.others);
    json!({
        "mode": proxy.mode.as_str(),
        "callers": callers.map(|caller| of_caller(caller)).collect::<Vec<_>>(),
    })
}

fn of_caller(caller: &Caller) -> Value {
    json!({
        "namespace": &*caller.namespace,
        "networks": caller.networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "principals": caller.principals,
        "unknown": of_unknown(&caller.outbound),
        "ports": of_ports(&caller.outbound),
    })
}

/// What becomes of what is not in the registry.
pub(super) fn of_unknown(outbound: &Outbound) -> &'static str {
    match outbound.otherwise.policy {
        UnknownPolicy::Refused => "refused",
        UnknownPolicy::Passed => "passed",
        UnknownPolicy::Noted => "noted",
    }
}

/// The registry, port by port.
pub(super) fn of_ports(outbound: &Outbound) -> Vec<Value> {
    let ports: BTreeMap<_, _> = outbound.ports.iter().collect();
    ports
        .into_iter()
        .map(|(number, port)| of_port(*number, port))
        .collect()
}

fn of_port(number: u16, port: &OutboundPort) -> Value {
    let services: BTreeMap<_, _> = port.services.entries().collect();
    let addresses: BTreeMap<_, _> = port.addresses.iter().collect();
    let addresses = addresses.into_iter();
    json!({
        "port": number,
        "services": services.iter().map(|(name, one)| of_service(name, one)).collect::<Vec<_>>(),
        "addresses": addresses
            .map(|(network, one)| json!({ "network": network.to_string(), "host": &*one.host }))
            .collect::<Vec<_>>(),
        "virtual_hosts": of_hosts(&port.virtual_hosts),
    })
}

fn of_service(name: &str, service: &OutboundService) -> Value {
    json!({
        "name": name,
        "host": &*service.host,
        "protocol": service.protocol.as_str(),
        "origin": of_origin(&service.origin),
        "tcp_routes": of_connections(&service.routes),
    })
}
