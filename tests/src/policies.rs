//! Resources about destinations: DestinationRules, and ServiceEntries with endpoints at places.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

/// A DestinationRule in `default` for one host, with the fields of its `spec` as they stand in a file, from the
/// first column.
pub fn destination_rule(host: &str, spec: &str) -> String {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: DestinationRule\n\
         metadata: {{name: {}, namespace: default}}\n\
         spec:\n  \
           host: {host:?}\n",
        host.split('.').next().unwrap_or(host)
    );
    for line in spec.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// As [`crate::service`], found at these addresses, all on one port.
pub fn service_at(name: &str, port: u16, addresses: &[Ipv4Addr], endpoint: u16) -> String {
    let mut text = crate::service(name, port, &[]);
    text += "---\n";
    text += &endpoint_slice(name, addresses, endpoint);
    text
}

/// The EndpointSlice of a Service in `default` with one HTTP port.
pub fn endpoint_slice(service: &str, addresses: &[Ipv4Addr], port: u16) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata:\n  \
           name: {service}-1\n  \
           namespace: default\n  \
           labels: {{kubernetes.io/service-name: {service}}}\n\
         addressType: IPv4\n\
         ports: [{{name: http, port: {port}, protocol: TCP}}]\n\
         endpoints:\n"
    );
    for address in addresses {
        let _ = writeln!(text, "- addresses: [{address}]");
    }
    text
}

/// An endpoint, where it is, and its labels.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it listens.
    pub address: SocketAddr,
    /// `region/zone/subzone`; empty: unknown.
    pub locality: &'static str,
    /// As they stand between braces.
    pub labels: &'static str,
}

impl Place {
    /// A port on loopback, at this locality.
    pub fn new(port: u16, locality: &'static str) -> Self {
        Self {
            address: ([127, 0, 0, 1], port).into(),
            locality,
            labels: "",
        }
    }

    /// With labels, as they stand between braces.
    #[must_use]
    pub fn labels(mut self, labels: &'static str) -> Self {
        self.labels = labels;
        self
    }
}

/// A ServiceEntry in `default` for one host with these fixed endpoints; `port` is what stands between the braces of
/// its one port, whose name is `http`.
pub fn service_entry(host: &str, port: &str, places: &[Place]) -> String {
    let name = host.replace('.', "-");
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  \
           hosts: [{host:?}]\n  \
           resolution: STATIC\n  \
           ports: [{{{port}}}]\n  \
           endpoints:\n"
    );
    for place in places {
        let (address, labels) = (place.address, place.labels);
        let _ = write!(
            text,
            "  - address: {}\n    ports: {{http: {}}}\n    labels: {{{labels}}}\n",
            address.ip(),
            address.port()
        );
        if !place.locality.is_empty() {
            let _ = writeln!(text, "    locality: {}", place.locality);
        }
    }
    text
}
