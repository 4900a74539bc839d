mod changes;
mod conditions;
mod localities;
mod members;
mod workloads;

use super::*;
use crate::{CompileOptions, Compiler};
use model::Defaults;
use std::net::IpAddr;

fn resources(text: &str) -> Resources {
    let parsed = model::parse(&"test.yaml".into(), text, &Defaults::default());
    let refused: Vec<_> = parsed.diagnostics.iter().collect();
    assert!(refused.is_empty(), "{refused:?}");
    let accepted = parsed
        .objects
        .iter()
        .map(|object| object.outcome.resource().cloned());
    accepted
        .map(|resource| resource.expect("is valid"))
        .collect()
}

fn answers(told: &[(&str, &[&str])]) -> Arc<NameAnswers> {
    let answers = told.iter().map(|(name, addresses)| {
        let answer = NameAnswer {
            addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
            ..NameAnswer::default()
        };
        (Hostname::try_from(*name).unwrap(), answer)
    });
    Arc::new(answers.collect())
}

fn key(host: &str, port: u16) -> ServicePort {
    ServicePort {
        view: None,
        host: host.into(),
        port,
    }
}

/// `address weight` of each endpoint of a service port.
#[track_caller]
fn check(text: &str, host: &str, port: u16, want: &[&str]) -> Vec<&'static str> {
    check_with(text, &Arc::default(), host, port, want)
}

#[track_caller]
fn check_with(
    text: &str,
    answers: &Arc<NameAnswers>,
    host: &str,
    port: u16,
    want: &[&str],
) -> Vec<&'static str> {
    let (endpoints, diagnostics) =
        Compiler::new(CompileOptions::default()).endpoints(&resources(text), answers);
    let list = endpoints.services.get(&key(host, port));
    let list = list.expect("the port is there");
    let got: Vec<_> = list
        .iter()
        .map(|one| format!("{} {}", one.address, one.weight))
        .collect();
    assert_eq!(got, want);
    diagnostics.iter().map(|one| one.code).collect()
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports:
  - { name: http, port: 80, targetPort: 8080 }
  - { name: named, port: 81, targetPort: web }
---
";

const WEB: &str = "web.default.svc.cluster.local";

fn pod(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: web }} }}\n{rest}\n---\n"
    )
}

#[test]
fn without_slices_the_pods_that_run_serve() {
    let conditions = |phase: &str, ready: &str, address: &str| {
        format!(
            "status: {{ podIP: {address}, phase: {phase}, conditions: [{{ type: Ready, status: '{ready}' }}] }}"
        )
    };
    let text = [
        SERVICE.to_owned(),
        pod("bare", "status: { podIP: 10.0.0.1 }"),
        pod("ready", &conditions("Running", "True", "10.0.0.2")),
        pod("unready", &conditions("Running", "False", "10.0.0.3")),
        pod("done", &conditions("Succeeded", "True", "10.0.0.4")),
        pod("starting", "status: { phase: Pending }"),
        pod("other", "status: { podIP: 10.0.0.5 }").replace("app: web", "app: other"),
        pod("elsewhere", "status: { podIP: 10.0.0.6 }")
            .replace("{ name:", "{ namespace: shop, name:"),
    ]
    .concat();
    check(&text, WEB, 80, &["10.0.0.1:8080 1", "10.0.0.2:8080 1"]);
}

#[test]
fn a_target_port_can_be_the_name_of_a_container_s_port() {
    let named = "spec: { containers: [{ name: c, ports: [{ name: web, containerPort: 9000 }] }] }\nstatus: { podIP: 10.0.0.1 }";
    check(
        &(SERVICE.to_owned() + &pod("a", named)),
        WEB,
        81,
        &["10.0.0.1:9000 1"],
    );
    let unnamed = pod("a", "status: { podIP: 10.0.0.1 }");
    assert_eq!(
        check(&(SERVICE.to_owned() + &unnamed), WEB, 81, &[]),
        ["unknown_target_port"]
    );
}

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8081 }, { name: other, port: 1 }]
endpoints:
- { addresses: [10.1.0.1], targetRef: { kind: Pod, namespace: default, name: a } }
- { addresses: [10.1.0.2], conditions: { ready: false } }
- { addresses: [10.1.0.3], conditions: { ready: true }, zone: z }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-6, labels: { kubernetes.io/service-name: web } }
addressType: IPv6
ports: [{ name: http, port: 8081 }]
endpoints:
- { addresses: ['fd00::1'], targetRef: { kind: Pod, namespace: default, name: a } }
- { addresses: ['fd00::9'] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-other, namespace: shop, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8081 }]
endpoints: [{ addresses: [10.1.0.9] }]
---
";

#[test]
fn slices_say_who_serves_and_pods_what_they_are_labelled() {
    let text = [SERVICE, SLICE, &pod("a", "status: { podIP: 10.0.0.1 }")].concat();
    check(
        &text,
        WEB,
        80,
        &["10.1.0.1:8081 1", "10.1.0.3:8081 1", "[fd00::9]:8081 1"],
    );
    let (endpoints, _) =
        Compiler::new(CompileOptions::default()).endpoints(&resources(&text), &Arc::default());
    let list = &endpoints.services[&ServicePort {
        view: None,
        host: WEB.into(),
        port: 80,
    }];
    assert_eq!(list[0].labels().get("app").map(String::as_str), Some("web"));
    assert_eq!((&*list[1].locality, list[1].labels().len()), ("/z/", 0));
}

#[test]
fn names_in_a_slice_are_resolved() {
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: names, labels: { kubernetes.io/service-name: web } }
addressType: FQDN
ports: [{ name: http, port: 8080 }]
endpoints: [{ addresses: [web.example.com, other.example.com] }, { addresses: [gone.example.com] }]
";
    let answers = answers(&[("web.example.com", &["192.0.2.1", "192.0.2.2"])]);
    let text = SERVICE.to_owned() + slice;
    check_with(
        &text,
        &answers,
        WEB,
        80,
        &["192.0.2.1:8080 1", "192.0.2.2:8080 1"],
    );
    let mut compiler = Compiler::new(CompileOptions::default());
    let (endpoints, _) = compiler.endpoints(&resources(&text), &answers);
    let asked: Vec<_> = compiler.names().iter().map(Hostname::as_str).collect();
    assert_eq!(asked, ["gone.example.com", "web.example.com"]);
    let unresolved = &endpoints.unresolved[&key(WEB, 80)];
    assert_eq!(unresolved[0].as_str(), "gone.example.com");
}

/// Its addresses are those of `api.test`.
const NAMES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: names }
spec:
  hosts: [api.test]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: DNS
";

#[test]
fn a_failure_is_told_of_the_object_that_names_the_host_and_goes_away() {
    let mut compiler = Compiler::new(CompileOptions::default());
    let resources = resources(NAMES);
    let mut told = |addresses: &[&str], failure: Option<&str>| {
        let answer = NameAnswer {
            addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
            failure: failure.map(str::to_owned),
            ..NameAnswer::default()
        };
        let answers = NameAnswers::from([("api.test".try_into().unwrap(), answer)]);
        let (_, diagnostics) = compiler.endpoints(&resources, &Arc::new(answers));
        let told = diagnostics.iter().map(ToString::to_string);
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told(&[], Some("timed out")),
        [
            "ServiceEntry default/names: spec.hosts[0]: api.test cannot be resolved: timed out; it has no addresses"
        ]
    );
    assert!(told(&["192.0.2.1"], Some("timed out"))[0].ends_with("its last addresses stay in use"));
    assert!(told(&["192.0.2.1"], None).is_empty());
}

#[test]
fn that_addresses_are_left_aside_is_told() {
    let answer = NameAnswer {
        addresses: vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()],
        is_cut: true,
        failure: None,
    };
    let answers = NameAnswers::from([("api.test".try_into().unwrap(), answer)]);
    let used = &["192.0.2.1:80 1", "192.0.2.2:80 1"];
    let told = check_with(NAMES, &Arc::new(answers), "api.test", 80, used);
    assert_eq!(told, ["too_many_addresses"]);
}

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: vm }
spec: { address: 10.2.0.1, labels: { app: web }, ports: { http: 7000 }, weight: 3, locality: r/z/s }
---
";

#[test]
fn a_service_selects_workload_entries_too() {
    check(&[SERVICE, ENTRY].concat(), WEB, 80, &["10.2.0.1:7000 3"]);
}

#[test]
fn a_static_service_entry_has_its_own_endpoints_or_selects_them() {
    let own = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: own }
spec:
  hosts: [api.test]
  ports: [{ number: 80, name: http, protocol: HTTP, targetPort: 8080 }]
  resolution: STATIC
  endpoints:
  - { address: 192.0.2.1, weight: 5 }
  - { address: 192.0.2.2, ports: { http: 9 } }
  - { address: 'unix:///run/api.sock' }
---
";
    check(
        own,
        "api.test",
        80,
        &["192.0.2.1:8080 5", "192.0.2.2:9 1", "/run/api.sock 1"],
    );
    let selecting = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: selecting }
spec:
  hosts: [api.test]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  workloadSelector: { labels: { app: web } }
---
";
    let text = [selecting, ENTRY, &pod("a", "status: { podIP: 10.0.0.1 }")].concat();
    check(&text, "api.test", 80, &["10.2.0.1:7000 3", "10.0.0.1:80 1"]);
}

#[test]
fn names_are_left_to_a_resolver_and_addresses_among_them_serve() {
    let endpoints = "  endpoints: [{ address: api.example.com }, { address: 192.0.2.1 }]";
    let text = [NAMES, endpoints].concat();
    check(&text, "api.test", 80, &["192.0.2.1:80 1"]);
}

/// A Service's target port by name is looked for among a WorkloadEntry's own ports, as in Istio.
#[test]
fn a_named_target_port_is_one_of_a_workload_entry_s_ports() {
    let named = ENTRY.replace("http: 7000", "web: 7001");
    check(&[SERVICE, &named].concat(), WEB, 81, &["10.2.0.1:7001 3"]);
    let told = check(&[SERVICE, ENTRY].concat(), WEB, 81, &[]);
    assert_eq!(told, ["unknown_target_port"]);
}

/// Who connects to an endpoint of a headless Service connects to its own port.
#[test]
fn a_headless_service_leads_to_target_ports_too() {
    let headless = SERVICE.replace("spec:\n", "spec:\n  clusterIP: None\n");
    let text = headless.clone() + &pod("a", "status: { podIP: 10.0.0.1 }");
    check(&text, WEB, 80, &["10.0.0.1:8080 1"]);
    let text = [&headless, SLICE].concat();
    check(
        &text,
        WEB,
        80,
        &["10.1.0.1:8081 1", "10.1.0.3:8081 1", "[fd00::9]:8081 1"],
    );
}

#[test]
fn the_service_s_first_family_is_the_one_of_pods_with_both() {
    let six = SERVICE.replace("spec:\n", "spec:\n  clusterIPs: ['fd00::', 10.0.0.0]\n");
    check(
        &[&six, SLICE].concat(),
        WEB,
        80,
        &["[fd00::1]:8081 1", "[fd00::9]:8081 1", "10.1.0.3:8081 1"],
    );
}

#[test]
fn slices_without_a_service_are_nobody_s() {
    let (endpoints, diagnostics) =
        Compiler::new(CompileOptions::default()).endpoints(&resources(SLICE), &Arc::default());
    assert!(endpoints.services.is_empty() && diagnostics.is_empty());
}
