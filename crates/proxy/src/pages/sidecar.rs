//! What a sidecar's workload reaches, and how it is reached, for the configuration dump.

use super::dump::{of_hosts, of_origin};
use super::forward_proxy::{of_ports, of_unknown};
use super::servers::of_connections;
use rules::{Inbound, InboundPort, OutboundListener, OutboundTo};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A listener for what the workload sends.
pub(super) fn of_outbound(listener: &OutboundListener) -> Value {
    json!({
        "to": match &listener.to {
            OutboundTo::OriginalDestination => "original destination".to_owned(),
            OutboundTo::Port(port) => format!("port {port}"),
            OutboundTo::Service(service) => service.to_string(),
        },
        "unknown": of_unknown(&listener.outbound),
        "ports": of_ports(&listener.outbound),
    })
}

/// The listener for what the workload receives.
pub(super) fn of_inbound(inbound: &Inbound) -> Value {
    let ports: BTreeMap<_, _> = inbound.ports.iter().collect();
    let ports = ports
        .iter()
        .map(|(number, port)| of_port(Some(**number), port));
    json!({
        "ports": ports.collect::<Vec<_>>(),
        "otherwise": of_port(None, &inbound.otherwise),
    })
}

fn of_port(number: Option<u16>, port: &InboundPort) -> Value {
    json!({
        "port": number,
        "protocol": port.protocol.as_str(),
        "origin": of_origin(&port.origin),
        "virtual_hosts": of_hosts(&port.virtual_hosts),
        "tcp_routes": of_connections(&port.routes),
    })
}
