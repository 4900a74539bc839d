//! Endpoints that fail are taken out of rotation, and come back.

use crate::{SHOP, TO_SHOP, shop, shop_with, tcp_with};
use e2e::{
    Connection, Gateway, Httpbin, Origin, PATIENCE, Port, Switch, TcpOrigin, destination_rule,
    eventually, poll_for, seed, service, virtual_service,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const CLUSTER: &str = "outbound|8000||shop.default.svc.cluster.local";
const TCP_CLUSTER: &str = "outbound|7000||shop.default.svc.cluster.local";
const BASE: Duration = Duration::from_millis(500);

/// In turn, so that nobody is left out by chance.
fn policy(detection: &str) -> String {
    format!(
        "trafficPolicy:\n  \
           loadBalancer: {{simple: ROUND_ROBIN}}\n  \
           outlierDetection: {{maxEjectionPercent: 100, interval: 200ms, {detection}}}\n"
    )
}

/// For as long as any test.
fn lasting(detection: &str) -> String {
    policy(&format!("baseEjectionTime: 300s, {detection}"))
}

/// Two origins, in turn: one is well, the other answers with this status.
fn beside_a_good_one(status: u16, policy: &str) -> (Switch, Switch, Gateway) {
    let (good, bad) = (Switch::new("good"), Switch::answering("bad", status));
    let gateway = shop_with(policy, &[good.port(), bad.port()]).start();
    (good, bad, gateway)
}

/// Sends requests until one more has reached this origin.
#[track_caller]
fn until_hit(gateway: &Gateway, origin: &Switch) -> Vec<u16> {
    let before = origin.hits();
    let mut statuses = Vec::new();
    let hit = poll_for(PATIENCE, || {
        statuses.push(gateway.get(SHOP, "/").status);
        (origin.hits() > before).then_some(())
    });
    assert!(hit.is_some(), "it gets nothing any more: {statuses:?}");
    statuses
}

/// Sends requests until as many endpoints are ejected.
#[track_caller]
fn until_ejected(gateway: &Gateway, count: u32) {
    eventually(&format!("{count} endpoints are ejected"), || {
        gateway.get(SHOP, "/");
        ejected(gateway) == f64::from(count)
    });
}

fn ejected(gateway: &Gateway) -> f64 {
    ejected_of(gateway, CLUSTER)
}

fn ejected_of(gateway: &Gateway, cluster: &str) -> f64 {
    let labels = [("cluster", cluster)];
    gateway.metrics().sum("tidegate_ejected_endpoints", &labels)
}

fn ejections(gateway: &Gateway, cause: &str) -> f64 {
    ejections_of(gateway, CLUSTER, cause)
}

fn ejections_of(gateway: &Gateway, cluster: &str, cause: &str) -> f64 {
    let labels = [("cluster", cluster), ("cause", cause)];
    gateway.metrics().sum("tidegate_ejections_total", &labels)
}

/// Connections to upstreams that were refused.
fn refused(gateway: &Gateway) -> f64 {
    let name = "tidegate_upstream_connect_failures_total";
    gateway.metrics().sum(name, &[])
}

/// Whether the page of clusters has this endpoint as ejected.
#[track_caller]
fn is_shown_as_ejected(gateway: &Gateway, cluster: &str, port: u16) -> bool {
    let cluster = gateway.cluster(cluster);
    let address = format!("127.0.0.1:{port}");
    let mut endpoints = cluster["endpoints"].as_array().into_iter().flatten();
    let endpoint = endpoints.find(|endpoint| endpoint["address"] == address.as_str());
    let endpoint = endpoint.expect("it is there");
    let ejected = endpoint["ejected"] == true;
    assert_eq!(endpoint["in_rotation"], !ejected, "{endpoint}");
    ejected
}

fn statuses(gateway: &Gateway, count: usize) -> BTreeSet<u16> {
    (0..count).map(|_| gateway.get(SHOP, "/").status).collect()
}

#[test]
fn who_fails_in_a_row_gets_nothing_for_the_base_time_and_then_returns() {
    let policy = policy("consecutive5xxErrors: 3, baseEjectionTime: 500ms");
    let (_good, bad, gateway) = beside_a_good_one(500, &policy);
    let first = Instant::now();
    (0..3).for_each(|_| drop(until_hit(&gateway, &bad)));
    bad.set(200);
    let between = until_hit(&gateway, &bad);
    assert!(first.elapsed() >= BASE, "back after {:?}", first.elapsed());
    assert!(between.len() > 2, "the other one served meanwhile");
    assert!(between.iter().all(|status| *status == 200), "{between:?}");
    // It takes part again, like the other.
    assert_eq!(statuses(&gateway, 20), [200].into());
    assert!(bad.hits() >= 4 + 5, "{} of 20", bad.hits() - 4);
}

#[test]
fn the_second_time_lasts_longer() {
    let policy = policy("consecutive5xxErrors: 1, baseEjectionTime: 500ms");
    let (_good, bad, gateway) = beside_a_good_one(503, &policy);
    until_hit(&gateway, &bad);
    // It comes back, fails at once, and is out for twice the time.
    until_hit(&gateway, &bad);
    let second = Instant::now();
    until_hit(&gateway, &bad);
    // The answer was there a little before the clock was read.
    let slack = Duration::from_millis(100);
    assert!(
        second.elapsed() + slack >= 2 * BASE,
        "{:?}",
        second.elapsed()
    );
    assert!(ejections(&gateway, "consecutive_5xx") >= 2.0);
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let (good, bad) = (Switch::new("good"), Switch::new("bad"));
    let policy = lasting("consecutive5xxErrors: 3");
    let gateway = shop_with(&policy, &[good.port(), bad.port()]).start();
    for _ in 0..5 {
        bad.set(500);
        (0..2).for_each(|_| drop(until_hit(&gateway, &bad)));
        bad.set(200);
        until_hit(&gateway, &bad);
    }
    assert_eq!(ejected(&gateway), 0.0);
    bad.set(500);
    until_ejected(&gateway, 1);
}

#[test]
fn no_more_than_their_share_is_ejected() {
    for (percent, count) in [(100, 3), (50, 2), (10, 0)] {
        let good = Switch::new("good");
        let bad = ["b", "c", "d"].map(|name| Switch::answering(name, 500));
        let policy = format!(
            "trafficPolicy:\n  loadBalancer: {{simple: ROUND_ROBIN}}\n  outlierDetection:\n    \
             {{consecutive5xxErrors: 2, baseEjectionTime: 300s, maxEjectionPercent: {percent}}}\n"
        );
        let ports = [good.port(), bad[0].port(), bad[1].port(), bad[2].port()];
        let gateway = shop_with(&policy, &ports).start();
        until_ejected(&gateway, count);
        let seen = statuses(&gateway, 40);
        let want = match percent {
            100 => [200].into(),
            _ => [200, 500].into(),
        };
        assert_eq!(seen, want, "{percent} %");
        assert_eq!(ejected(&gateway), f64::from(count), "{percent} %");
    }
}

/// The page's breaker, which is written as Istio 0.8 had it: one error of 5xx is enough.
#[test]
fn the_page_s_breaker_ejects_after_one_error_and_then_nobody_is_left() {
    let origin = Switch::answering("httpbin", 500);
    let rules = "- route: [{destination: {host: httpbin, port: {number: 8000}}}]\n";
    let gateway = e2e::Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("rules.yaml", virtual_service("httpbin", SHOP, rules))
        .file("breaker.yaml", seed("02-circuit-breaker.yaml"))
        .file("service.yaml", service("httpbin", 8000, &[origin.port()]))
        .start();
    assert_eq!(gateway.get(SHOP, "/first").status, 500);
    let response = gateway.get(SHOP, "/second");
    assert_eq!(
        (response.status, response.text().as_str()),
        (503, "no healthy upstream")
    );
    assert_eq!(origin.hits(), 1);
    let record = gateway.logged("/second");
    assert_eq!(record["response_flags"], "UH", "{record}");
    assert!(record["reason"].is_string(), "{record}");
}

/// The real thing: one of two httpbins is killed, and started again.
#[test]
fn a_killed_httpbin_is_ejected_and_returns_when_it_is_back() {
    let (good, mut flapping) = (Httpbin::start(), Httpbin::start());
    let policy = policy("consecutive5xxErrors: 2, baseEjectionTime: 500ms");
    let gateway = shop_with(&policy, &[good.port(), flapping.port()]).start();
    let get = |path: &str| gateway.get(SHOP, path).status;
    (0..10).for_each(|_| assert_eq!(get("/status/200"), 200));
    flapping.stop();
    let address = format!("127.0.0.1:{}", flapping.port());
    eventually("it is ejected", || {
        // Nobody notices: what cannot connect is sent to the other one.
        assert_eq!(get("/status/200"), 200);
        ejected(&gateway) == 1.0
    });
    gateway.wait_for_log(&["ejected", &address, "consecutive_5xx"]);

    flapping.start_again();
    eventually("it is used again", || {
        assert_eq!(get("/status/204"), 204);
        let records = gateway.access_log();
        records.iter().any(|record| {
            record["response_code"] == 204 && record["upstream_host"] == address.as_str()
        })
    });
    assert_eq!(ejected(&gateway), 0.0);
    gateway.wait_for_log(&["back", &address]);
}

#[test]
fn connections_that_cannot_be_made_count_as_errors() {
    let (good, dead) = (Origin::named("good"), Port::reserve());
    let policy = lasting("consecutive5xxErrors: 3");
    let gateway = shop_with(&policy, &[good.port(), dead.number()]).start();
    until_ejected(&gateway, 1);
    assert_eq!(ejections(&gateway, "consecutive_5xx"), 1.0);
    let before = refused(&gateway);
    assert_eq!(statuses(&gateway, 30), [200].into());
    assert_eq!(refused(&gateway), before, "it is still tried");
}

#[test]
fn connections_that_cannot_be_made_are_counted_apart_when_asked_for() {
    let (good, bad, dead) = (
        Switch::new("good"),
        Switch::answering("bad", 500),
        Port::reserve(),
    );
    let policy = lasting(
        "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, \
         consecutive5xxErrors: 0",
    );
    let ports = [good.port(), bad.port(), dead.number()];
    let gateway = shop_with(&policy, &ports).start();
    until_ejected(&gateway, 1);
    let cause = "consecutive_local_origin_failure";
    assert_eq!(ejections(&gateway, cause), 1.0);
    assert_eq!(statuses(&gateway, 20), [200, 500].into());
    assert_eq!(ejected(&gateway), 1.0);
}

/// A connection of TCP is all that there is to judge by. Clients never notice: another endpoint is tried.
#[test]
fn a_tcp_endpoint_that_refuses_is_ejected() {
    let cases = [
        ("consecutive5xxErrors: 3", "consecutive_5xx"),
        (
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3, \
             consecutive5xxErrors: 0",
            "consecutive_local_origin_failure",
        ),
    ];
    for (detection, cause) in cases {
        let (good, dead) = (TcpOrigin::named("good"), Port::reserve());
        let gateway = tcp_with(&lasting(detection), &[good.port(), dead.number()]).start();
        let connect = || {
            let mut connection = Connection::open(gateway.bound(9000));
            assert_eq!(connection.read_to_end(), b"good", "{cause}");
        };
        eventually("it is ejected", || {
            connect();
            ejected_of(&gateway, TCP_CLUSTER) == 1.0
        });
        assert_eq!(ejections_of(&gateway, TCP_CLUSTER, cause), 1.0, "{cause}");
        assert_eq!(refused(&gateway), 3.0, "{cause}");
        assert!(is_shown_as_ejected(&gateway, TCP_CLUSTER, dead.number()));
        (0..20).for_each(|_| connect());
        assert_eq!(refused(&gateway), 3.0, "{cause}: it is still tried");
    }
}

#[test]
fn gateway_errors_are_502_503_and_504() {
    let policy = lasting("consecutiveGatewayErrors: 2, consecutive5xxErrors: 0");
    let (_good, bad, gateway) = beside_a_good_one(500, &policy);
    (0..10).for_each(|_| drop(until_hit(&gateway, &bad)));
    assert_eq!(ejected(&gateway), 0.0, "500 is none");
    bad.set(504);
    until_ejected(&gateway, 1);
    assert_eq!(ejections(&gateway, "consecutive_gateway_failure"), 1.0);
    assert_eq!(ejections(&gateway, "consecutive_5xx"), 0.0);
    assert_eq!(statuses(&gateway, 20), [200].into());
}

#[test]
fn other_statuses_can_be_errors() {
    let policy = lasting("consecutive5xxErrors: 2, outlierDetectionHttpErrorCodes: [429]");
    let (_good, bad, gateway) = beside_a_good_one(500, &policy);
    (0..10).for_each(|_| drop(until_hit(&gateway, &bad)));
    assert_eq!(ejected(&gateway), 0.0, "500 is none now");
    bad.set(429);
    until_ejected(&gateway, 1);
}

#[test]
fn in_a_panic_all_are_used() {
    let bad = ["a", "b"].map(|name| Switch::answering(name, 500));
    let policy = lasting("consecutive5xxErrors: 1, minHealthPercent: 60");
    let gateway = shop_with(&policy, &[bad[0].port(), bad[1].port()]).start();
    let bodies: BTreeSet<String> = (0..20).map(|_| gateway.get(SHOP, "/").text()).collect();
    // No `no healthy upstream` among them, and nobody spared.
    assert_eq!(bodies, ["a", "b"].map(String::from).into());
    assert!(bad.iter().all(|origin| origin.hits() > 5));
}

#[test]
fn without_outlier_detection_nobody_is_ejected() {
    let policy = "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n";
    let (_good, bad, gateway) = beside_a_good_one(500, policy);
    statuses(&gateway, 40);
    assert!((15..=25).contains(&bad.hits()), "{} of 40", bad.hits());
    assert_eq!(ejected(&gateway), 0.0);
}

/// Who is ejected is kept apart from what is configured.
#[test]
fn a_change_of_rules_and_endpoints_lets_nobody_back_in() {
    let policy = lasting("consecutive5xxErrors: 2");
    let (good, bad, gateway) = beside_a_good_one(500, &policy);
    let late = Switch::new("late");
    until_ejected(&gateway, 1);
    let rules = format!("{TO_SHOP}  headers: {{response: {{set: {{x-revision: '2'}}}}}}\n");
    gateway.write("shop.yaml", virtual_service("shop", SHOP, &rules));
    eventually("the rule is live", || {
        gateway.get(SHOP, "/").header("x-revision") == Some("2")
    });
    let ports = [good.port(), bad.port(), late.port()];
    gateway.write("shop-service.yaml", service("shop", 8000, &ports));
    until_hit(&gateway, &late);
    gateway.write(
        "policy.yaml",
        destination_rule("shop", &lasting("consecutive5xxErrors: 4")),
    );
    let hits = bad.hits();
    assert_eq!(statuses(&gateway, 40), [200].into());
    assert_eq!(bad.hits(), hits);
    assert_eq!(ejected(&gateway), 1.0);
}

#[test]
fn the_clusters_page_tells_who_is_out() {
    let policy = lasting("consecutive5xxErrors: 2");
    let (good, bad, gateway) = beside_a_good_one(500, &policy);
    until_ejected(&gateway, 1);
    assert!(is_shown_as_ejected(&gateway, CLUSTER, bad.port()));
    assert!(!is_shown_as_ejected(&gateway, CLUSTER, good.port()));
}

/// One error in two services that share an endpoint is not two.
#[test]
fn each_cluster_counts_for_itself() {
    let (good, bad) = (Switch::new("good"), Switch::answering("bad", 500));
    let rules = "\
- match: [{uri: {prefix: /other}}]
  route: [{destination: {host: other}}]
- route: [{destination: {host: shop}}]
";
    let ports = [good.port(), bad.port()];
    let services: [(&str, &[u16]); 2] = [("shop", &ports), ("other", &ports)];
    let gateway = shop(rules, &services)
        .file(
            "policy.yaml",
            destination_rule("shop", &lasting("consecutive5xxErrors: 2")),
        )
        .start();
    until_ejected(&gateway, 1);
    let others: BTreeSet<u16> = (0..40)
        .map(|_| gateway.get(SHOP, "/other").status)
        .collect();
    assert_eq!(others, [200, 500].into());
    assert_eq!(statuses(&gateway, 20), [200].into());
}
