//! That a compilation after a change says what one from the beginning would.

use super::*;
use crate::Serves;
use model::ResourceRef;
use proptest::prelude::*;
use std::collections::BTreeMap;

const GATEWAYS: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: all }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }
  - { port: { number: 443, name: tls, protocol: HTTPS }, hosts: ["*.test"], tls: { mode: SIMPLE, credentialName: a } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: some }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 80, name: http, protocol: HTTP }, hosts: ["a.test", "*.b.test"], tls: { httpsRedirect: true } }
  - { port: { number: 8080, name: other, protocol: HTTP }, hosts: ["a.test", "::1"] }
---
"#;

/// A VirtualService as it is made up.
#[derive(Clone, Debug)]
struct Made {
    name: usize,
    hosts: &'static [&'static str],
    gateways: Vec<&'static str>,
    to: &'static str,
    created: Option<u8>,
    asks: bool,
    delegates: bool,
}

impl Made {
    fn text(&self) -> String {
        let created = self.created.map_or_else(String::new, |second| {
            format!(", creationTimestamp: \"2026-01-01T00:00:{second:02}Z\"")
        });
        let asks = match self.asks {
            true => "match: [{ gateways: [some], uri: { prefix: /some } }], ",
            false => "match: [{ uri: { prefix: /x } }, { uri: { prefix: / } }], ",
        };
        let action = match self.delegates {
            true if self.name.is_multiple_of(2) => "delegate: { name: part }".to_owned(),
            true => "delegate: { name: v0 }".to_owned(),
            // Also one with hosts, which nobody may delegate to.
            false => format!("route: [{{ destination: {{ host: {} }} }}]", self.to),
        };
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: v{}{created} }}\n\
             spec: {{ hosts: {:?}, gateways: {:?}, http: [{{ {asks}{action} }}] }}\n---\n",
            self.name, self.hosts, self.gateways
        )
    }
}

fn made() -> impl Strategy<Value = Made> {
    // None of a VirtualService may overlap.
    const HOSTS: &[&[&str]] = &[
        &["a.test"],
        &["a.test", "b.test"],
        &["x.b.test", "a.test"],
        &["*.b.test", "b.test"],
        &["*.test"],
        &["*"],
        &["::1"],
        &["short", "::1", "a.test"],
    ];
    const GATEWAYS: &[&str] = &["all", "some", "missing"];
    (
        0..6_usize,
        prop::sample::select(HOSTS),
        prop::sample::subsequence(GATEWAYS, 1..3),
        prop::sample::select(&["one", "two", "nobody"][..]),
        prop::option::of(0..3_u8),
        any::<bool>(),
        prop::bool::weighted(0.1),
    )
        .prop_map(
            |(name, hosts, gateways, to, created, asks, delegates)| Made {
                name,
                hosts,
                gateways,
                to,
                created,
                asks,
                delegates,
            },
        )
}

/// Objects that VirtualServices lead to, by kind and name.
const OTHERS: &[(&str, &str, &str)] = &[
    (
        "Service",
        "two",
        "apiVersion: v1\nkind: Service\nmetadata: { name: two }\nspec: { ports: [{ name: http, port: 80 }] }\n---\n",
    ),
    (
        "Service",
        "other",
        "apiVersion: v1\nkind: Service\nmetadata: { name: other }\n\
         spec: { type: ExternalName, externalName: two.default.svc.cluster.local, ports: [{ name: http, port: 80 }] }\n---\n",
    ),
    (
        "ServiceEntry",
        "entry",
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: entry }\n\
         spec: { hosts: [two.default.svc.cluster.local, nobody.default.svc.cluster.local], resolution: STATIC, \
         ports: [{ number: 80, name: http, protocol: HTTP }], endpoints: [{ address: 10.9.9.9 }] }\n---\n",
    ),
    (
        "DestinationRule",
        "rule",
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: rule }\n\
         spec: { host: one, trafficPolicy: { loadBalancer: { simple: ROUND_ROBIN } } }\n---\n",
    ),
];

/// What happens: a VirtualService is there, or is not; or another object changes.
#[derive(Clone, Debug)]
enum Change {
    There(Made),
    Gone(usize),
    /// Whether one of [`OTHERS`] is there.
    Other(usize, bool),
    /// Addresses of the service of this name; none: its EndpointSlice is gone.
    Slice(&'static str, Vec<u8>),
}

fn slice() -> impl Strategy<Value = Change> {
    let service = prop::sample::select(&["one", "two"][..]);
    let addresses = prop::collection::vec(1..9_u8, 0..3);
    (service, addresses).prop_map(|(service, addresses)| Change::Slice(service, addresses))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => made().prop_map(Change::There),
        2 => (0..6_usize).prop_map(Change::Gone),
        3 => (0..OTHERS.len(), any::<bool>()).prop_map(|(which, there)| Change::Other(which, there)),
        2 => slice(),
    ]
}

fn slice_of(service: &str, addresses: &[u8]) -> String {
    let endpoints = addresses
        .iter()
        .map(|last| format!("{{ addresses: [10.0.0.{last}] }}"));
    let endpoints: Vec<_> = endpoints.collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{ name: {service}, labels: {{ kubernetes.io/service-name: {service} }} }}\n\
         addressType: IPv4\nports: [{{ name: http, port: 80 }}]\nendpoints: [{}]\n---\n",
        endpoints.join(", ")
    )
}

fn apply(resources: &mut Resources, change: &Change) {
    let reference = |kind: &str, name: &str| ResourceRef {
        kind: kind.into(),
        namespace: "default".into(),
        name: name.into(),
    };
    let texts = match change {
        Change::There(made) => made.text(),
        Change::Other(which, true) => OTHERS[*which].2.to_owned(),
        Change::Other(which, false) => {
            let (kind, name, _) = OTHERS[*which];
            resources.remove(&reference(kind, name));
            return;
        }
        Change::Slice(of, addresses) if addresses.is_empty() => {
            resources.remove(&reference("EndpointSlice", of));
            return;
        }
        Change::Slice(of, addresses) => slice_of(of, addresses),
        Change::Gone(name) => {
            resources.remove(&reference("VirtualService", &format!("v{name}")));
            return;
        }
    };
    for resource in parsed(&texts) {
        resources.insert(resource);
    }
}

/// Each virtual host's rules and redirect, by where it is.
fn hosts(table: &Table) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut add = |place: &str, hosts: &crate::VirtualHosts| {
        for (domain, host) in hosts.entries() {
            let rules: Vec<_> = host
                .routes
                .routes()
                .iter()
                .map(|route| &route.origin)
                .collect();
            let said = format!("{} {rules:?} {:?}", host.name, host.https_redirect);
            all.insert(format!("{place} {domain}"), said);
        }
    };
    for (key, listener) in &table.listeners {
        match &listener.serves {
            Serves::Http(hosts) => add(&format!("{key:?}"), hosts),
            Serves::Tls(servers) => {
                for (name, server) in servers.entries() {
                    if let crate::TlsAction::Https { virtual_hosts, .. } = &server.action {
                        add(&format!("{key:?} {name}"), virtual_hosts.as_ref());
                    }
                }
            }
            _ => {}
        }
    }
    all
}

fn said(diagnostics: Vec<Diagnostic>) -> Vec<String> {
    let mut said: Vec<_> = diagnostics.iter().map(|one| format!("{one:?}")).collect();
    said.sort();
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_change_leads_where_a_beginning_does(changes in prop::collection::vec(change(), 1..12)) {
        let part = Made { name: 9, hosts: &[], gateways: vec![], to: "one", created: None, asks: false, delegates: false };
        let part = part.text().replace("hosts: [], gateways: [], ", "").replace("v9", "part");
        let mut resources: Resources = parsed(&(GATEWAYS.to_owned() + &service("one") + &part)).into_iter().collect();
        let answers = Arc::default();
        let mut compiler = compiler();
        compiler.compile(&resources);
        compiler.endpoints(&resources, &answers);
        for change in &changes {
            apply(&mut resources, change);
            let (table, told) = compiler.compile(&resources);
            let (endpoints, _) = compiler.endpoints(&resources, &answers);
            let mut beginner = super::compiler();
            let (fresh, told_afresh) = beginner.compile(&resources);
            let (fresh_endpoints, _) = beginner.endpoints(&resources, &answers);
            prop_assert_eq!(endpoints.services, fresh_endpoints.services, "{:?}", change);
            prop_assert_eq!(hosts(&table), hosts(&fresh), "{:?}", change);
            prop_assert_eq!(said(told), said(told_afresh), "{:?}", change);
            prop_assert_eq!(&table.clusters, &fresh.clusters, "{:?}", change);
        }
    }
}
