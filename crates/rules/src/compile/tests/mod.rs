//! What is compiled again after a change, and what is not. What is compiled is told by the golden cases.

mod changes;
mod egress;
mod namespaces;
mod secure;

use super::*;
use crate::{Action, ClusterTarget, VirtualHost};
use model::{Defaults, Resource};
use std::fmt::Write;

const GATEWAY: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gw }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }
---
"#;

fn parsed(text: &str) -> Vec<Resource> {
    let parsed = model::parse(&"test.yaml".into(), text, &Defaults::default());
    let refused: Vec<_> = parsed
        .all_diagnostics()
        .filter(|one| one.code != "not_honoured")
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    parsed
        .objects
        .iter()
        .filter_map(|object| object.outcome.resource().cloned())
        .collect()
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{ name: {name} }}\nspec: {{ ports: [{{ name: http, port: 80 }}] }}\n---\n"
    )
}

/// A VirtualService for `<name>.test` to service `to`.
fn virtual_service(name: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: {name} }}\n\
         spec: {{ hosts: [{name}.test], gateways: [gw], http: [{{ route: [{{ destination: {{ host: {to} }} }}] }}] }}\n---\n"
    )
}

fn compiler() -> Compiler {
    let labels = [("istio".to_owned(), "ingressgateway".to_owned())].into();
    let proxy = Proxy {
        name: "gateway".into(),
        namespace: "istio-system".into(),
        labels,
        ..Proxy::default()
    };
    Compiler::new(CompileOptions {
        proxy,
        ..CompileOptions::default()
    })
}

/// Three hosts to two services.
fn resources() -> Resources {
    let mut text = GATEWAY.to_owned();
    for name in ["x", "y"] {
        text += &service(name);
    }
    for (name, to) in [("a", "x"), ("b", "y"), ("c", "x")] {
        text += &virtual_service(name, to);
    }
    parsed(&text).into_iter().collect()
}

fn insert(resources: &mut Resources, text: &str) {
    for resource in parsed(text) {
        resources.insert(resource);
    }
}

fn host<'t>(table: &'t Table, name: &str) -> &'t Arc<VirtualHost> {
    let listener = table
        .listeners
        .get(&ListenerKey {
            bind: None,
            port: 80,
        })
        .unwrap();
    listener.virtual_hosts().unwrap().lookup(name).unwrap()
}

/// The hosts that are not the same `Arc` in both tables.
fn changed(one: &Table, other: &Table, names: &[&str]) -> Vec<String> {
    let differs = |name: &&&str| !Arc::ptr_eq(host(one, name), host(other, name));
    names
        .iter()
        .filter(differs)
        .map(ToString::to_string)
        .collect()
}

const HOSTS: [&str; 3] = ["a.test", "b.test", "c.test"];

#[test]
fn nothing_is_compiled_again_when_nothing_changed() {
    let (mut compiler, resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    let (second, _) = compiler.compile(&resources.clone());
    assert_eq!(first.generation + 1, second.generation);
    for (key, listener) in &first.listeners {
        assert!(Arc::ptr_eq(listener, &second.listeners[key]));
    }
    for (key, cluster) in first.clusters.iter() {
        assert!(Arc::ptr_eq(cluster, &second.clusters[key]));
    }
}

#[test]
fn a_changed_virtual_service_costs_its_own_hosts_only() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    insert(&mut resources, &virtual_service("b", "x"));
    let (second, _) = compiler.compile(&resources);
    assert_eq!(changed(&first, &second, &HOSTS), ["b.test"]);
    let routes = |table: &Table| host(table, "a.test").routes.routes()[0].clone();
    assert!(Arc::ptr_eq(&routes(&first), &routes(&second)));
}

#[test]
fn a_new_and_a_removed_virtual_service_leave_the_others_as_they_were() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    insert(&mut resources, &virtual_service("d", "x"));
    let (second, _) = compiler.compile(&resources);
    assert!(changed(&first, &second, &HOSTS).is_empty());
    assert_eq!(&*host(&second, "d.test").domain, "d.test");
    let key = resources
        .virtual_services
        .keys()
        .find(|key| &*key.name == "d")
        .cloned()
        .unwrap();
    resources.virtual_services.remove(&key);
    let (third, _) = compiler.compile(&resources);
    assert!(changed(&first, &third, &HOSTS).is_empty());
}

#[test]
fn a_changed_service_costs_the_hosts_that_lead_to_it() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    insert(
        &mut resources,
        &service("x").replace("port: 80", "port: 81"),
    );
    let (second, _) = compiler.compile(&resources);
    assert_eq!(changed(&first, &second, &HOSTS), ["a.test", "c.test"]);
}

#[test]
fn a_destination_rule_costs_the_hosts_of_its_service() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: y }\n\
                spec: { host: y, trafficPolicy: { loadBalancer: { simple: RANDOM } } }\n";
    insert(&mut resources, rule);
    let (second, _) = compiler.compile(&resources);
    assert_eq!(changed(&first, &second, &HOSTS), ["b.test"]);
}

#[test]
fn an_equal_cluster_is_the_same_after_its_service_was_written_again() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    insert(&mut resources, &service("x"));
    let (second, _) = compiler.compile(&resources);
    for (key, cluster) in first.clusters.iter() {
        assert!(Arc::ptr_eq(cluster, &second.clusters[key]), "{key}");
    }
}

#[test]
fn a_destination_that_comes_into_being_is_taken_up() {
    let (mut compiler, mut resources) = (compiler(), resources());
    insert(&mut resources, &virtual_service("late", "late"));
    let (first, diagnostics) = compiler.compile(&resources);
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    insert(&mut resources, &service("late"));
    let (second, diagnostics) = compiler.compile(&resources);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let is_known = |table: &Table| {
        let route = host(table, "late.test").routes.routes()[0].clone();
        let Action::Forward(action) = &route.action else {
            return false;
        };
        matches!(action.destinations[0].cluster, ClusterTarget::Cluster(_))
    };
    assert!(!is_known(&first) && is_known(&second));
}

#[test]
fn a_changed_delegate_costs_the_hosts_of_its_root() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let delegate = |status| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{ name: delegate }}\n\
             spec: {{ http: [{{ directResponse: {{ status: {status} }} }}] }}\n---\n"
        )
    };
    let root = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: root }\n\
                spec: { hosts: [root.test], gateways: [gw], http: [{ delegate: { name: delegate } }] }\n---\n";
    insert(&mut resources, &(delegate(200) + root));
    let (first, _) = compiler.compile(&resources);
    insert(&mut resources, &delegate(201));
    let (second, _) = compiler.compile(&resources);
    assert_eq!(
        changed(&first, &second, &["root.test", "a.test"]),
        ["root.test"]
    );
}

#[test]
fn hosts_with_the_same_rules_share_one_index() {
    let text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: many }\n\
                spec: { hosts: [m.test, n.test], gateways: [gw], http: [{ directResponse: { status: 200 } }] }\n";
    let (mut compiler, mut resources) = (compiler(), resources());
    insert(&mut resources, text);
    let (table, _) = compiler.compile(&resources);
    assert!(Arc::ptr_eq(
        &host(&table, "m.test").routes,
        &host(&table, "n.test").routes
    ));
}

#[test]
fn endpoints_are_not_in_the_table() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let (first, _) = compiler.compile(&resources);
    insert(
        &mut resources,
        "apiVersion: v1\nkind: Pod\nmetadata: { name: p }\nstatus: { podIP: 10.0.0.1 }\n",
    );
    let (second, _) = compiler.compile(&resources);
    assert!(changed(&first, &second, &HOSTS).is_empty());
}

#[test]
fn what_is_no_longer_named_is_forgotten() {
    let (mut compiler, mut resources) = (compiler(), resources());
    let before = resources.clone();
    let mut text = String::new();
    for number in 0..50 {
        write!(
            text,
            "{}{}",
            service(&format!("s{number}")),
            virtual_service(&format!("v{number}"), &format!("s{number}"))
        )
        .unwrap();
    }
    insert(&mut resources, &text);
    compiler.compile(&resources);
    drop(compiler.compile(&before));
    drop(compiler.compile(&before));
    assert_eq!(compiler.parts.len(), 3);
    assert_eq!(compiler.hosts.len(), 3);
    assert_eq!(compiler.clusters.len(), 2);
    assert_eq!(compiler.resolver.len(), 2);
}
