//! What of a forward proxy is compiled again, and what is told.

use super::parsed;
use crate::{
    AutoAllocate, CallerOptions, ClientOptions, CompileOptions, Compiler, EgressMode, Endpoints,
    ForwardProxyOptions, Listener, Mesh, NameAnswers, NameOptions, Outbound, Proxy, Serves, Table,
    Target,
};
use model::{OutboundMode, Resources};
use std::sync::Arc;

fn entry(name: &str, resolution: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{ name: {name} }}\nspec:\n  hosts: [{name}.test]\n  resolution: {resolution}\n  \
         ports: [{{ number: 80, name: http, protocol: HTTP }}]\n"
    )
}

fn resources(text: &str) -> Resources {
    parsed(text).into_iter().collect()
}

fn compiler(clients: &[&str], mode: OutboundMode) -> Compiler {
    let proxy = Proxy {
        namespace: "istio-system".into(),
        ..Proxy::default()
    };
    let clients = clients.iter().map(|namespace| ClientOptions {
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        principals: Vec::new(),
        caller: CallerOptions {
            namespace: (*namespace).into(),
            ..CallerOptions::default()
        },
    });
    Compiler::new(CompileOptions {
        forward_proxy: Some(ForwardProxyOptions {
            address: ([127, 0, 0, 1], 15080).into(),
            tls: None,
            clients: clients.collect(),
            others: Some(CallerOptions {
                namespace: proxy.namespace.clone(),
                ..CallerOptions::default()
            }),
            mode: EgressMode::Enforce,
        }),
        mesh: Mesh {
            outbound_traffic_policy: mode,
            ..Mesh::default()
        },
        proxy,
        ..CompileOptions::default()
    })
}

fn listener(table: &Table) -> &Arc<Listener> {
    table.listeners.values().next().unwrap()
}

fn outbound(table: &Table) -> &Arc<Outbound> {
    match &listener(table).serves {
        Serves::ForwardProxy(proxy) => &proxy.others.as_ref().unwrap().outbound,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_compiled_again_when_nothing_changed() {
    let mut compiler = compiler(&["a"], OutboundMode::RegistryOnly);
    let resources = resources(&(entry("one", "DNS") + &entry("two", "DNS")));
    let (first, _) = compiler.compile(&resources);
    let (second, _) = compiler.compile(&resources.clone());
    assert!(Arc::ptr_eq(listener(&first), listener(&second)));
    assert_eq!(first.clusters.len(), 4, "those of both views");
    for (key, cluster) in first.clusters.iter() {
        assert!(Arc::ptr_eq(cluster, &second.clusters[key]), "{key}");
    }
}

#[test]
fn a_new_entry_leaves_the_others_as_they_were() {
    let mut compiler = compiler(&[], OutboundMode::RegistryOnly);
    let mut resources = resources(&entry("one", "DNS"));
    let (first, _) = compiler.compile(&resources);
    for resource in parsed(&entry("two", "DNS")) {
        resources.insert(resource);
    }
    let (second, _) = compiler.compile(&resources);
    let host = |table: &Table, name: &str| {
        let port = &outbound(table).ports[&80];
        port.virtual_hosts.lookup(name).cloned()
    };
    assert!(host(&first, "two.test").is_none() && host(&second, "two.test").is_some());
    let of_one = (host(&first, "one.test"), host(&second, "one.test"));
    assert!(Arc::ptr_eq(&of_one.0.unwrap(), &of_one.1.unwrap()));
}

#[test]
fn names_of_all_views_are_wanted_but_those_that_are_found_on_demand() {
    let mut compiler = compiler(&["a"], OutboundMode::RegistryOnly);
    let private = entry("private", "DNS")
        .replace("name: private }", "name: private, namespace: a }")
        + "  exportTo: [\".\"]\n";
    let wild = entry("wild", "NONE").replace("wild.test]", "'*.wild.test']");
    let all = [entry("exact", "NONE"), private, wild];
    let (endpoints, _) =
        compiler.endpoints(&resources(&all.concat()), &Arc::new(NameAnswers::default()));
    let names: Vec<_> = compiler.names().iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["exact.test", "private.test"]);
    let views = endpoints.services.keys().filter(|port| port.view.is_some());
    assert_eq!(views.count(), 3, "the foreign view has all of them");
}

#[test]
fn what_is_let_through_unknown_has_a_cluster_of_its_own() {
    let mut compiler = compiler(&[], OutboundMode::AllowAny);
    let (first, _) = compiler.compile(&Resources::default());
    let (second, _) = compiler.compile(&resources(&entry("one", "DNS")));
    let key = crate::ClusterKey::passthrough();
    assert_eq!(key.to_string(), "PassthroughCluster");
    assert!(Arc::ptr_eq(&first.clusters[&key], &second.clusters[&key]));
    let on_demand = first.clusters[&key].on_demand.as_ref().unwrap();
    assert!(on_demand.resolves("any.test") && on_demand.has([10, 0, 0, 1].into()));
    assert!(!on_demand.has([127, 0, 0, 1].into()) && !on_demand.admits([127, 0, 0, 1].into()));
}

#[test]
fn a_proxy_of_a_sidecar_that_is_not_there_is_told() {
    let mut compiler = compiler(&[], OutboundMode::RegistryOnly);
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\n\
                   metadata: { name: default, namespace: istio-system }\n\
                   spec:\n  outboundTrafficPolicy:\n    mode: ALLOW_ANY\n    \
                   egressProxy: { host: nowhere.test, port: { number: 3128 } }\n";
    let (table, told) = compiler.compile(&resources(sidecar));
    let codes: Vec<_> = told
        .iter()
        .map(|one| (one.code, one.path.as_str()))
        .collect();
    let path = "spec.outboundTrafficPolicy.egressProxy";
    assert_eq!(codes, [("unknown_destination", path)]);
    let target = Target::parse("a.test:443", None).unwrap();
    let reached = outbound(&table).reach(&target);
    assert!(matches!(reached, crate::Reached::Passed(routes, None) if routes.0.len() == 1));
}

/// Promise 20.
#[test]
fn a_name_that_stands_for_the_machine_itself_is_forbidden_unless_it_is_named() {
    let mut compiler = compiler(&[], OutboundMode::RegistryOnly);
    let named = entry("named", "DNS") + "  addresses: [127.0.0.1]\n";
    let of_host = "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: own }\n\
                   spec:\n  hosts: [localhost.localdomain]\n  resolution: DNS\n  \
                   ports: [{ number: 80, name: http, protocol: HTTP }]\n  endpoints: [{ address: localhost }]\n";
    let all = resources(&(entry("plain", "DNS") + &named + of_host));
    let addresses = ["10.0.0.1", "127.0.0.1", "169.254.169.254"];
    let answer = crate::NameAnswer {
        addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
        ..crate::NameAnswer::default()
    };
    let names = ["plain.test", "named.test", "localhost"];
    let answers = names.map(|name| (name.try_into().unwrap(), answer.clone()));
    let (endpoints, told) = compiler.endpoints(&all, &Arc::new(answers.into_iter().collect()));
    let forbidden = |host: &str| {
        let of = |(port, _): &(&crate::ServicePort, _)| &*port.host == host;
        let (_, found) = endpoints.services.iter().find(of).unwrap();
        found.iter().map(|one| one.forbidden).collect::<Vec<_>>()
    };
    assert_eq!(forbidden("plain.test"), [false, true, true]);
    assert_eq!(forbidden("named.test"), [false, false, true]);
    assert_eq!(forbidden("localhost.localdomain"), [false, false, true]);
    assert!(told.iter().all(|one| one.code == "forbidden_address"));
    assert_eq!(told.len(), 3);
}

#[test]
fn a_service_tells_which_of_the_hosts_of_its_object_it_is() {
    let text = entry("a", "DNS").replace("[a.test]", "[a.test, a.test.example]");
    let (table, _) = compiler(&[], OutboundMode::RegistryOnly).compile(&resources(&text));
    for (host, path) in [
        ("a.test", "spec.hosts[0]"),
        ("a.test.example", "spec.hosts[1]"),
    ] {
        let target = Target::new(host, 80).unwrap();
        let service = outbound(&table).service(&target).unwrap();
        assert_eq!(service.origin.path, path);
    }
}

#[test]
fn nobody_asks_a_forward_proxy_for_names() {
    let mut compiler = compiler(&[], OutboundMode::RegistryOnly);
    let (table, _) = compiler.compile(&resources(&entry("one", "DNS")));
    assert!(outbound(&table).names.is_empty());
    assert!(outbound(&table).ports[&80].addresses.is_empty());
}

#[test]
fn a_host_without_any_address_left_is_told() {
    let mut all = resources(&entry("one", "DNS"));
    for third in 0..=255 {
        let taken = (0..=255).map(|fourth| format!("240.240.{third}.{fourth}"));
        let taken: Vec<_> = taken.collect();
        let entry = entry(&format!("taken-{third}"), "DNS");
        for resource in parsed(&format!("{entry}  addresses: [{}]\n", taken.join(", "))) {
            all.insert(resource);
        }
    }
    let mut options = compiler(&[], OutboundMode::RegistryOnly).options().clone();
    options.names = Some(NameOptions {
        auto_allocate: AutoAllocate::V4,
    });
    let mut compiler = Compiler::new(options);
    let (table, told) = compiler.compile(&all);
    let codes: Vec<_> = told
        .iter()
        .map(|one| (one.code, one.path.as_str()))
        .collect();
    assert_eq!(codes, [("no_address_left", "spec.hosts[0]")]);
    let found = outbound(&table)
        .names
        .find("one.test", &Endpoints::default());
    assert_eq!(found, None, "others may know it");
}
