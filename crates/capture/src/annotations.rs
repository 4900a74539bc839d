//! What a pod's annotations say about its traffic.

use crate::options::CaptureOptions;
use crate::values::{self, InvalidValue};
use std::collections::BTreeMap;

/// What names of annotations about traffic begin with.
const PREFIX: &str = "traffic.sidecar.istio.io/";

const INTERCEPTION: &str = "sidecar.istio.io/interceptionMode";
const STATUS_PORT: &str = "status.sidecar.istio.io/port";
const REROUTED: &str = "istio.io/reroute-virtual-interfaces";

/// The port of the agent's status where no annotation says otherwise.
const DEFAULT_STATUS_PORT: u16 = 15020;

/// What is read below [`PREFIX`].
const TRAFFIC: [&str; 8] = [
    "excludeInboundPorts",
    "excludeInterfaces",
    "excludeOutboundIPRanges",
    "excludeOutboundPorts",
    "includeInboundPorts",
    "includeOutboundIPRanges",
    "includeOutboundPorts",
    "kubevirtInterfaces",
];

/// An annotation whose value has no meaning.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("annotation {name}: {reason}")]
pub struct InvalidAnnotation {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub reason: InvalidValue,
}

impl CaptureOptions {
    /// What a pod with these annotations has.
    ///
    /// `traffic.sidecar.istio.io/*` say what is captured, `sidecar.istio.io/interceptionMode` whether anything is, and
    /// the port of `status.sidecar.istio.io/port` is not; 0 there is none. `istio.io/reroute-virtual-interfaces` wins
    /// over `kubevirtInterfaces`, its former name. An annotation that is absent has the default; an empty one is an
    /// empty list. Others are not looked at.
    ///
    /// # Errors
    ///
    /// Every annotation that has no meaning, in the order of their names.
    pub fn from_annotations(
        annotations: &BTreeMap<String, String>,
    ) -> Result<Self, Vec<InvalidAnnotation>> {
        let mut reader = Reader {
            annotations,
            errors: Vec::new(),
        };
        let options = reader.options();
        if reader.errors.is_empty() {
            return Ok(options);
        }
        reader
            .errors
            .sort_by(|one, other| one.name.cmp(&other.name));
        Err(reader.errors)
    }
}

/// The annotations that look as if they were about traffic, and that nobody reads.
pub fn unknown_annotations(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let names = annotations.keys().map(String::as_str);
    names.filter(|name| {
        name.strip_prefix(PREFIX)
            .is_some_and(|name| !TRAFFIC.contains(&name))
    })
}

struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    errors: Vec<InvalidAnnotation>,
}

impl Reader<'_> {
    fn options(&mut self) -> CaptureOptions {
        let mut options = CaptureOptions::default();
        let networks = |text: &str| values::selection(text, values::network);
        let inbound = |text: &str| values::selection(text, values::port);
        self.read(
            INTERCEPTION,
            values::interception,
            &mut options.interception,
        );
        self.traffic(
            "includeOutboundIPRanges",
            networks,
            &mut options.outbound_networks,
        );
        self.traffic("includeInboundPorts", inbound, &mut options.inbound_ports);
        let excluded = &mut options.excluded_outbound_networks;
        self.list("excludeOutboundIPRanges", values::network, excluded);
        self.list(
            "includeOutboundPorts",
            values::port,
            &mut options.included_outbound_ports,
        );
        self.list(
            "excludeOutboundPorts",
            values::port,
            &mut options.excluded_outbound_ports,
        );
        self.list(
            "excludeInterfaces",
            values::interface,
            &mut options.excluded_interfaces,
        );
        self.list(
            "kubevirtInterfaces",
            values::interface,
            &mut options.rerouted_interfaces,
        );
        let devices = |text: &str| values::list(text, values::interface);
        self.read(REROUTED, devices, &mut options.rerouted_interfaces);
        options.excluded_inbound_ports = self.excluded_inbound_ports();
        options
    }

    /// Those that the agent itself serves are always among them.
    fn excluded_inbound_ports(&mut self) -> Vec<u16> {
        let mut asked = Vec::new();
        self.list("excludeInboundPorts", values::port, &mut asked);
        let mut status = Some(DEFAULT_STATUS_PORT);
        self.read(STATUS_PORT, status_port, &mut status);

        let mut ports = vec![15090, 15021];
        for port in asked.into_iter().chain(status) {
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        ports
    }

    fn list<T: PartialEq>(
        &mut self,
        name: &str,
        entry: fn(&str) -> Result<T, InvalidValue>,
        into: &mut Vec<T>,
    ) {
        self.traffic(name, |text| values::list(text, entry), into);
    }

    fn traffic<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
        into: &mut T,
    ) {
        self.read(&format!("{PREFIX}{name}"), parse, into);
    }

    fn read<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, InvalidValue>,
        into: &mut T,
    ) {
        let Some(text) = self.annotations.get(name) else {
            return;
        };
        match parse(text) {
            Ok(value) => *into = value,
            Err(reason) => self.errors.push(InvalidAnnotation {
                name: name.to_owned(),
                reason,
            }),
        }
    }
}

fn status_port(text: &str) -> Result<Option<u16>, InvalidValue> {
    match text.trim() {
        "0" => Ok(None),
        text => values::port(text).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Interception, Selection};

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let name = |name: &str| {
            if name.contains('/') {
                name.to_owned()
            } else {
                format!("{PREFIX}{name}")
            }
        };
        pairs
            .iter()
            .map(|(key, value)| (name(key), (*value).to_owned()))
            .collect()
    }

    fn read(pairs: &[(&str, &str)]) -> CaptureOptions {
        CaptureOptions::from_annotations(&annotations(pairs)).unwrap()
    }

    fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_pod_without_annotations_has_the_default() {
        assert_eq!(read(&[]), CaptureOptions::default());
        assert_eq!(
            read(&[
                ("prometheus.io/port", "x"),
                ("sidecar.istio.io/inject", "true")
            ]),
            CaptureOptions::default()
        );
    }

    #[test]
    fn every_annotation_has_its_option() {
        let options = read(&[
            ("includeOutboundIPRanges", "10.0.0.1/24, fd00::/8"),
            ("excludeOutboundIPRanges", "10.0.0.128/25"),
            ("includeInboundPorts", "8080,9090"),
            ("excludeInboundPorts", "8081"),
            ("includeOutboundPorts", "443"),
            ("excludeOutboundPorts", "5432,3306"),
            ("excludeInterfaces", "net1"),
            ("kubevirtInterfaces", "tap0"),
            (INTERCEPTION, "REDIRECT"),
        ]);
        let want = CaptureOptions {
            outbound_networks: Selection::These(networks(&["10.0.0.0/24", "fd00::/8"])),
            excluded_outbound_networks: networks(&["10.0.0.128/25"]),
            inbound_ports: Selection::These(vec![8080, 9090]),
            excluded_inbound_ports: vec![15090, 15021, 8081, 15020],
            included_outbound_ports: vec![443],
            excluded_outbound_ports: vec![5432, 3306],
            excluded_interfaces: vec!["net1".parse().unwrap()],
            rerouted_interfaces: vec!["tap0".parse().unwrap()],
            ..CaptureOptions::default()
        };
        assert_eq!(options, want);
    }

    #[test]
    fn an_empty_list_is_nothing_and_a_star_everything() {
        let none = read(&[("includeOutboundIPRanges", ""), ("includeInboundPorts", "")]);
        assert_eq!(none.outbound_networks, Selection::These(vec![]));
        assert_eq!(none.inbound_ports, Selection::These(vec![]));
        let all = read(&[
            ("includeOutboundIPRanges", "*"),
            ("includeInboundPorts", "*"),
        ]);
        assert_eq!(all, CaptureOptions::default());
    }

    #[test]
    fn the_port_of_the_status_is_not_captured() {
        let excluded = |port| read(&[(STATUS_PORT, port)]).excluded_inbound_ports;
        assert_eq!(excluded("15099"), [15090, 15021, 15099]);
        assert_eq!(excluded("15021"), [15090, 15021]);
        assert_eq!(excluded("0"), [15090, 15021]);
    }

    #[test]
    fn the_later_name_of_devices_wins() {
        let options = read(&[("kubevirtInterfaces", "old0"), (REROUTED, "new0,new1")]);
        let want: Vec<_> = ["new0", "new1"].map(|name| name.parse().unwrap()).into();
        assert_eq!(options.rerouted_interfaces, want);
    }

    #[test]
    fn none_captures_nothing_and_tproxy_is_refused() {
        assert_eq!(
            read(&[(INTERCEPTION, "NONE")]).interception,
            Interception::None
        );
        let refused = CaptureOptions::from_annotations(&annotations(&[(INTERCEPTION, "TPROXY")]));
        let want = InvalidAnnotation {
            name: INTERCEPTION.to_owned(),
            reason: InvalidValue::Tproxy,
        };
        assert_eq!(refused, Err(vec![want]));
    }

    #[test]
    fn every_mistake_is_told() {
        let errors = CaptureOptions::from_annotations(&annotations(&[
            ("includeOutboundIPRanges", "10.0.0.0/33"),
            ("excludeInboundPorts", "http"),
            ("excludeOutboundIPRanges", "*"),
        ]))
        .unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "annotation traffic.sidecar.istio.io/excludeInboundPorts: `http` is no port: ports are 1 to 65535",
                "annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: `*` is not possible here: list what is \
                 meant",
                "annotation traffic.sidecar.istio.io/includeOutboundIPRanges: `10.0.0.0/33` is no network: write it \
                 like 10.0.0.0/8 or fd00::/8",
            ]
        );
    }

    #[test]
    fn a_misspelt_annotation_is_found() {
        let annotations = annotations(&[
            ("excludeInboundPort", "1"),
            ("excludeInboundPorts", "1"),
            ("a/b", ""),
        ]);
        let unknown: Vec<&str> = unknown_annotations(&annotations).collect();
        assert_eq!(unknown, ["traffic.sidecar.istio.io/excludeInboundPort"]);
    }
}
