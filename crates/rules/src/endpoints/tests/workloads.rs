//! What runs behind endpoints, and whom addresses belong to.

use super::*;

/// `namespace/name account in_mesh` of each endpoint of a service port.
#[track_caller]
fn check(text: &str, host: &str, want: &[&str]) {
    let (endpoints, _) = compiled(text);
    let list = &endpoints.services[&key(host, 80)];
    let got: Vec<_> = list
        .iter()
        .map(|endpoint| {
            endpoint
                .workload
                .as_deref()
                .map_or_else(|| "none".to_owned(), told)
        })
        .collect();
    assert_eq!(got, want);
}

fn compiled(text: &str) -> (Endpoints, Vec<Diagnostic>) {
    let names = answers(&[("api.test", &["192.0.2.9"])]);
    Compiler::new(CompileOptions::default()).endpoints(&resources(text), &names)
}

fn told(workload: &Workload) -> String {
    let account = workload.service_account.as_deref().unwrap_or("unknown");
    let mesh = if workload.in_mesh { " mesh" } else { "" };
    format!("{}/{} {account}{mesh}", workload.namespace, workload.name)
}

/// The addresses that somebody has, each with whom that is.
#[track_caller]
fn check_addresses(text: &str, want: &[&str]) {
    let (endpoints, _) = compiled(text);
    let all = endpoints.workloads.iter();
    let mut got: Vec<_> = all
        .map(|(address, workload)| format!("{address} {}", told(workload)))
        .collect();
    got.sort();
    assert_eq!(got, want);
}

const OWNED: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: a
  labels: { app: web, pod-template-hash: 5d, security.istio.io/tlsMode: istio }
  ownerReferences: [{ kind: ReplicaSet, name: front-5d, controller: true }]
spec: { serviceAccountName: front }
status: { podIP: 10.1.0.1 }
---
";

#[test]
fn pods_are_found_by_selector_by_reference_and_by_address() {
    let web = &["default/front front mesh"];
    check(&[SERVICE, OWNED].concat(), WEB, web);
    let slice = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8081 }]
endpoints: [{ addresses: [10.1.0.1], targetRef: { kind: Pod, name: a } }]
---
";
    check(&[SERVICE, slice, OWNED].concat(), WEB, web);
    // Somebody else has the address that the Pod had.
    let moved = OWNED.replace("10.1.0.1", "10.1.0.2");
    let stale = slice.replace("name: a }", "name: gone }");
    check(&[SERVICE, &stale, OWNED].concat(), WEB, &["none"]);
    let written = slice.replace(", targetRef: { kind: Pod, name: a }", "");
    check(&[SERVICE, &written, OWNED].concat(), WEB, web);
    check(&[SERVICE, &written, &moved].concat(), WEB, &["none"]);
    let elsewhere = OWNED.replace("name: a\n", "name: a\n  namespace: shop\n");
    check(&[SERVICE, &written, &elsewhere].concat(), WEB, &["none"]);
}

#[test]
fn what_nobody_writes_is_the_default() {
    let bare = pod("bare", "status: { podIP: 10.0.0.1 }");
    check(&[SERVICE, &bare].concat(), WEB, &["default/bare default"]);
    let named = OWNED.replace("app: web", "app: web, service.istio.io/workload-name: told");
    check(
        &[SERVICE, &named].concat(),
        WEB,
        &["default/told front mesh"],
    );
    let other = OWNED.replace("tlsMode: istio", "tlsMode: disabled");
    check(&[SERVICE, &other].concat(), WEB, &["default/front front"]);
}

#[test]
fn machines_are_called_by_their_entry_or_group() {
    check(&[SERVICE, ENTRY].concat(), WEB, &["default/vm unknown"]);
    let known = ENTRY.replace(
        "labels: {",
        "serviceAccount: vm, labels: { security.istio.io/tlsMode: istio,",
    );
    check(&[SERVICE, &known].concat(), WEB, &["default/vm vm mesh"]);
    let group = ENTRY.replace(
        "name: vm",
        "name: vm, annotations: { istio.io/autoRegistrationGroup: vms }",
    );
    check(&[SERVICE, &group].concat(), WEB, &["default/vms unknown"]);
}

#[test]
fn endpoints_of_a_service_entry_are_called_by_it_and_a_host_by_nobody() {
    check(NAMES, "api.test", &["none"]);
    let own = "  endpoints: [{ address: 192.0.2.1, serviceAccount: api, labels: { security.istio.io/tlsMode: istio } }, { address: api.test }]";
    let want = ["default/names api mesh", "default/names unknown"];
    check(&[NAMES, own].concat(), "api.test", &want);
}

/// Its labels say what a client sees of it, and nothing about who answers.
#[test]
fn an_external_name_is_nobody_in_the_mesh() {
    let service = "
apiVersion: v1
kind: Service
metadata: { name: web, labels: { security.istio.io/tlsMode: istio } }
spec: { type: ExternalName, externalName: api.test, ports: [{ name: http, port: 80 }] }
";
    check(service, WEB, &["/ unknown"]);
}

#[test]
fn addresses_are_those_of_pods_that_run_and_of_machines() {
    let with = |name: &str, spec: &str, status: &str| {
        pod(name, &format!("spec: {{ {spec} }}\nstatus: {{ {status} }}"))
    };
    let text = [
        with("both", "", "podIPs: [{ ip: 10.0.0.1 }, { ip: 'fd00::1' }]"),
        with(
            "unready",
            "",
            "podIP: 10.0.0.2, phase: Running, conditions: []",
        ),
        with("pending", "", "podIP: 10.0.0.3, phase: Pending"),
        with("done", "", "podIP: 10.0.0.4, phase: Succeeded"),
        with("node", "hostNetwork: true", "podIP: 10.0.0.5"),
        ENTRY.to_owned(),
        ENTRY
            .replace("name: vm", "name: named")
            .replace("10.2.0.1", "vm.test"),
    ]
    .concat();
    check_addresses(
        &text,
        &[
            "10.0.0.1 default/both default",
            "10.0.0.2 default/unready default",
            "10.2.0.1 default/vm unknown",
            "fd00::1 default/both default",
        ],
    );
}

/// An address is handed on before everybody knows that its Pod is gone.
#[test]
fn of_two_pods_with_an_address_the_one_that_stays_has_it_and_then_the_younger() {
    let made = |name: &str, meta: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, {meta} }}\nstatus: {{ podIP: 10.0.0.1 }}\n---\n"
        )
    };
    let old = made("a", "creationTimestamp: '2026-01-01T00:00:00Z'");
    let young = made("b", "creationTimestamp: '2026-01-02T00:00:00Z'");
    let leaving = made(
        "c",
        "creationTimestamp: '2026-01-03T00:00:00Z', deletionTimestamp: '2026-01-03T00:01:00Z'",
    );
    let younger = ["10.0.0.1 default/b default"];
    check_addresses(&[old.as_str(), &young, &leaving].concat(), &younger);
    check_addresses(&[leaving.as_str(), &young].concat(), &younger);
    let machine = ENTRY.replace("10.2.0.1", "10.0.0.1");
    check_addresses(&[machine.as_str(), &young].concat(), &younger);
}

/// Whether a Pod in the mesh takes its TLS at the ports 8080 and 9000 of its own, which are 80 and 81 of its service.
#[track_caller]
fn check_takes_tls(policies: &[&str], want: [bool; 2]) {
    let ports = OWNED.replace(
        "serviceAccountName: front",
        "containers: [{ name: c, ports: [{ name: web, containerPort: 9000 }] }]",
    );
    let policies: Vec<_> = policies.iter().map(|one| format!("{one}\n---\n")).collect();
    let text = [SERVICE.to_owned(), ports, policies.concat()].concat();
    let (endpoints, _) = compiled(&text);
    let takes = |port| {
        let list = &endpoints.services[&key(WEB, port)];
        list[0].takes_mesh_tls
    };
    assert_eq!([takes(80), takes(81)], want, "{policies:?}");
}

fn peers(namespace: &str, spec: &str) -> String {
    let name = if spec.contains("selector") {
        "workload"
    } else {
        "all"
    };
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ {spec} }}"
    )
}

/// Port by port and workload by workload, which Istio leaves out where a whole namespace is set to `DISABLE`.
#[test]
fn who_is_told_to_end_no_tls_takes_none() {
    let of_mesh = |mode: &str| peers("istio-system", &format!("mtls: {{ mode: {mode} }}"));
    let of_namespace = |mode: &str| peers("default", &format!("mtls: {{ mode: {mode} }}"));
    let of_workload = |rest: &str| {
        let selector = "selector: { matchLabels: { app: web } }";
        peers("default", &format!("{selector}, {rest}"))
    };
    check_takes_tls(&[], [true, true]);
    check_takes_tls(&[&of_mesh("STRICT")], [true, true]);
    check_takes_tls(&[&of_mesh("DISABLE")], [false, false]);
    check_takes_tls(
        &[&of_mesh("DISABLE"), &of_namespace("PERMISSIVE")],
        [true, true],
    );
    check_takes_tls(&[&of_namespace("DISABLE")], [false, false]);
    let strict = of_workload("mtls: { mode: STRICT }");
    check_takes_tls(&[&of_namespace("DISABLE"), &strict], [true, true]);
    let port = of_workload("portLevelMtls: { 9000: { mode: DISABLE }, 80: { mode: DISABLE } }");
    check_takes_tls(&[&port], [true, false]);
    let others = port.replace("app: web", "app: other");
    check_takes_tls(&[&others], [true, true]);
    check_takes_tls(
        &[&of_namespace("DISABLE").replace("default", "elsewhere")],
        [true, true],
    );
}

#[test]
fn identities_are_of_a_trust_domain_the_namespace_and_the_account() {
    let workload = Workload {
        namespace: "shop".into(),
        service_account: Some("cart".into()),
        ..Workload::default()
    };
    let identity = workload.identity("cluster.local");
    assert_eq!(
        identity.as_deref(),
        Some("spiffe://cluster.local/ns/shop/sa/cart")
    );
    assert_eq!(Workload::default().identity("cluster.local"), None);
}
