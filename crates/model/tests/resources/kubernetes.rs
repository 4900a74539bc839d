//! Kubernetes' own kinds: what is wanted is read and checked, the rest is skipped.

use crate::support::{check_told, parse};
use model::*;

fn everything() -> Vec<Resource> {
    let parsed = parse(include_str!("everything/kubernetes.yaml"));
    let diagnostics: Vec<_> = parsed.all_diagnostics().collect();
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    parsed
        .objects
        .iter()
        .filter_map(|object| object.outcome.resource().cloned())
        .collect()
}

#[test]
fn services() {
    let found = everything();
    let [
        Resource::Service(cart),
        Resource::Service(headless),
        Resource::Service(alias),
        ..,
    ] = &found[..]
    else {
        panic!()
    };
    assert_eq!(
        (cart.service_type, cart.headless),
        (ServiceType::NodePort, false)
    );
    assert_eq!(cart.cluster_ips.len(), 2);
    assert!(cart.publish_not_ready_addresses);
    assert!(cart.export_to.reaches("shop") && !cart.export_to.reaches("web"));
    let ports: Vec<_> = cart
        .ports
        .iter()
        .map(|port| (port.port, port.protocol, port.transport))
        .collect();
    let want = [
        (80, PortProtocol::Http, Transport::Tcp),
        (90, PortProtocol::Grpc, Transport::Tcp),
        (53, PortProtocol::Udp, Transport::Udp),
    ];
    assert_eq!(ports, want);
    assert_eq!(
        cart.ports[0].target_port,
        TargetPort::Name("web".to_owned())
    );
    assert_eq!(cart.ports[2].target_port, TargetPort::Number(53));
    assert!(headless.headless && headless.cluster_ips.is_empty());
    assert_eq!(
        alias.external_name.as_ref().unwrap().as_str(),
        "other.example.com"
    );
}

#[test]
fn pods() {
    let found = everything();
    let Some(Resource::Pod(pod)) = found.get(3) else {
        panic!()
    };
    assert_eq!((pod.pod_ips.len(), pod.phase), (2, Some(PodPhase::Running)));
    assert!(!pod.ready && pod.terminating && !pod.host_network);
    assert_eq!(pod.node_name.as_deref(), Some("node-1"));
    let owner = pod.owner.as_ref().unwrap();
    assert_eq!((&*owner.kind, &*owner.name), ("ReplicaSet", "cart-7d9f"));
    assert_eq!(
        (pod.ports[0].name.as_deref(), pod.ports[0].container_port),
        (Some("web"), 8080)
    );
}

#[test]
fn a_pod_without_conditions_counts_as_ready() {
    let parsed =
        parse("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.1}\n");
    let Some(Resource::Pod(pod)) = parsed.objects[0].outcome.resource() else {
        panic!()
    };
    assert!(pod.ready);
}

#[test]
fn secrets_and_namespaces() {
    let found = everything();
    let [
        ..,
        Resource::Secret(secret),
        Resource::Namespace(namespace),
        _,
    ] = &found[..]
    else {
        panic!()
    };
    assert_eq!(secret.secret_type, "kubernetes.io/tls");
    assert_eq!(secret.data["tls.crt"].as_bytes(), b"hello");
    assert_eq!(secret.data["tls.key"].as_bytes(), b"hush");
    assert_eq!(secret.data["empty"].as_bytes(), b"");
    assert_eq!(namespace.meta.namespace(), "");
}

#[test]
fn endpoint_slices() {
    let found = everything();
    let Some(Resource::EndpointSlice(slice)) = found.last() else {
        panic!()
    };
    assert_eq!(slice.service_name.as_deref(), Some("cart"));
    let [first, second] = &slice.endpoints[..] else {
        panic!()
    };
    assert_eq!(
        (first.ready, first.serving, first.terminating),
        (false, true, true)
    );
    assert_eq!(
        (second.ready, second.serving, second.terminating),
        (true, true, false)
    );
    assert_eq!(&*first.pod.as_ref().unwrap().name, "cart-1");
    assert_eq!(
        (slice.ports[0].port, slice.ports[1].name.as_str()),
        (Some(8080), "")
    );
}

#[test]
fn a_slice_may_have_names() {
    let parsed = parse(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: FQDN\nendpoints: [{addresses: [A.example.com.]}]\n",
    );
    let Some(Resource::EndpointSlice(slice)) = parsed.objects[0].outcome.resource() else {
        panic!()
    };
    let [endpoint] = &slice.endpoints[..] else {
        panic!()
    };
    assert_eq!(endpoint.names[0].as_str(), "a.example.com");
    assert!(endpoint.addresses.is_empty());
    check_told(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: FQDN\nendpoints: [{addresses: [a_b!]}]\n",
        &[
            "error invalid_host 5:26 endpoints[0].addresses[0]: host \"a_b!\" has an invalid label \"a_b!\"",
        ],
    );
}

#[test]
fn a_node_belongs_to_no_namespace_and_has_labels() {
    let parsed = parse(
        "apiVersion: v1\nkind: Node\nmetadata: {name: a, labels: {topology.kubernetes.io/zone: z}}\nspec: {podCIDR: 10.0.0.0/8}\n",
    );
    let Some(Resource::Node(node)) = parsed.objects[0].outcome.resource() else {
        panic!()
    };
    assert_eq!(node.meta.namespace(), "");
    assert_eq!(node.meta.labels["topology.kubernetes.io/zone"], "z");
}

#[test]
fn what_is_read_is_checked() {
    check_told(
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  clusterIP: nowhere\n  ports:\n  - {port: 0}\n  - {port: 80, name: a, targetPort: 70000}\n  - {port: 80, name: a, protocol: ICMP}\n",
        &[
            "error invalid_value 5:14 spec.clusterIP: \"nowhere\" is no IP address",
            "error out_of_range 7:12 spec.ports[0].port: 0 is not in range 1..65535",
            "error out_of_range 8:37 spec.ports[1].targetPort: 70000 is not in range 1..65535",
            "error duplicate_name 9:5 spec.ports[2]: port 80 is there twice",
            "error duplicate_name 9:5 spec.ports[2]: port name \"a\" is there twice",
            "error invalid_enum 9:35 spec.ports[2].protocol: unknown value \"ICMP\"",
        ],
    );
    check_told(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {a: '%'}\n",
        &["error invalid_value 4:11 data.a: is no base64"],
    );
    check_told(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: [a]}]\nports: [{port: 0}]\n",
        &[
            "error invalid_value 5:26 endpoints[0].addresses[0]: \"a\" is no IP address",
            "error out_of_range 6:16 ports[0].port: 0 is not in range 1..65535",
        ],
    );
    check_told(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\nspec: {}\n",
        &["error duplicate_field 5:1 spec: field \"spec\" is there twice"],
    );
}

#[test]
fn resources_are_kept_by_identity() {
    let mut resources: Resources = everything().into_iter().collect();
    assert_eq!((resources.len(), resources.services.len()), (7, 3));
    let cart = resources
        .services
        .values()
        .find(|service| service.meta.name() == "cart")
        .unwrap()
        .clone();
    let reference = cart.meta.reference.clone();
    assert_eq!(
        resources.find(&reference),
        Some(Resource::Service(cart.clone()))
    );
    assert!(resources.insert(Resource::Service(cart.clone())).is_some());
    assert_eq!(resources.remove(&reference), Some(Resource::Service(cart)));
    assert_eq!(resources.remove(&reference), None);
    assert_eq!((resources.len(), resources.iter().count()), (6, 6));
}
