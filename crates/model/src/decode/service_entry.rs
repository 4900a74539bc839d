//! ServiceEntry.

use super::gateway::protocol_name;
use super::tls::names_of_servers;
use super::values::NobodyAllowed;
use super::workload::workload;
use super::{Cursor, Fields};
use crate::{
    HostPattern, IpNet, Labels, Located, Location, Meta, PortProtocol, Resolution, ServiceEntry,
    ServiceEntryPort, WorkloadAddress,
};
use std::collections::HashSet;

const MAX_HOSTS: usize = 256;

const LOCATIONS: &[(&str, Location)] = &[
    ("MESH_EXTERNAL", Location::MeshExternal),
    ("MESH_INTERNAL", Location::MeshInternal),
];

const RESOLUTIONS: &[(&str, Resolution)] = &[
    ("NONE", Resolution::None),
    ("STATIC", Resolution::Static),
    ("DNS", Resolution::Dns),
    ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
    ("DYNAMIC_DNS", Resolution::DynamicDns),
];

pub(super) fn service_entry(spec: &Cursor<'_>, meta: Meta) -> Option<ServiceEntry> {
    spec.object(|fields| {
        let hosts = hosts(fields);
        let resolution = fields.maybe("resolution", |cursor| cursor.one_of(RESOLUTIONS));
        let resolution = resolution.unwrap_or_default();
        let addresses = fields.each("addresses", |cursor| address(cursor, resolution));
        let ports = ports(fields);
        let location = fields.maybe("location", |cursor| cursor.one_of(LOCATIONS));
        let endpoints = fields.each("endpoints", workload);
        let workload_selector = fields.maybe("workloadSelector", workload_selector);
        let entry = ServiceEntry {
            meta,
            hosts,
            addresses,
            ports,
            location: location.unwrap_or_default(),
            resolution,
            endpoints,
            workload_selector,
            export_to: fields.export_to(NobodyAllowed::Yes),
            subject_alt_names: names_of_servers(fields),
        };
        check(fields, &entry);
        Some(entry)
    })
}

/// `{labels: …}` of a ServiceEntry or Sidecar.
pub(super) fn workload_selector(cursor: &Cursor<'_>) -> Option<Labels> {
    cursor.object(|fields| Some(fields.labels("labels")))
}

fn hosts(fields: &Fields<'_>) -> Vec<Located<HostPattern>> {
    let items = fields
        .required("hosts")
        .map(|hosts| hosts.items())
        .unwrap_or_default();
    if items.is_empty() && fields.field("hosts").is_some() {
        fields.missing(
            "hosts",
            "service entry must have at least one host".to_owned(),
        );
    }
    if items.len() > MAX_HOSTS {
        fields.cursor.error(
            "too_large",
            format!(
                "service entry has {} hosts, at most {MAX_HOSTS}",
                items.len()
            ),
        );
    }
    items.iter().filter_map(host).collect()
}

fn host(cursor: &Cursor<'_>) -> Option<Located<HostPattern>> {
    let host = cursor.located_host()?;
    if host.value.is_any() {
        cursor
            .error(
                "invalid_host",
                "wildcard host * is not allowed in a ServiceEntry",
            )
            .help("write *.suffix, or allow everything with outbound-traffic-policy");
        return None;
    }
    if host.value.is_short() {
        cursor.warning(
            "ineffective",
            format!(
                "host {:?} has no dot; it is not expanded here",
                host.value.as_str()
            ),
        );
    }
    Some(host)
}

fn ports(fields: &Fields<'_>) -> Vec<ServiceEntryPort> {
    let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
    let mut ports = Vec::new();
    for cursor in fields.items("ports") {
        let Some(port) = port(&cursor) else { continue };
        if !numbers.insert(port.number) {
            cursor.error(
                "duplicate_name",
                format!("port number {} is there twice", port.number),
            );
        }
        if !names.insert(port.name.clone()) {
            cursor.error(
                "duplicate_name",
                format!("port name {:?} is there twice", port.name),
            );
        }
        ports.push(port);
    }
    ports
}

fn port(cursor: &Cursor<'_>) -> Option<ServiceEntryPort> {
    cursor.object(|fields| {
        let number = fields.required("number").and_then(|number| number.port());
        let name = fields.required("name").and_then(|name| name.dns_label());
        let target_port = fields.maybe("targetPort", |target| {
            // Protobuf does not tell 0 from absent.
            target.u16_in(0..=u16::MAX).filter(|port| *port > 0)
        });
        let protocol = fields
            .field("protocol")
            .filter(|protocol| protocol.node.as_str() != Some(""))
            .map(|protocol| protocol_name(&protocol));
        if protocol.is_none() {
            cursor
                .warning(
                    "ineffective",
                    "port has no protocol; its traffic is taken as TCP unless it is recognised",
                )
                .help(format!("one of {}", PortProtocol::NAMES.join(", ")));
        }
        Some(ServiceEntryPort {
            at: fields.at(),
            number: number?,
            protocol: protocol.map_or(Some(PortProtocol::Unspecified), |protocol| protocol)?,
            name: name?,
            target_port,
        })
    })
}

fn check(fields: &Fields<'_>, entry: &ServiceEntry) {
    fields.exclusive(&["workloadSelector", "endpoints"]);
    if entry.workload_selector.is_some()
        && !matches!(entry.resolution, Resolution::Static | Resolution::Dns)
        && let Some(cursor) = fields.field("workloadSelector")
    {
        cursor.error(
            "exclusive_fields",
            "workloadSelector needs resolution STATIC or DNS",
        );
    }
    match entry.resolution {
        Resolution::None => check_none(fields, entry),
        Resolution::Static => check_static(fields, entry),
        Resolution::Dns | Resolution::DnsRoundRobin => check_dns(fields, entry),
        Resolution::DynamicDns => check_dynamic(fields, entry),
    }
    if is_ambiguous(entry)
        && let Some(cursor) = fields.field("hosts")
    {
        cursor
            .error(
                "invalid_value",
                "several hosts with a TCP port and without addresses cannot be told apart",
            )
            .help("give the service addresses, or write one ServiceEntry for each host");
    }
}

fn address(cursor: &Cursor<'_>, resolution: Resolution) -> Option<IpNet> {
    let network = cursor.network()?;
    let is_network = network.prefix_len() < network.max_prefix_len();
    if is_network && !matches!(resolution, Resolution::None | Resolution::Static) {
        let message = "a network as address needs resolution NONE or STATIC";
        cursor.error("exclusive_fields", message);
    }
    Some(network)
}

/// The endpoints whose address is one of a kind, to be reported.
fn endpoints_with<'a>(
    fields: &Fields<'a>,
    entry: &ServiceEntry,
    wrong: impl Fn(&WorkloadAddress) -> bool,
) -> Vec<Cursor<'a>> {
    let mut items = fields.items_by_place("endpoints");
    let endpoints = entry.endpoints.iter();
    endpoints
        .filter(|endpoint| endpoint.address.as_ref().is_some_and(&wrong))
        .filter_map(|endpoint| items.remove(&endpoint.at))
        .collect()
}

fn check_none(fields: &Fields<'_>, entry: &ServiceEntry) {
    if !entry.endpoints.is_empty()
        && let Some(cursor) = fields.field("endpoints")
    {
        cursor
            .error(
                "exclusive_fields",
                "no endpoints should be provided for resolution type none",
            )
            .help("set resolution to STATIC or DNS");
    }
}

fn check_static(fields: &Fields<'_>, entry: &ServiceEntry) {
    if entry.endpoints.is_empty() && entry.workload_selector.is_none() && !fields.has("endpoints") {
        fields.cursor.warning(
            "ineffective",
            "resolution STATIC without endpoints or workloadSelector serves nothing",
        );
    }
    let is_name = |address: &WorkloadAddress| matches!(address, WorkloadAddress::Host(_));
    for cursor in endpoints_with(fields, entry, is_name) {
        cursor
            .error(
                "invalid_value",
                "an endpoint must be an IP address or a Unix domain socket for resolution STATIC",
            )
            .help("set resolution to DNS to have names resolved");
    }
}

fn check_dns(fields: &Fields<'_>, entry: &ServiceEntry) {
    let is_unix = |address: &WorkloadAddress| matches!(address, WorkloadAddress::Unix(_));
    for cursor in endpoints_with(fields, entry, is_unix) {
        let message = "a Unix domain socket needs resolution STATIC";
        cursor.error("invalid_value", message);
    }
    if !fields.has("endpoints") && entry.workload_selector.is_none() {
        refuse_wildcards(fields, entry);
    }
    if entry.resolution == Resolution::DnsRoundRobin
        && entry.endpoints.len() > 1
        && let Some(cursor) = fields.field("endpoints")
    {
        cursor.error(
            "invalid_value",
            "there must be one endpoint at most for resolution DNS_ROUND_ROBIN",
        );
    }
}

/// Without endpoints it is the hosts themselves that are resolved.
fn refuse_wildcards(fields: &Fields<'_>, entry: &ServiceEntry) {
    let items = fields.items_by_place("hosts");
    for host in entry.hosts.iter().filter(|host| host.value.is_wildcard()) {
        let Some(cursor) = items.get(&host.at) else {
            continue;
        };
        let message = format!("wildcard host {} cannot be resolved by DNS", host.value);
        cursor
            .error("invalid_host", message)
            .help("name the hosts, give endpoints, or set resolution to DYNAMIC_DNS or NONE");
    }
}

fn check_dynamic(fields: &Fields<'_>, entry: &ServiceEntry) {
    for name in ["addresses", "endpoints"] {
        if let Some(cursor) = fields
            .field(name)
            .filter(|cursor| !cursor.items().is_empty())
        {
            cursor.error(
                "exclusive_fields",
                format!("{name} cannot be there for resolution DYNAMIC_DNS"),
            );
        }
    }
    use PortProtocol::{Grpc, Http, Http2, Https, Tls};
    let wrong =
        |port: &&ServiceEntryPort| !matches!(port.protocol, Http | Http2 | Grpc | Https | Tls);
    let items = fields.items_by_place("ports");
    for port in entry.ports.iter().filter(wrong) {
        if let Some(cursor) = items.get(&port.at) {
            let message = "resolution DYNAMIC_DNS needs HTTP, HTTP2, GRPC, HTTPS or TLS ports";
            cursor.error("exclusive_fields", message);
        }
    }
}

fn is_ambiguous(entry: &ServiceEntry) -> bool {
    let opaque =
        |port: &ServiceEntryPort| matches!(port.protocol, PortProtocol::Tcp | PortProtocol::Mongo);
    let addresses: &[IpNet] = &entry.addresses;
    entry.hosts.len() > 1
        && addresses.is_empty()
        && entry.resolution != Resolution::None
        && entry.ports.iter().any(opaque)
}
