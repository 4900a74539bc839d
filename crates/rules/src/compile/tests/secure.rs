//! TLS servers and routes of connections: what is compiled again after a change, and what is not.

use super::{compiler, insert, parsed, service};
use crate::compile::Compiler;
use crate::{
    ClusterTarget, Listener, ListenerKey, Serves, Table, TlsAction, TlsServer, TlsTermination,
    VirtualHosts,
};
use model::{ObjectKey, Resources};
use std::sync::Arc;

/// Two servers that end TLS, one that lets it through, one by the cluster's name, one in clear.
fn gateway(credential: &str) -> String {
    format!(
        r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{ name: gw }}
spec:
  selector: {{ istio: ingressgateway }}
  servers:
  - {{ port: {{ number: 443, name: one, protocol: HTTPS }}, hosts: [one.test], tls: {{ mode: SIMPLE, credentialName: one }} }}
  - {{ port: {{ number: 443, name: two, protocol: HTTPS }}, hosts: [two.test], tls: {{ mode: SIMPLE, credentialName: {credential} }} }}
  - {{ port: {{ number: 443, name: tls, protocol: TLS }}, hosts: ["*.through.test"], tls: {{ mode: PASSTHROUGH }} }}
  - {{ port: {{ number: 15443, name: auto, protocol: TLS }}, hosts: ["*.local"], tls: {{ mode: AUTO_PASSTHROUGH }} }}
  - {{ port: {{ number: 9000, name: tcp, protocol: TCP }}, hosts: ["*"] }}
---
"#
    )
}

/// The rules of one kind of a VirtualService for `host` to service `to`.
fn rules(name: &str, host: &str, rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\n\
         spec: {{ hosts: [{host}], gateways: [gw], {rules} }}\n---\n"
    )
}

fn http(name: &str, to: &str) -> String {
    let route = format!("http: [{{ route: [{{ destination: {{ host: {to} }} }}] }}]");
    rules(name, &format!("{name}.test"), &route)
}

fn tls(name: &str, to: &str) -> String {
    let host = format!("{name}.through.test");
    let route = format!(
        "tls: [{{ match: [{{ sniHosts: [{host}] }}], route: [{{ destination: {{ host: {to} }} }}] }}]"
    );
    rules(name, &host, &route)
}

fn tcp(name: &str, to: &str) -> String {
    let route = format!("tcp: [{{ route: [{{ destination: {{ host: {to} }} }}] }}]");
    rules(name, "tcp.test", &route)
}

fn resources() -> Resources {
    let mut text = gateway("two");
    for name in ["x", "y"] {
        text += &service(name);
    }
    text += &http("one", "x");
    text += &http("two", "y");
    text += &tls("a", "x");
    text += &tls("b", "y");
    text += &tcp("raw", "x");
    parsed(&text).into_iter().collect()
}

fn remove(resources: &mut Resources, name: &str) {
    let found = resources
        .virtual_services
        .keys()
        .find(|key| &*key.name == name);
    let key: ObjectKey = found.unwrap().clone();
    resources.virtual_services.remove(&key);
}

fn listener(table: &Table, port: u16) -> &Arc<Listener> {
    &table.listeners[&ListenerKey { bind: None, port }]
}

fn server<'t>(table: &'t Table, sni: &str) -> &'t Arc<TlsServer> {
    listener(table, 443).tls_server(Some(sni)).unwrap()
}

fn https<'t>(table: &'t Table, sni: &str) -> (&'t Arc<TlsTermination>, &'t Arc<VirtualHosts>) {
    match &server(table, sni).action {
        TlsAction::Https {
            tls, virtual_hosts, ..
        } => (tls, virtual_hosts),
        other => panic!("{other:?}"),
    }
}

const NAMES: [&str; 4] = ["one.test", "two.test", "a.through.test", "b.through.test"];

/// The names whose servers are not the same `Arc` in both tables.
fn changed(one: &Table, other: &Table) -> Vec<&'static str> {
    let differs = |name: &&str| !Arc::ptr_eq(server(one, name), server(other, name));
    NAMES.into_iter().filter(differs).collect()
}

/// What `change` makes of the servers that were compiled before it.
fn after(change: impl FnOnce(&mut Resources)) -> (Compiler, Table, Table) {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (before, diagnostics) = compiler.compile(&resources);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    change(&mut resources);
    let (after, _) = compiler.compile(&resources);
    (compiler, before, after)
}

#[test]
fn nothing_is_compiled_again_when_nothing_changed() {
    let (_, before, after) = after(|_| {});
    assert_eq!(before.listeners.len(), 3);
    for (key, listener) in &before.listeners {
        assert!(Arc::ptr_eq(listener, &after.listeners[key]), "{key:?}");
    }
}

#[test]
fn a_changed_virtual_service_costs_its_own_server_only() {
    let (_, before, after) = after(|resources| insert(resources, &http("two", "x")));
    assert_eq!(changed(&before, &after), ["two.test"]);
    // Connections stay: how TLS ends did not change.
    let ((tls, _), (same, _)) = (https(&before, "two.test"), https(&after, "two.test"));
    assert!(Arc::ptr_eq(tls, same));
    for port in [15443, 9000] {
        assert!(Arc::ptr_eq(listener(&before, port), listener(&after, port)));
    }
}

#[test]
fn a_changed_rule_for_a_name_costs_that_name_only() {
    let (_, before, after) = after(|resources| insert(resources, &tls("a", "y")));
    assert_eq!(changed(&before, &after), ["a.through.test"]);
}

#[test]
fn a_removed_rule_for_a_name_takes_its_server_away() {
    let (_, before, after) = after(|resources| remove(resources, "a"));
    assert!(
        listener(&after, 443)
            .tls_server(Some("a.through.test"))
            .is_none()
    );
    for name in ["one.test", "b.through.test"] {
        assert!(Arc::ptr_eq(server(&before, name), server(&after, name)));
    }
}

#[test]
fn a_changed_certificate_of_one_server_leaves_the_others_their_tls_and_hosts() {
    let (_, before, after) = after(|resources| insert(resources, &gateway("other")));
    let ((tls, hosts), (now, hosts_now)) = (https(&before, "one.test"), https(&after, "one.test"));
    assert!(Arc::ptr_eq(tls, now) && Arc::ptr_eq(hosts, hosts_now));
    let ((tls, hosts), (now, hosts_now)) = (https(&before, "two.test"), https(&after, "two.test"));
    assert_ne!(tls, now);
    assert!(Arc::ptr_eq(hosts, hosts_now));
}

#[test]
fn a_changed_tcp_rule_costs_its_listener_only() {
    let (_, before, after) = after(|resources| insert(resources, &tcp("raw", "y")));
    assert!(Arc::ptr_eq(listener(&before, 443), listener(&after, 443)));
    let cluster = |table: &Table| match &listener(table, 9000).serves {
        Serves::Tcp(routes) => match &routes.0[0].destinations[0].cluster {
            ClusterTarget::Cluster(cluster) => cluster.key.host.clone(),
            missing => panic!("{missing:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(&*cluster(&before), "x.default.svc.cluster.local");
    assert_eq!(&*cluster(&after), "y.default.svc.cluster.local");
}

#[test]
fn spelled_clusters_follow_the_services() {
    let name = "outbound_.80_._.z.default.svc.cluster.local";
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    let auto = |table: &Table| listener(table, 15443).clone();
    assert!(auto(&first).tls_server(Some(name)).is_none());
    insert(&mut resources, &service("z"));
    let (second, _) = compiler.compile(&resources);
    assert!(auto(&second).tls_server(Some(name)).is_some());
    let is_z = |key: &crate::ClusterKey| key.host.starts_with("z.");
    assert!(second.clusters.keys().any(is_z));
    // Written again, it is the same service.
    insert(&mut resources, &service("z"));
    let (third, _) = compiler.compile(&resources);
    assert!(Arc::ptr_eq(&auto(&second), &auto(&third)));
    let key = resources.services.keys().find(|key| &*key.name == "z");
    let key = key.unwrap().clone();
    resources.services.remove(&key);
    let (fourth, _) = compiler.compile(&resources);
    assert!(auto(&fourth).tls_server(Some(name)).is_none());
    assert!(!fourth.clusters.keys().any(is_z));
}

/// One diagnostic for all of them, which says how many there are.
#[test]
fn spellings_that_another_server_has_are_told_once() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let later = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: later }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 15443, name: auto, protocol: TLS }, hosts: ["*.cluster.local"], tls: { mode: AUTO_PASSTHROUGH } }
"#;
    insert(&mut resources, later);
    // Also when nothing is compiled again.
    for _ in 0..2 {
        let (_, diagnostics) = compiler.compile(&resources);
        let [one] = &diagnostics[..] else {
            panic!("{diagnostics:?}");
        };
        assert_eq!((one.code, &*one.path), ("sni_conflict", "spec.servers[0]"));
        let want = "connections for \"outbound_.80_._.x.default.svc.cluster.local\" are taken by \
                    Gateway default/gw spec.servers[3] (test.yaml:11:5) already; of the names of this server, 2 are taken";
        assert_eq!(one.message, want);
    }
}

#[test]
fn servers_that_are_gone_are_forgotten() {
    let (mut compiler, _, _) = after(|_| {});
    assert_eq!((compiler.servers.len(), compiler.spelled.len()), (5, 1));
    drop(compiler.compile(&Resources::default()));
    drop(compiler.compile(&Resources::default()));
    assert_eq!((compiler.servers.len(), compiler.spelled.len()), (0, 0));
    assert_eq!((compiler.clusters.len(), compiler.resolver.len()), (0, 0));
    assert_eq!((compiler.parts.len(), compiler.hosts.len()), (0, 0));
}

/// Each has a certificate of its own.
#[test]
fn a_thousand_servers_and_names_share_a_port() {
    let mut text = String::from(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: { name: gw }\nspec:\n  selector: {}\n  servers:\n",
    );
    let mut services = service("x");
    for number in 0..1000 {
        text += &format!(
            "  - {{ port: {{ number: 443, name: s{number}, protocol: HTTPS }}, hosts: [s{number}.test], tls: {{ mode: SIMPLE, credentialName: c{number} }} }}\n"
        );
        services += &http(&format!("s{number}"), "x");
    }
    let resources: Resources = parsed(&format!("{text}---\n{services}"))
        .into_iter()
        .collect();
    let (table, diagnostics) = compiler().compile(&resources);
    assert!(diagnostics.is_empty(), "{:?}", diagnostics.first());
    for number in 0..1000 {
        let name = format!("S{number}.test");
        assert_eq!(
            *server(&table, &name).name,
            *format!("default/gw/s{number}")
        );
        assert!(https(&table, &name).1.lookup(&name).is_some());
    }
    assert!(
        listener(&table, 443)
            .tls_server(Some("s1000.test"))
            .is_none()
    );
}
