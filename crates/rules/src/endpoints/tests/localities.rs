//! Where endpoints are.

use super::*;

const NODE: &str = "
apiVersion: v1
kind: Node
metadata:
  name: node-1
  labels:
    topology.kubernetes.io/region: eu
    topology.kubernetes.io/zone: eu-a
    topology.istio.io/subzone: rack-7
---
apiVersion: v1
kind: Node
metadata: { name: node-2, labels: { topology.kubernetes.io/region: us } }
---
";

#[track_caller]
fn check_localities(text: &str, want: &[&str]) {
    let mut compiler = Compiler::new(CompileOptions::default());
    let (endpoints, _) = compiler.endpoints(&resources(text), &Arc::default());
    let list = endpoints.services[&key(WEB, 80)].iter();
    let got: Vec<_> = list.map(|one| &*one.locality).collect();
    assert_eq!(got, want);
}

#[test]
fn a_pod_is_where_its_label_says_or_else_where_its_node_is() {
    let at = |name: &str, node: &str, address: &str| {
        let rest =
            format!("spec: {{ nodeName: {node}, containers: [] }}\nstatus: {{ podIP: {address} }}");
        pod(name, &rest)
    };
    let labelled = at("b", "node-1", "10.0.0.2").replace(
        "app: web }",
        "app: web, istio-locality: region.zone.subzone }",
    );
    let pods = [
        at("a", "node-1", "10.0.0.1"),
        labelled,
        at("c", "node-2", "10.0.0.3"),
        at("d", "node-3", "10.0.0.4"),
    ];
    let text = [SERVICE, NODE, &pods.concat()].concat();
    check_localities(
        &text,
        &["eu/eu-a/rack-7", "region/zone/subzone", "us//", ""],
    );
}

#[test]
fn an_endpoint_of_a_slice_is_where_its_node_is_or_in_its_zone() {
    let slice = SLICE[..SLICE.find("endpoints:").unwrap()].to_owned()
        + "endpoints:
- { addresses: [10.1.0.1], nodeName: node-1, zone: eu-b }
- { addresses: [10.1.0.2], nodeName: node-2, zone: us-b }
- { addresses: [10.1.0.3], zone: z }
- { addresses: [10.1.0.4] }
- { addresses: [10.1.0.5], targetRef: { kind: Pod, namespace: default, name: a } }
---
";
    let a = pod("a", "spec: { nodeName: node-1, containers: [] }");
    let text = [SERVICE, NODE, &slice, &a].concat();
    check_localities(
        &text,
        &["eu/eu-a/rack-7", "us/us-b/", "/z/", "", "eu/eu-a/rack-7"],
    );
}

#[test]
fn a_workload_entry_says_where_it_is() {
    check_localities(&[SERVICE, ENTRY].concat(), &["r/z/s"]);
}
