//! Services and ServiceEntries of few names, so that they meet often.

use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The one port of everything.
pub(crate) const PORT: u16 = 80;

/// A Service or a ServiceEntry.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) namespace: &'static str,
    pub(crate) name: String,
    /// Whether only its own namespace sees it.
    pub(crate) is_private: bool,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    ClusterIp(&'static str),
    /// An address that is not said.
    Plain,
    /// Addresses of endpoints, some with a name of their own.
    Headless(Vec<(&'static str, Option<&'static str>)>),
    ExternalName(&'static str),
    Entry {
        host: &'static str,
        addresses: &'static [&'static str],
        resolution: Resolution,
        may_get_address: bool,
    },
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Resolution {
    None,
    Dns,
    Static(Vec<&'static str>),
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const NAMESPACES: [&str; 2] = ["x", "y"];
const MEMBERS: [&str; 4] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1"];
const HOSTS: [&str; 11] = [
    "a.test",
    "b.a.test",
    "*.test",
    "*.a.test",
    "*.b.a.test",
    "a.x",
    "b.y.svc",
    "a.x.svc.cluster.local",
    "*.svc.cluster.local",
    "m0.a.x",
    "x",
];
const ADDRESSES: [&[&str]; 5] = [
    &[],
    &[],
    &["192.0.2.1"],
    &["192.0.2.1", "192.0.2.2"],
    &["198.51.100.0/24"],
];

pub(crate) fn objects() -> impl Strategy<Value = Vec<Object>> {
    let service = (
        select(&NAMESPACES[..]),
        select(&NAMES[..]),
        any::<bool>(),
        service(),
    );
    let services = proptest::collection::vec(service, 0..5).prop_map(|all| {
        let all = all.into_iter().map(|(namespace, name, is_private, kind)| {
            let object = Object {
                namespace,
                name: name.to_owned(),
                is_private,
                kind,
            };
            ((namespace, name), object)
        });
        all.collect::<BTreeMap<_, _>>()
    });
    let entry = (select(&NAMESPACES[..]), any::<bool>(), entry());
    let entries = proptest::collection::vec(entry, 0..6);
    (services, entries).prop_map(|(services, entries)| {
        let entries = entries.into_iter().enumerate();
        let entries = entries.map(|(at, (namespace, is_private, kind))| Object {
            namespace,
            name: format!("e{at}"),
            is_private,
            kind,
        });
        services.into_values().chain(entries).collect()
    })
}

fn service() -> impl Strategy<Value = Kind> {
    let members = (
        select(&MEMBERS[..3]),
        select(&[None, Some("m0"), Some("m1")][..]),
    );
    prop_oneof![
        select(&["10.96.0.1", "10.96.0.2", "fd00::1"][..]).prop_map(Kind::ClusterIp),
        Just(Kind::Plain),
        proptest::collection::vec(members, 0..3).prop_map(Kind::Headless),
        select(&["a.test", "a.x.svc.cluster.local"][..]).prop_map(Kind::ExternalName),
    ]
}

fn entry() -> impl Strategy<Value = Kind> {
    let resolution = prop_oneof![
        Just(Resolution::None),
        Just(Resolution::Dns),
        proptest::collection::vec(select(&MEMBERS[..]), 1..4).prop_map(Resolution::Static),
    ];
    let parts = (
        select(&HOSTS[..]),
        select(&ADDRESSES[..]),
        resolution,
        any::<bool>(),
    );
    parts.prop_map(
        |(host, addresses, resolution, may_get_address)| Kind::Entry {
            host,
            addresses,
            // What would be refused is not.
            resolution: match resolution {
                Resolution::Dns if host.starts_with('*') => Resolution::None,
                Resolution::Dns if addresses.iter().any(|one| one.contains('/')) => {
                    Resolution::None
                }
                other => other,
            },
            may_get_address,
        },
    )
}

/// Names that may be asked for.
pub(crate) fn name() -> impl Strategy<Value = String> {
    let labels = select(&["a", "b", "c", "x", "y", "m0", "m1", "test", "svc", "B"][..]);
    let ends = select(&["", "", ".test", ".svc", ".svc.cluster.local", "."][..]);
    (proptest::collection::vec(labels, 1..4), ends).prop_map(|(labels, end)| labels.join(".") + end)
}

pub(crate) fn text_of(objects: &[Object]) -> String {
    let mut text = String::new();
    for object in objects {
        write(&mut text, object).unwrap();
    }
    text
}

fn write(text: &mut String, object: &Object) -> std::fmt::Result {
    let Object {
        namespace, name, ..
    } = object;
    let spec = match &object.kind {
        Kind::ClusterIp(address) => format!("clusterIP: '{address}', "),
        Kind::Plain => String::new(),
        Kind::Headless(members) => {
            slice(text, object, members)?;
            "clusterIP: None, ".to_owned()
        }
        Kind::ExternalName(host) => format!("type: ExternalName, externalName: {host}, "),
        Kind::Entry { .. } => return entry_text(text, object),
    };
    let annotations = match object.is_private {
        true => ", annotations: { networking.istio.io/exportTo: '.' }",
        false => "",
    };
    writeln!(
        text,
        "---\napiVersion: v1\nkind: Service\n\
         metadata: {{ name: {name}, namespace: {namespace}{annotations} }}\n\
         spec: {{ {spec}ports: [{{ name: http, port: {PORT} }}] }}"
    )
}

fn slice(text: &mut String, object: &Object, members: &[(&str, Option<&str>)]) -> std::fmt::Result {
    let Object {
        namespace, name, ..
    } = object;
    writeln!(
        text,
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: {name}, namespace: {namespace}, labels: {{ kubernetes.io/service-name: {name} }} }}\n\
         addressType: IPv4\nports: [{{ name: http, port: {PORT} }}]\nendpoints:"
    )?;
    for (address, hostname) in members {
        let hostname = hostname.map(|name| format!(", hostname: {name}"));
        writeln!(
            text,
            "- {{ addresses: [{address}]{} }}",
            hostname.unwrap_or_default()
        )?;
    }
    Ok(())
}

fn entry_text(text: &mut String, object: &Object) -> std::fmt::Result {
    let Kind::Entry {
        host,
        addresses,
        resolution,
        may_get_address,
    } = &object.kind
    else {
        return Ok(());
    };
    let Object {
        namespace, name, ..
    } = object;
    let (resolution, endpoints) = match resolution {
        Resolution::None => ("NONE", String::new()),
        Resolution::Dns => ("DNS", String::new()),
        Resolution::Static(members) => {
            let members: Vec<_> = members
                .iter()
                .map(|one| format!("{{ address: '{one}' }}"))
                .collect();
            ("STATIC", format!("  endpoints: [{}]\n", members.join(", ")))
        }
    };
    let export_to = if object.is_private { "." } else { "*" };
    let label = "networking.istio.io/enable-autoallocate-ip";
    writeln!(
        text,
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{ name: {name}, namespace: {namespace}, labels: {{ {label}: '{may_get_address}' }} }}\n\
         spec:\n  hosts: ['{host}']\n  addresses: {addresses:?}\n  resolution: {resolution}\n\
         {endpoints}  exportTo: ['{export_to}']\n  \
         ports: [{{ number: {PORT}, name: http, protocol: HTTP }}]"
    )
}
