//! Sidecar.

use super::gateway::{bind, protocol_name, unix_path};
use super::service_entry::workload_selector;
use super::tls::{PortSpeaks, server_tls};
use super::traffic_policy::connection_pool;
use super::{Cursor, Fields};
use crate::{
    Bind, CaptureMode, DefaultEndpoint, Destination, EgressHost, EgressNamespace, HostPattern,
    IstioEgressListener, IstioIngressListener, Meta, OutboundMode, OutboundTrafficPolicy,
    PortProtocol, Sidecar, SidecarPort,
};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

const CAPTURE_MODES: &[(&str, CaptureMode)] = &[
    ("DEFAULT", CaptureMode::Default),
    ("IPTABLES", CaptureMode::Iptables),
    ("NONE", CaptureMode::None),
];

const OUTBOUND_MODES: &[(&str, OutboundMode)] = &[
    ("REGISTRY_ONLY", OutboundMode::RegistryOnly),
    ("ALLOW_ANY", OutboundMode::AllowAny),
];

pub(super) fn sidecar(spec: &Cursor<'_>, meta: Meta) -> Option<Sidecar> {
    spec.object(|fields| {
        let egress = fields.each("egress", egress);
        let ingress = fields.each("ingress", ingress);
        check_egress(fields, &egress);
        check_ingress(fields, &ingress);
        Some(Sidecar {
            meta,
            workload_selector: fields.maybe("workloadSelector", workload_selector),
            egress,
            ingress,
            inbound_connection_pool: fields.maybe("inboundConnectionPool", connection_pool),
            outbound_traffic_policy: fields.maybe("outboundTrafficPolicy", outbound_policy),
        })
    })
}

fn check_egress(fields: &Fields<'_>, listeners: &[IstioEgressListener]) {
    let items = fields.items("egress");
    let has_port = |item: &&Cursor<'_>| item.node.get("port").is_some();
    for item in items.iter().rev().skip(1).filter(|item| !has_port(item)) {
        let message = "an egress listener without port must be the last";
        item.error("invalid_value", message);
    }
    let places = fields.items_by_place("egress");
    let mut ports = HashSet::new();
    for listener in listeners {
        let number = listener.port.as_ref().map_or(0, |port| port.number);
        if number != 0 && !ports.insert(number) {
            report_port(places.get(&listener.at), number);
        }
    }
}

fn check_ingress(fields: &Fields<'_>, listeners: &[IstioIngressListener]) {
    let places = fields.items_by_place("ingress");
    let mut ports = HashSet::new();
    for listener in listeners {
        if !ports.insert(listener.port.number) {
            report_port(places.get(&listener.at), listener.port.number);
        }
    }
}

fn report_port(listener: Option<&Cursor<'_>>, number: u16) {
    if let Some(listener) = listener {
        listener.error("duplicate_name", format!("port {number} is there twice"));
    }
}

fn egress(cursor: &Cursor<'_>) -> Option<IstioEgressListener> {
    cursor.object(|fields| {
        let bind = fields.maybe("bind", bind);
        let unix = matches!(bind, Some(Bind::Unix(_)));
        let port = fields.maybe("port", |port| sidecar_port(port, unix));
        let capture_mode = capture_mode(fields, unix);
        if bind.is_some() && !fields.has("port") && !unix {
            fields.missing(
                "port",
                "an egress listener with bind must have a port".to_owned(),
            );
        }
        let items = fields
            .required("hosts")
            .map(|hosts| hosts.items())
            .unwrap_or_default();
        if items.is_empty() && fields.field("hosts").is_some() {
            fields.missing(
                "hosts",
                "an egress listener must have at least one host".to_owned(),
            );
        }
        let hosts = items.iter().filter_map(egress_host).collect();
        Some(IstioEgressListener {
            at: fields.at(),
            port,
            bind,
            capture_mode,
            hosts,
        })
    })
}

fn capture_mode(fields: &Fields<'_>, unix: bool) -> CaptureMode {
    let Some(cursor) = fields.field("captureMode") else {
        return CaptureMode::Default;
    };
    let mode = cursor.one_of(CAPTURE_MODES).unwrap_or_default();
    if unix && mode == CaptureMode::Iptables {
        cursor.error(
            "exclusive_fields",
            "captureMode IPTABLES cannot be used with a Unix domain socket",
        );
    }
    mode
}

fn sidecar_port(cursor: &Cursor<'_>, may_be_zero: bool) -> Option<SidecarPort> {
    cursor.object(|fields| {
        let least = u16::from(!may_be_zero);
        let number = match fields.field("number") {
            None if may_be_zero => Some(0),
            None => fields.required("number").and(None),
            Some(number) => number.u16_in(least..=u16::MAX),
        };
        let protocol = fields
            .field("protocol")
            .map(|protocol| protocol_name(&protocol));
        let name = fields.string("name").unwrap_or_default();
        let protocol = protocol.map_or(Some(PortProtocol::Unspecified), |protocol| protocol)?;
        Some(SidecarPort {
            at: fields.at(),
            number: number?,
            protocol,
            name,
        })
    })
}

/// `namespace/host`; a `~` before either takes away.
fn egress_host(cursor: &Cursor<'_>) -> Option<EgressHost> {
    let text = cursor.str()?;
    let Some((namespace, host)) = text.split_once('/') else {
        cursor
            .error("invalid_host", format!("{text:?} has no namespace"))
            .help("write namespace/host; ./host for the own namespace, */host for all");
        return None;
    };
    let (exclude, named) = match namespace.strip_prefix('~') {
        Some("") => (false, "~"),
        Some(named) => (true, named),
        None => (false, namespace),
    };
    let namespace = match named {
        "*" => EgressNamespace::Any,
        "~" => EgressNamespace::None,
        "." => EgressNamespace::Named(cursor.cx.namespace()),
        _ if crate::is_dns_label(named) => EgressNamespace::Named(named.into()),
        _ => {
            cursor.error("invalid_host", format!("{named:?} is no namespace"));
            return None;
        }
    };
    let host = HostPattern::try_from(host)
        .map_err(|error| drop(cursor.error("invalid_host", error.to_string())))
        .ok()?;
    Some(EgressHost {
        at: cursor.at(),
        exclude,
        namespace,
        host,
    })
}

fn ingress(cursor: &Cursor<'_>) -> Option<IstioIngressListener> {
    cursor.object(|fields| {
        let port = fields
            .required("port")
            .and_then(|port| sidecar_port(&port, false));
        let bind = fields.maybe("bind", bind);
        if matches!(bind, Some(Bind::Unix(_)))
            && let Some(cursor) = fields.field("bind")
        {
            cursor.error(
                "invalid_value",
                "an ingress listener cannot be bound to a Unix domain socket",
            );
        }
        let speaks = match &port {
            Some(port) if port.protocol.is_http() => PortSpeaks::Http,
            Some(port) if !port.protocol.is_tls() => PortSpeaks::Bytes,
            _ => PortSpeaks::Tls,
        };
        let capture_mode = capture_mode(fields, false);
        let default_endpoint = fields.maybe("defaultEndpoint", default_endpoint);
        let tls = fields.maybe("tls", |tls| server_tls(tls, speaks));
        let connection_pool = fields.maybe("connectionPool", connection_pool);
        let at = fields.at();
        Some(IstioIngressListener {
            at,
            port: port?,
            bind,
            capture_mode,
            default_endpoint,
            tls,
            connection_pool,
        })
    })
}

fn default_endpoint(cursor: &Cursor<'_>) -> Option<DefaultEndpoint> {
    let text = cursor.str()?;
    if text.is_empty() {
        return None;
    }
    if let Some(path) = text.strip_prefix("unix://") {
        return unix_path(cursor, path).map(DefaultEndpoint::Unix);
    }
    let address = text
        .parse::<SocketAddr>()
        .ok()
        .filter(|address| address.port() > 0);
    let endpoint = address.and_then(|address| {
        let (ip, port) = (address.ip(), address.port());
        let v6 = ip.is_ipv6();
        match ip {
            _ if ip.is_unspecified() => Some(DefaultEndpoint::Instance { v6, port }),
            IpAddr::V4(v4) if v4.octets() == [127, 0, 0, 1] => {
                Some(DefaultEndpoint::Loopback { v6, port })
            }
            IpAddr::V6(_) if ip.is_loopback() => Some(DefaultEndpoint::Loopback { v6, port }),
            _ => None,
        }
    });
    if endpoint.is_none() {
        cursor
            .error("invalid_value", format!("{text:?} is no default endpoint"))
            .help("write 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix:///path");
    }
    endpoint
}

fn outbound_policy(cursor: &Cursor<'_>) -> Option<OutboundTrafficPolicy> {
    cursor.object(|fields| {
        let mode = fields
            .maybe("mode", |mode| mode.one_of(OUTBOUND_MODES))
            .unwrap_or_default();
        let egress_proxy = fields.maybe("egressProxy", |proxy| egress_proxy(proxy, mode));
        Some(OutboundTrafficPolicy {
            at: fields.at(),
            mode,
            egress_proxy,
        })
    })
}

fn egress_proxy(cursor: &Cursor<'_>, mode: OutboundMode) -> Option<Destination> {
    let destination = super::virtual_service::destination(cursor)?;
    if mode != OutboundMode::AllowAny {
        cursor.error("exclusive_fields", "egressProxy needs mode ALLOW_ANY");
    }
    if destination.port.is_none() {
        cursor.error("missing_field", "egressProxy must have a port");
    }
    Some(destination)
}
