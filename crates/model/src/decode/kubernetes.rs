//! Kubernetes' own kinds. Only what is wanted of them is read, the rest is skipped.

use super::{Cursor, Fields};
use crate::yaml::Value;
use crate::{
    AddressType, ContainerPort, EndpointSlice, ExportTo, Meta, Namespace, Node, Pod, PodOwner,
    PodPhase, PodRef, PortProtocol, Secret, SecretBytes, Service, ServicePort, ServiceType,
    SliceEndpoint, SlicePort, TargetPort, Transport,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const EXPORT_TO: &str = "networking.istio.io/exportTo";

const SERVICE_TYPES: &[(&str, ServiceType)] = &[
    ("ClusterIP", ServiceType::ClusterIp),
    ("NodePort", ServiceType::NodePort),
    ("LoadBalancer", ServiceType::LoadBalancer),
    ("ExternalName", ServiceType::ExternalName),
];

const TRANSPORTS: &[(&str, Transport)] = &[
    ("TCP", Transport::Tcp),
    ("UDP", Transport::Udp),
    ("SCTP", Transport::Sctp),
];

const PHASES: &[(&str, PodPhase)] = &[
    ("Pending", PodPhase::Pending),
    ("Running", PodPhase::Running),
    ("Succeeded", PodPhase::Succeeded),
    ("Failed", PodPhase::Failed),
    ("Unknown", PodPhase::Unknown),
];

const ADDRESS_TYPES: &[(&str, AddressType)] = &[
    ("IPv4", AddressType::Ipv4),
    ("IPv6", AddressType::Ipv6),
    ("FQDN", AddressType::Fqdn),
];

pub(super) fn service(root: &Cursor<'_>, meta: Meta) -> Option<Service> {
    let spec = spec(root)?;
    spec.part_of_object(|fields| {
        let mut cluster_ips = Vec::new();
        let mut headless = false;
        let listed = fields.items("clusterIPs");
        for cursor in fields.field("clusterIP").into_iter().chain(listed) {
            match cursor.str() {
                Some("None") => headless = true,
                Some("") | None => {}
                Some(_) => cluster_ips.extend(cursor.ip()),
            }
        }
        let export_to = export_to(root, &meta);
        Some(Service {
            meta,
            service_type: fields
                .maybe("type", |kind| kind.one_of(SERVICE_TYPES))
                .unwrap_or_default(),
            cluster_ips: distinct(cluster_ips),
            headless,
            external_name: fields
                .field("externalName")
                .filter(|name| name.node.as_str() != Some(""))
                .and_then(|name| name.hostname()),
            selector: fields.labels("selector"),
            ports: service_ports(fields),
            publish_not_ready_addresses: fields.flag("publishNotReadyAddresses"),
            traffic_distribution: fields.string("trafficDistribution"),
            export_to,
        })
    })
}

fn spec<'a>(root: &Cursor<'a>) -> Option<Cursor<'a>> {
    root.part_of_object(|fields| fields.required("spec"))
}

fn service_ports(fields: &Fields<'_>) -> Vec<ServicePort> {
    let items = fields.items("ports");
    let (mut numbers, mut names) = (HashSet::new(), HashSet::new());
    let mut ports: Vec<ServicePort> = Vec::new();
    for cursor in &items {
        let Some(port) = service_port(cursor) else {
            continue;
        };
        if port.name.is_none() && items.len() > 1 {
            cursor.error(
                "missing_field",
                "ports must have names when there are several",
            );
        }
        if !numbers.insert((port.port, port.transport)) {
            cursor.error(
                "duplicate_name",
                format!("port {} is there twice", port.port),
            );
        }
        if let Some(name) = &port.name
            && !names.insert(name.clone())
        {
            let message = format!("port name {name:?} is there twice");
            cursor.error("duplicate_name", message);
        }
        ports.push(port);
    }
    ports
}

fn service_port(cursor: &Cursor<'_>) -> Option<ServicePort> {
    cursor.part_of_object(|fields| {
        let port = fields.required("port").and_then(|port| port.port());
        let target_port = fields.maybe("targetPort", target_port);
        let transport = transport(fields);
        let (name, app_protocol) = (fields.string("name"), fields.string("appProtocol"));
        let node_port = fields
            .maybe("nodePort", |port| port.u16_in(0..=u16::MAX))
            .filter(|port| *port > 0);
        let port = port?;
        let target_port = target_port.unwrap_or(TargetPort::Number(port));
        let (told, of_app) = (name.as_deref(), app_protocol.as_deref());
        let protocol = match transport {
            Transport::Tcp => PortProtocol::of_service_port(told, of_app, port),
            _ => PortProtocol::Udp,
        };
        Some(ServicePort {
            at: fields.at(),
            name,
            port,
            target_port,
            protocol,
            transport,
            app_protocol,
            node_port,
        })
    })
}

fn transport(fields: &Fields<'_>) -> Transport {
    fields
        .maybe("protocol", |protocol| protocol.one_of(TRANSPORTS))
        .unwrap_or_default()
}

/// A number or the name of a container's port; 0 is as good as absent.
fn target_port(cursor: &Cursor<'_>) -> Option<TargetPort> {
    match &cursor.node.value {
        Value::Int(0) => None,
        Value::Int(_) => cursor.port().map(TargetPort::Number),
        Value::String(name) if !name.is_empty() => Some(TargetPort::Name(name.clone())),
        _ => {
            cursor.wrong_type("a port number or name");
            None
        }
    }
}

/// The annotation, a list joined by commas. A wrong part of it is left out with a warning, as a Service
/// is not Istio's to refuse.
fn export_to(root: &Cursor<'_>, meta: &Meta) -> ExportTo {
    let Some(text) = meta.annotations.get(EXPORT_TO) else {
        return ExportTo::MeshDefault;
    };
    let mut namespaces: BTreeSet<Arc<str>> = BTreeSet::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part {
            "*" => return ExportTo::All,
            "~" => return ExportTo::Nobody,
            "." => drop(namespaces.insert(meta.reference.namespace.clone())),
            _ if crate::is_dns_label(part) => drop(namespaces.insert(part.into())),
            _ => drop(root.warning(
                "ineffective",
                format!("annotation {EXPORT_TO} names {part:?}, which is no namespace"),
            )),
        }
    }
    match namespaces.is_empty() {
        true => ExportTo::MeshDefault,
        false => ExportTo::Namespaces(namespaces),
    }
}

pub(super) fn pod(root: &Cursor<'_>, meta: Meta) -> Option<Pod> {
    let terminating = root.node.get("metadata").is_some_and(|metadata| {
        metadata
            .get("deletionTimestamp")
            .is_some_and(|time| time.value != Value::Null)
    });
    root.part_of_object(|fields| {
        let owner = fields.maybe("metadata", |metadata| metadata.part_of_object(controller));
        let spec = fields
            .maybe("spec", |spec| spec.part_of_object(pod_spec))
            .unwrap_or_default();
        let status = fields.maybe("status", |status| status.part_of_object(pod_status));
        let status = status.unwrap_or(PodStatus {
            pod_ips: Vec::new(),
            phase: None,
            ready: true,
        });
        Some(Pod {
            meta,
            pod_ips: status.pod_ips,
            phase: status.phase,
            ready: status.ready,
            terminating,
            owner,
            node_name: spec.node_name,
            service_account: spec.service_account,
            host_network: spec.host_network,
            ports: spec.ports,
        })
    })
}

/// Others may own a Pod, too, but it is made by one of them only.
fn controller(metadata: &Fields<'_>) -> Option<PodOwner> {
    let owners = metadata.items("ownerReferences");
    owners.iter().find_map(|owner| {
        owner.part_of_object(|fields| {
            let is_controller = fields.flag("controller");
            let (kind, name) = (fields.string("kind"), fields.string("name"));
            is_controller.then_some(PodOwner {
                kind: kind?,
                name: name?,
            })
        })
    })
}

#[derive(Default)]
struct PodSpec {
    node_name: Option<String>,
    service_account: Option<String>,
    host_network: bool,
    ports: Vec<ContainerPort>,
}

fn pod_spec(fields: &Fields<'_>) -> Option<PodSpec> {
    let containers = fields
        .items("containers")
        .into_iter()
        .chain(fields.items("initContainers"));
    let ports = containers
        .filter_map(|container| {
            container.part_of_object(|fields| Some(fields.each("ports", container_port)))
        })
        .flatten()
        .collect();
    Some(PodSpec {
        node_name: fields.string("nodeName"),
        service_account: fields.string("serviceAccountName"),
        host_network: fields.flag("hostNetwork"),
        ports,
    })
}

fn container_port(cursor: &Cursor<'_>) -> Option<ContainerPort> {
    cursor.part_of_object(|fields| {
        let container_port = fields
            .required("containerPort")
            .and_then(|port| port.port());
        let (name, transport) = (fields.string("name"), transport(fields));
        Some(ContainerPort {
            name,
            container_port: container_port?,
            transport,
        })
    })
}

struct PodStatus {
    pod_ips: Vec<IpAddr>,
    phase: Option<PodPhase>,
    ready: bool,
}

fn pod_status(fields: &Fields<'_>) -> Option<PodStatus> {
    let listed = fields.items("podIPs").into_iter();
    let listed = listed.filter_map(|item| item.part_of_object(|fields| fields.field("ip")));
    let one = fields
        .field("podIP")
        .filter(|ip| ip.node.as_str() != Some(""));
    let all = one.into_iter().chain(listed);
    let pod_ips = distinct(all.filter_map(|cursor| cursor.ip()));
    let phase = fields.maybe("phase", |phase| phase.one_of(PHASES));
    let conditions = fields
        .field("conditions")
        .map(|conditions| conditions.items());
    let ready = conditions.is_none_or(|conditions| conditions.iter().any(is_ready));
    Some(PodStatus {
        pod_ips,
        phase,
        ready,
    })
}

fn distinct(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = HashSet::new();
    let addresses = addresses.into_iter();
    addresses.filter(|address| seen.insert(*address)).collect()
}

fn is_ready(condition: &Cursor<'_>) -> bool {
    let says = |key, text| condition.node.get(key).and_then(|node| node.as_str()) == Some(text);
    says("type", "Ready") && says("status", "True")
}

pub(super) fn secret(root: &Cursor<'_>, meta: Meta) -> Option<Secret> {
    root.part_of_object(|fields| {
        let encoded = fields
            .field("data")
            .map(|data| data.entries())
            .unwrap_or_default();
        let plain = fields
            .field("stringData")
            .map(|data| data.entries())
            .unwrap_or_default();
        let mut data = BTreeMap::new();
        for (key, value) in encoded {
            // A key without a value is an empty one.
            let bytes = if value.is_null() {
                Some(Vec::new())
            } else {
                value.base64()
            };
            data.extend(bytes.map(|bytes| (key.to_owned(), SecretBytes::new(bytes))));
        }
        for (key, value) in plain {
            data.extend(
                value
                    .string()
                    .map(|text| (key.to_owned(), SecretBytes::new(text.into_bytes()))),
            );
        }
        let secret_type = fields.string("type").unwrap_or_else(|| "Opaque".to_owned());
        Some(Secret {
            meta,
            secret_type,
            data,
        })
    })
}

pub(super) fn namespace(_: &Cursor<'_>, meta: Meta) -> Option<Namespace> {
    Some(Namespace { meta })
}

/// Its labels are all that is wanted: they tell where it is.
pub(super) fn node(_: &Cursor<'_>, meta: Meta) -> Option<Node> {
    Some(Node { meta })
}

pub(super) fn endpoint_slice(root: &Cursor<'_>, meta: Meta) -> Option<EndpointSlice> {
    root.part_of_object(|fields| {
        let service_name = meta
            .labels
            .get(SERVICE_NAME)
            .map(|name| name.as_str().into());
        let address_type = fields
            .required("addressType")
            .and_then(|kind| kind.one_of(ADDRESS_TYPES));
        let endpoints = fields.each("endpoints", |cursor| slice_endpoint(cursor, address_type));
        let ports = fields.each("ports", slice_port);
        Some(EndpointSlice {
            meta,
            service_name,
            address_type: address_type?,
            endpoints,
            ports,
        })
    })
}

fn slice_endpoint(cursor: &Cursor<'_>, kind: Option<AddressType>) -> Option<SliceEndpoint> {
    cursor.part_of_object(|fields| {
        let addresses = match kind {
            Some(AddressType::Ipv4 | AddressType::Ipv6) => fields.each("addresses", Cursor::ip),
            _ => Vec::new(),
        };
        let names = match kind {
            Some(AddressType::Fqdn) => fields.each("addresses", Cursor::hostname),
            _ => Vec::new(),
        };
        let conditions = fields.maybe("conditions", |conditions| {
            conditions.part_of_object(|fields| {
                Some((
                    fields.bool("ready"),
                    fields.bool("serving"),
                    fields.bool("terminating"),
                ))
            })
        });
        let (ready, serving, terminating) = conditions.unwrap_or_default();
        let ready = ready.unwrap_or(true);
        Some(SliceEndpoint {
            at: fields.at(),
            addresses,
            names,
            ready,
            serving: serving.unwrap_or(ready),
            terminating: terminating.unwrap_or(false),
            hostname: fields.string("hostname"),
            node_name: fields.string("nodeName"),
            zone: fields.string("zone"),
            pod: fields.maybe("targetRef", pod_ref),
        })
    })
}

fn pod_ref(cursor: &Cursor<'_>) -> Option<PodRef> {
    cursor.part_of_object(|fields| {
        let is_pod = fields.string("kind").as_deref() == Some("Pod");
        let namespace = fields
            .string("namespace")
            .map_or_else(|| cursor.cx.namespace(), Into::into);
        let name = fields.string("name")?;
        is_pod.then(|| PodRef {
            namespace,
            name: name.into(),
        })
    })
}

fn slice_port(cursor: &Cursor<'_>) -> Option<SlicePort> {
    cursor.part_of_object(|fields| {
        Some(SlicePort {
            at: fields.at(),
            name: fields.string("name").unwrap_or_default(),
            port: fields.maybe("port", Cursor::port),
            transport: transport(fields),
            app_protocol: fields.string("appProtocol"),
        })
    })
}
