use super::*;
use crate::{CompileOptions, Compiler};
use model::Defaults;

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

/// `address weight` of each endpoint of a service port.
#[track_caller]
fn check(text: &str, host: &str, port: u16, want: &[&str]) -> Vec<&'static str> {
    let (endpoints, diagnostics) =
        Compiler::new(CompileOptions::default()).endpoints(&resources(text));
    let key = ServicePort {
        host: host.into(),
        port,
    };
    let list = endpoints.services.get(&key).expect("the port is there");
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
    let (endpoints, _) = Compiler::new(CompileOptions::default()).endpoints(&resources(&text));
    let list = &endpoints.services[&ServicePort {
        host: WEB.into(),
        port: 80,
    }];
    assert_eq!(list[0].labels.get("app").map(String::as_str), Some("web"));
    assert_eq!((&*list[1].locality, list[1].labels.len()), ("/z/", 0));
}

#[test]
fn names_in_a_slice_are_told() {
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: names, labels: { kubernetes.io/service-name: web } }
addressType: FQDN
ports: [{ name: http, port: 80 }]
endpoints: [{ addresses: [web.example.com] }]
";
    let (_, diagnostics) = Compiler::new(CompileOptions::default())
        .endpoints(&resources(&(SERVICE.to_owned() + slice)));
    assert_eq!(
        diagnostics.iter().map(|one| one.code).collect::<Vec<_>>(),
        ["address_type"]
    );
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
    let text = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: names }
spec:
  hosts: [api.test]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: DNS
  endpoints: [{ address: api.example.com }, { address: 192.0.2.1 }]
";
    check(text, "api.test", 80, &["192.0.2.1:80 1"]);
}

#[test]
fn an_external_name_has_no_endpoints_yet() {
    let text = "
apiVersion: v1
kind: Service
metadata: { name: alias }
spec: { type: ExternalName, externalName: api.example.com, ports: [{ name: http, port: 80 }] }
";
    check(text, "alias.default.svc.cluster.local", 80, &[]);
}

#[test]
fn lists_that_did_not_change_are_shared() {
    let mut compiler = Compiler::new(CompileOptions::default());
    let other = SERVICE
        .replace("name: web }", "name: other }")
        .replace("app: web", "app: other");
    let text = [SERVICE, &other, &pod("a", "status: { podIP: 10.0.0.1 }")].concat();
    let (first, _) = compiler.endpoints(&resources(&text));
    let more =
        text.clone() + &pod("b", "status: { podIP: 10.0.0.2 }").replace("app: web", "app: other");
    let (second, _) = compiler.endpoints(&resources(&more));
    let same = |host: &str| {
        let key = ServicePort {
            host: host.into(),
            port: 80,
        };
        Arc::ptr_eq(&first.services[&key], &second.services[&key])
    };
    assert!(same(WEB) && !same("other.default.svc.cluster.local"));
}
