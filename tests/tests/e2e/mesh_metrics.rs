//! What sidecars count: each side of a request or connection, and who was on the other.

use crate::mesh_tls::{Secured, peers};
use e2e::{Mesh, Pod, Samples, ServiceSpec, TcpOrigin, eventually};
use std::net::{Ipv4Addr, SocketAddr};

const REQUESTS: &str = "istio_requests_total";
const OPENED: &str = "istio_tcp_connections_opened_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";

/// Who asks and who is asked, as both sides have it.
const BOTH: [(&str, &str); 12] = [
    ("source_workload", "client-v1"),
    ("source_workload_namespace", "default"),
    ("source_app", "client"),
    ("source_version", "v1"),
    ("source_canonical_service", "client"),
    (
        "source_principal",
        "spiffe://cluster.local/ns/default/sa/client",
    ),
    ("destination_workload", "server-v1"),
    ("destination_workload_namespace", "default"),
    ("destination_app", "server"),
    ("destination_version", "v1"),
    (
        "destination_principal",
        "spiffe://cluster.local/ns/default/sa/server",
    ),
    ("destination_service", "server.default.svc.cluster.local"),
];

fn samples(pod: &Pod) -> Samples {
    pod.agent().metrics()
}

/// What this side of both counts.
#[track_caller]
fn wait_for(pod: &Pod, name: &str, own: &[(&str, &str)], count: f64) {
    let labels = [&BOTH[..], own].concat();
    let counted = || samples(pod).sum(name, &labels);
    let seen = e2e::poll_for(e2e::PATIENCE, || (counted() == count).then_some(()));
    assert!(
        seen.is_some(),
        "{name} {own:?}: {:?}",
        samples(pod).labels(name)
    );
}

#[test]
fn both_sides_count_a_request() {
    let world = Secured::with(&peers("STRICT"));
    let _origin = world.echo(9080);
    for _ in 0..3 {
        assert_eq!(world.client.get("server:9080/").status, 200);
    }
    let answered = ("response_code", "200");
    let source = [
        ("reporter", "source"),
        answered,
        ("connection_security_policy", "unknown"),
    ];
    wait_for(&world.client, REQUESTS, &source, 3.0);
    let secured = ("connection_security_policy", "mutual_tls");
    wait_for(
        &world.server,
        REQUESTS,
        &[("reporter", "destination"), answered, secured],
        3.0,
    );
    // Each counts its own side alone.
    assert_eq!(samples(&world.client).sum(REQUESTS, &[]), 3.0);
    assert_eq!(samples(&world.server).sum(REQUESTS, &[]), 3.0);
}

#[test]
fn both_sides_count_a_connection() {
    let world = Secured::with(&peers("STRICT"));
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7000));
    let _origin = world.server.enter(|| TcpOrigin::echo_at(at));
    let mut connection = world.client.connect(world.client.resolve("server", 7000));
    assert_eq!(connection.echo(b"hello").expect("an echo"), b"hello");
    let (source, destination) = ([("reporter", "source")], [("reporter", "destination")]);
    wait_for(&world.client, OPENED, &source, 1.0);
    wait_for(&world.server, OPENED, &destination, 1.0);
    drop(connection);
    for (pod, own) in [(&world.client, &source), (&world.server, &destination)] {
        wait_for(pod, CLOSED, own, 1.0);
        wait_for(pod, "istio_tcp_received_bytes_total", own, 5.0);
        wait_for(pod, "istio_tcp_sent_bytes_total", own, 5.0);
    }
}

/// Promise 18: whatever a client says, and though it shows nothing, there is one series for it.
#[test]
fn who_asks_in_clear_is_known_by_its_address() {
    let world = Secured::with(&peers("PERMISSIVE"));
    let _origin = world.echo(9080);
    world
        .server
        .agent()
        .wait_for_log(&["Pod default/plain added"]);
    let url = format!("{}:9080/", world.server.address());
    for number in 0..5 {
        let host = format!("host-{number}.test");
        let mut connection = world.plain.connect((world.server.address(), 9080));
        let request = e2e::Request::get(&host, "/");
        assert_eq!(connection.send(&request).expect("an answer").status, 200);
    }
    assert_eq!(world.plain.get(&url).status, 200);
    let plain = [
        ("reporter", "destination"),
        ("source_workload", "plain"),
        ("source_principal", "unknown"),
        ("connection_security_policy", "none"),
        ("destination_workload", "server-v1"),
    ];
    eventually("the requests are counted", || {
        samples(&world.server).sum(REQUESTS, &plain) == 6.0
    });
    assert_eq!(samples(&world.server).count(REQUESTS, &[]), 1);
}

/// What is refused is counted as Istio counts what goes into a black hole.
#[test]
fn what_is_refused_is_counted() {
    let mesh = Mesh::new();
    mesh.service(ServiceSpec::new("server").port("http", 9080));
    let client = mesh
        .pod("client-v1")
        .config("mesh", "protocol-detection-timeout = \"100ms\"");
    let client = client.start();
    let outside = (Ipv4Addr::new(198, 51, 100, 10), 25);
    assert!(client.connect(outside).read_to_end().is_empty());
    let url = format!("{}:80/", outside.0);
    assert_eq!(client.get(&url).status, 502);
    let refused = [
        ("reporter", "source"),
        ("source_workload", "client-v1"),
        ("destination_service_name", "BlackHoleCluster"),
    ];
    eventually("both are counted", || {
        let samples = samples(&client);
        samples.sum(REQUESTS, &refused) == 1.0 && samples.sum(CLOSED, &refused) == 1.0
    });
}
