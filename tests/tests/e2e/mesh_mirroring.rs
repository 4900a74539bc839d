//! Copies of requests between pods.

use crate::mesh_bookinfo::versions_of;
use e2e::{After, Mesh, Origin, Pod, ServiceSpec, eventually, seed};

fn serve(pod: &Pod, name: &'static str) -> Origin {
    pod.serve(8000, move |exchange| {
        exchange.read_body()?;
        exchange.reply(200, &[], name.as_bytes())?;
        Ok(After::Keep)
    })
}

/// Seed 14: one version answers, the other gets a copy of everything and is heard by nobody.
#[test]
fn one_version_answers_and_the_other_gets_copies() {
    let mesh = Mesh::new();
    mesh.write("versions.yaml", versions_of("httpbin", &["v1", "v2"]));
    mesh.write("mirror.yaml", seed("14-mirror.yaml"));
    mesh.service(ServiceSpec::new("httpbin").port("http", 8000));
    let [one, two] = ["httpbin-v1", "httpbin-v2"].map(|name| mesh.pod(name).start());
    let client = mesh.pod("client-v1").start();
    let (first, second) = (serve(&one, "v1"), serve(&two, "v2"));
    for number in 0..20 {
        let answer = client.get(&format!("httpbin:8000/headers?number={number}"));
        assert_eq!((answer.status, answer.text()), (200, "v1".into()));
    }
    eventually("every request is copied", || second.hits() == 20);
    assert_eq!(first.hits(), 20);
    let copy = second.last_request();
    assert_eq!(copy.header("host"), Some("httpbin:8000"));
    // The copy comes from the client's sidecar, which says so, unlike that of a request that was asked for.
    let address = client.address().to_string();
    assert_eq!(copy.header("x-forwarded-for"), Some(&*address), "{copy:?}");
    assert_eq!(first.last_request().header("x-forwarded-for"), None);
    // A mirror that is not there hurts nobody.
    mesh.retire(&two);
    let cluster = "outbound|8000|v2|httpbin.default.svc.cluster.local";
    eventually("the mirror has no endpoint", || {
        client.agent().cluster(cluster)["endpoints"]
            .as_array()
            .is_some_and(Vec::is_empty)
    });
    assert_eq!(client.get("httpbin:8000/headers").text(), "v1");
}
