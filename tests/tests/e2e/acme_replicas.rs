//! Certificates that several gateways order together, with an API server and a real ACME server.

use crate::kubernetes_status::Cluster;
use crate::{SHOP, TO_SHOP, shop};
use e2e::{
    Gateway, Origin, PATIENCE, Pebble, PebbleOptions, Request, Setup, eventually, gateway_of,
    https_server, poll_for, server,
};
use fake_kubernetes::Fault;
use rustix::process::Signal;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NAMESPACE: Option<&str> = Some("istio-system");

/// A Lease of one that was killed has to run out first.
const TAKEN_OVER: Duration = Duration::from_secs(60);

/// One of several gateways with `shop.test` on port 443, not started yet.
fn replica(endpoint: u16) -> Setup {
    let https = https_server("https", &[SHOP], "mode: SIMPLE, credentialName: shop-cert");
    let servers = https + &server(80, "http", "HTTP", &["*"], "");
    shop(TO_SHOP, &[("shop", &[endpoint])])
        .file("gateway.yaml", gateway_of("edge", &servers))
        .port(443)
}

fn start(setup: Setup, cluster: &Cluster, pebble: &Pebble, challenge: &str) -> Gateway {
    let (directory, authority) = (pebble.directory(), pebble.authority_file());
    let (authority, kubeconfig) = (authority.display(), cluster.kubeconfig.path().display());
    setup
        .section(&format!(
            "\n[kubernetes]\n\
             kubeconfig = \"{kubeconfig}\"\n\
             \n[acme]\n\
             directory = \"{directory}\"\n\
             ca-certificate = \"{authority}\"\n\
             secrets = true\n\
             challenge = \"{challenge}\"\n\
             credentials = {{ shop-cert = [\"shop.test\"] }}\n"
        ))
        .start()
}

fn holder(cluster: &Cluster) -> Option<Value> {
    let lease = cluster
        .server
        .object("leases", NAMESPACE, "istio-ingressgateway-acme")?;
    lease["spec"].get("holderIdentity").cloned()
}

/// How many replicas say that they answer.
fn answering(cluster: &Cluster) -> usize {
    let leases = cluster.server.objects("leases");
    let labelled = |lease: &&Value| lease["metadata"]["labels"]["tidegate.io/acme"].is_string();
    leases.iter().filter(labelled).count()
}

/// The one that orders, and the one that is asked.
fn two(cluster: &Cluster, origin: &Origin, challenge: &str) -> (Gateway, Gateway, Pebble) {
    let (first, second) = (replica(origin.port()), replica(origin.port()));
    let asked = PebbleOptions::new(second.bound(80), second.bound(443));
    let mut pebble = Pebble::stopped(&asked);
    let first = start(first, cluster, &pebble, challenge);
    eventually("it is the turn of the first", || holder(cluster).is_some());
    let second = start(second, cluster, &pebble, challenge);
    eventually("both answer", || answering(cluster) == 2);
    pebble.run();
    (first, second, pebble)
}

#[track_caller]
fn check_serves(gateway: &Gateway, pebble: &Pebble) {
    let client = pebble.client(SHOP);
    let connection = poll_for(TAKEN_OVER, || client.open(gateway.https()).ok());
    let mut connection = connection.expect("a certificate that is served");
    let response = connection
        .send(&Request::get(SHOP, "/"))
        .expect("an answer");
    assert_eq!((response.status, response.text()), (200, "shop".to_owned()));
}

fn issued(pebble: &Pebble) -> usize {
    let log = pebble.log();
    log.lines()
        .filter(|line| line.contains("Issued certificate serial"))
        .count()
}

#[test]
fn one_orders_and_another_answers_and_all_serve_it() {
    let origin = Origin::named("shop");
    for challenge in ["http-01", "tls-alpn-01"] {
        let cluster = Cluster::start();
        let (first, second, pebble) = two(&cluster, &origin, challenge);
        check_serves(&first, &pebble);
        check_serves(&second, &pebble);
        assert_eq!(
            (pebble.accounts(), pebble.orders(), issued(&pebble)),
            (1, 1, 1)
        );
        let secret = cluster
            .server
            .object("secrets", NAMESPACE, "shop-cert")
            .expect("a Secret");
        assert_eq!(secret["type"], "kubernetes.io/tls");
        eventually("nothing is answered any more", || {
            let name = "istio-ingressgateway-acme-challenges";
            let secret = cluster.server.object("secrets", NAMESPACE, name);
            // `[]`
            secret.is_some_and(|secret| secret["data"]["challenges.json"] == "W10=")
        });
    }
}

#[test]
fn what_one_that_dies_leaves_undone_another_does() {
    let cluster = Cluster::start();
    let is_silent = Arc::new(AtomicBool::new(true));
    let silent = Arc::clone(&is_silent);
    cluster.server.fail_when(move |asked| {
        let is_about_challenges =
            asked.name.as_deref() == Some("istio-ingressgateway-acme-challenges");
        let is_write = asked.method.as_str() == "PUT" && is_about_challenges;
        (is_write && silent.load(Ordering::Relaxed)).then_some(Fault::Silence)
    });
    let origin = Origin::named("shop");
    let (mut first, second, pebble) = two(&cluster, &origin, "http-01");
    let before = holder(&cluster);
    let is_ordered = poll_for(PATIENCE, || (pebble.orders() == 1).then_some(()));
    assert!(is_ordered.is_some(), "nothing is ordered");
    first.signal(Signal::KILL);
    assert!(first.ended_within(PATIENCE).is_some());
    is_silent.store(false, Ordering::Relaxed);
    check_serves(&second, &pebble);
    assert_ne!(holder(&cluster), before);
    assert_eq!((pebble.accounts(), issued(&pebble)), (1, 1));
}
