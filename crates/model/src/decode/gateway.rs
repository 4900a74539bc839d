//! Gateway.

use super::tls::{PortSpeaks, server_tls};
use super::{Cursor, Fields};
use crate::{Bind, Gateway, GatewayHost, GatewayPort, HostPattern, Meta, PortProtocol, Server};
use std::collections::HashSet;
use std::sync::Arc;

pub(super) fn gateway(spec: &Cursor<'_>, meta: Meta) -> Option<Gateway> {
    spec.object(|fields| {
        let selector = fields.labels("selector");
        let listed = fields.required("servers").map(|servers| servers.items())?;
        if listed.is_empty() {
            fields.missing("servers", "at least one server is required".to_owned());
        }
        let servers: Vec<Server> = listed.iter().filter_map(server).collect();
        check_names(fields, &servers);
        Some(Gateway {
            meta,
            selector,
            servers,
        })
    })
}

fn check_names(fields: &Fields<'_>, servers: &[Server]) {
    let items = fields.items_by_place("servers");
    let mut names = HashSet::new();
    for server in servers {
        let name = &server.port.name;
        if !names.insert(name)
            && let Some(cursor) = items.get(&server.at)
        {
            let message =
                format!("port names must be unique in a Gateway: {name:?} is there twice");
            cursor.error("duplicate_name", message);
        }
    }
}

fn server(cursor: &Cursor<'_>) -> Option<Server> {
    cursor.object(|fields| {
        let bind = fields.maybe("bind", bind);
        let may_be_zero = matches!(bind, Some(Bind::Unix(_)));
        let port = fields
            .required("port")
            .and_then(|port| gateway_port(&port, may_be_zero));
        let hosts = hosts(fields);
        let speaks = match &port {
            Some(port) if port.protocol.is_http() => PortSpeaks::Http,
            Some(port) if !port.protocol.is_tls() => PortSpeaks::Bytes,
            _ => PortSpeaks::Tls,
        };
        if port.as_ref().is_some_and(|port| port.protocol.is_tls()) {
            warn_of_addresses(fields, &hosts);
        }
        let tls = fields.maybe("tls", |tls| server_tls(tls, speaks));
        if port.as_ref().is_some_and(|port| port.protocol.is_tls()) && !fields.has("tls") {
            fields.missing(
                "tls",
                "server must have TLS settings for HTTPS/TLS protocols".to_owned(),
            );
        }
        let (name, default_endpoint) = (fields.string("name"), fields.string("defaultEndpoint"));
        Some(Server {
            at: fields.at(),
            name,
            port: port?,
            bind,
            hosts,
            tls,
            default_endpoint,
        })
    })
}

fn warn_of_addresses(fields: &Fields<'_>, hosts: &[GatewayHost]) {
    let items = fields.items_by_place("hosts");
    for host in hosts.iter().filter(|host| host.host.ip().is_some()) {
        if let Some(cursor) = items.get(&host.at) {
            let message = format!(
                "{} is an IP address, which clients do not send as SNI",
                host.host
            );
            cursor
                .warning("ineffective", message)
                .help("clients that send no SNI are served by a server with host *");
        }
    }
}

fn gateway_port(cursor: &Cursor<'_>, may_be_zero: bool) -> Option<GatewayPort> {
    cursor.object(|fields| {
        let least = u16::from(!may_be_zero);
        let number = match fields.field("number") {
            Some(number) => number.u16_in(least..=u16::MAX),
            None if may_be_zero => Some(0),
            None => fields.required("number")?.port(),
        };
        let protocol = fields
            .required("protocol")
            .and_then(|protocol| protocol_name(&protocol));
        let name = fields.required("name").and_then(|name| name.dns_label());
        if let Some(target) = fields.field("targetPort") {
            target
                .error("removed_field", "targetPort has no meaning in a Gateway")
                .help(
                    "the gateway's Service, or the ports of its configuration, say where to listen",
                );
        }
        Some(GatewayPort {
            at: fields.at(),
            number: number?,
            protocol: protocol?,
            name: name?,
        })
    })
}

/// One of the names of protocols, in any case.
pub(super) fn protocol_name(cursor: &Cursor<'_>) -> Option<PortProtocol> {
    let text = cursor.str()?;
    let protocol = PortProtocol::parse(text);
    if protocol.is_none() {
        cursor
            .error("invalid_enum", format!("unknown protocol {text:?}"))
            .help(format!("one of {}", PortProtocol::NAMES.join(", ")));
    }
    protocol
}

/// An address, `unix:///path` or `unix://@abstract`.
pub(super) fn bind(cursor: &Cursor<'_>) -> Option<Bind> {
    let text = cursor.str()?;
    if text.is_empty() {
        return None;
    }
    if let Some(path) = text.strip_prefix("unix://") {
        return unix_path(cursor, path).map(Bind::Unix);
    }
    cursor.ip().map(Bind::Ip)
}

/// What follows `unix://`.
pub(super) fn unix_path(cursor: &Cursor<'_>, path: &str) -> Option<String> {
    // The system's limit of a socket's path, with its end.
    let fits = (2..108).contains(&path.len());
    if !fits || !path.starts_with(['/', '@']) || path.contains('\0') {
        cursor
            .error("invalid_value", "is no path of a Unix domain socket")
            .help("write unix:///absolute/path or unix://@abstract, shorter than 108 characters");
        return None;
    }
    Some(path.to_owned())
}

fn hosts(fields: &Fields<'_>) -> Vec<GatewayHost> {
    let Some(listed) = fields.required("hosts") else {
        return Vec::new();
    };
    let items = listed.items();
    if items.is_empty() {
        fields.missing("hosts", "at least one host is required".to_owned());
    }
    items.iter().filter_map(host).collect()
}

fn host(cursor: &Cursor<'_>) -> Option<GatewayHost> {
    let text = cursor.str()?;
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace_part(cursor, namespace)?, name),
        None => (None, text),
    };
    let host = HostPattern::try_from(name)
        .map_err(|error| drop(cursor.error("invalid_host", error.to_string())))
        .ok()?;
    if host.is_short() {
        cursor
            .error(
                "invalid_host",
                format!("short name {name:?} is not allowed in a Gateway"),
            )
            .help("write the fully qualified name, *.suffix or *");
        return None;
    }
    Some(GatewayHost {
        at: cursor.at(),
        namespace,
        host,
    })
}

/// The outer nothing: an error was reported. The inner one: any namespace.
fn namespace_part(cursor: &Cursor<'_>, text: &str) -> Option<Option<Arc<str>>> {
    match text {
        "*" => Some(None),
        "." => Some(Some(cursor.cx.namespace())),
        _ if crate::is_dns_label(text) => Some(Some(text.into())),
        _ => {
            cursor
                .error("invalid_host", format!("{text:?} is no namespace"))
                .help("write ./host, */host or namespace/host");
            None
        }
    }
}
