//! Certificates of sidecars: what is in them, and what becomes of them.

use crate::mesh_tls::{CLIENT, HTTP, Secured, TCP, dial, peers};
use e2e::{Authority, Load, Mesh, Origin, Request, ServiceSpec, TcpOrigin, eventually};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// How long certificates are replaced.
const SECONDS: u64 = 8;

/// A client expects the account that a pod has: who has another one, of the same authority even, is not spoken to.
#[test]
fn a_server_with_another_account_is_not_trusted() {
    let mesh = Mesh::new();
    let authority = Authority::new("mesh");
    mesh.service(ServiceSpec::new("server").port("http", HTTP));
    let other = authority.issue(&["spiffe://cluster.local/ns/default/sa/other"]);
    let setup = mesh.pod("server-v1").account("server");
    let server = setup.certificate(other, authority.pem()).start();
    let client = mesh.pod("client-v1").identity(&authority).start();
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP));
    let origin = server.enter(|| Origin::echo_at(at));
    let refused = client.get("server:9080/refused");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let record = client.agent().logged("/refused");
    let flags = record["response_flags"].as_str().unwrap_or_default();
    assert!(flags.contains("UF"), "{record}");
    assert_eq!(origin.connections(), 0);
    // With its own it is.
    server.put_identity(&authority.issue(&[&server.spiffe_id()]), &authority.pem());
    eventually("the server is trusted", || {
        client.get("server:9080/").status == 200
    });
}

/// Promises 6 and 8: both sides get new certificates again and again, and then another authority, and no request fails.
#[test]
fn certificates_of_both_sides_are_replaced_under_load_ten_times_a_second() {
    let world = Secured::with(&peers("STRICT"));
    let origin = world.echo(HTTP);
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, TCP));
    let _bytes = world.server.enter(|| TcpOrigin::echo_at(everywhere));
    let mut lasting = world.client.connect((world.service, TCP));
    assert_eq!(lasting.echo(b"before").expect("an echo"), b"before");
    let steady = Load::dialling(
        dial(&world),
        3,
        &Request::get("server:9080", "/"),
        |answer| answer.status == 200,
    );
    // Each of these takes a new connection, which is no new one between the sidecars.
    let closing = Request::get("server:9080", "/").header("Connection", "close");
    let hasty = Load::dialling(dial(&world), 1, &closing, |answer| answer.status == 200);
    let next = Authority::new("next");
    let both = format!("{}{}", world.authority.pem(), next.pem());
    let started = Instant::now();
    let mut round = 0;
    while started.elapsed() < Duration::from_secs(SECONDS) {
        let is_late = started.elapsed() > Duration::from_secs(SECONDS / 2);
        // Both are trusted before the first certificate of the new one comes.
        let issuer = if is_late { &next } else { &world.authority };
        for pod in [&world.client, &world.server] {
            pod.put_identity(&issuer.issue(&[&pod.spiffe_id()]), &both);
        }
        round += 1;
        let until = Duration::from_millis(100) * round;
        std::thread::sleep(until.saturating_sub(started.elapsed()));
    }
    let reports = [steady.stop(), hasty.stop()];
    for report in &reports {
        assert_eq!(
            report.failed, 0,
            "{} served: {:?}",
            report.served, report.failures
        );
        assert!(report.served > 0);
    }
    assert!(origin.hits() >= reports.iter().map(|report| report.served).sum());
    assert_eq!(lasting.echo(b"after").expect("an echo"), b"after");
    // Who only has the first authority's is not heard any more, once that is gone.
    for pod in [&world.client, &world.server] {
        pod.put_identity(&next.issue(&[&pod.spiffe_id()]), &next.pem());
    }
    let old = world.authority.issue(&[CLIENT]);
    eventually("the first authority is forgotten", || {
        world.ask_in_tls(HTTP, Some(&old)).is_err()
    });
    assert_eq!(world.client.get("server:9080/").status, 200);
}

/// A certificate that is broken is told of, and the one before stays.
#[test]
fn a_broken_certificate_replaces_nothing() {
    let world = Secured::with(&peers("STRICT"));
    let _origin = world.echo(HTTP);
    assert_eq!(world.client.get("server:9080/").status, 200);
    let mut broken = world.authority.issue(&[&world.server.spiffe_id()]);
    broken.chain = "no certificate\n".to_owned();
    world.server.put_identity(&broken, &world.authority.pem());
    world
        .server
        .agent()
        .wait_for_log(&["identity", "cert-chain.pem"]);
    let inside = world.authority.issue(&[CLIENT]);
    assert_eq!(
        world.ask_in_tls(HTTP, Some(&inside)).expect("an answer"),
        200
    );
}
