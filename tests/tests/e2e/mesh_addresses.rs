//! Addresses of both families, and those of Pods that clients choose themselves.

use e2e::{After, Mesh, Origin, Request, ServiceSpec, TcpOrigin};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a machine has IPv6 `mesh-agent iptables` captures it, and the sidecar listens to it too.
#[test]
fn both_families_of_addresses_are_captured() {
    let mesh = Mesh::new();
    let v4 = mesh.service(ServiceSpec::new("server").port("http", 9080).dual_stack());
    let [server, client] = ["server-v1", "client-v1"].map(|name| mesh.pod(name).start());
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 9080));
    let _app = server.enter(|| Origin::named_at(everywhere, "here"));
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1);
    for address in [SocketAddr::from((v4, 9080)), (v6, 9080).into()] {
        let mut connection = client.connect(address);
        let answer = connection.send(&Request::get("server:9080", "/"));
        assert_eq!(answer.expect("an answer").text(), "here", "{address}");
    }
}

/// Bytes for a pod of a headless Service are bytes for what the registry knows, as in Istio.
#[test]
fn a_headless_service_of_bytes_is_reached_by_its_pods() {
    let mesh = Mesh::new();
    mesh.headless(ServiceSpec::new("db").port("tcp", 7000));
    let pods = ["db-v1", "db-v2"].map(|name| mesh.pod(name).start());
    let client = mesh.pod("client-v1").start();
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7000));
    let [one, two] = &pods;
    let _one = one.enter(|| TcpOrigin::named_at(at, "one"));
    let _two = two.enter(|| TcpOrigin::named_at(at, "two"));
    for _ in 0..5 {
        for (pod, name) in [(one, "one"), (two, "two")] {
            let said = client.connect((pod.address(), 7000)).read_to_end();
            assert_eq!(String::from_utf8_lossy(&said), name);
        }
    }
}

/// A pod of a headless Service that is asked by its address is the one that answers: its clients have chosen it.
#[test]
fn the_pod_of_a_headless_service_that_is_asked_answers() {
    let mesh = Mesh::new();
    mesh.headless(ServiceSpec::new("db").port("http", 9080));
    let pods = ["db-v1", "db-v2"].map(|name| mesh.pod(name).start());
    let client = mesh.pod("client-v1").start();
    let _apps = pods.each_ref().map(|pod| {
        let name = pod.address().to_string();
        pod.serve(9080, move |exchange| {
            exchange.reply(200, &[], name.as_bytes())?;
            Ok(After::Keep)
        })
    });
    for _ in 0..5 {
        for pod in &pods {
            let mut connection = client.connect((pod.address(), 9080));
            let answer = connection.send(&Request::get("db:9080", "/"));
            let text = answer.expect("an answer").text();
            assert_eq!(text, pod.address().to_string());
        }
    }
}
