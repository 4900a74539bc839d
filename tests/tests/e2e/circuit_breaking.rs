//! The limits of connection pools: what waits, what is refused, and what is not hurt.

use crate::{SHOP, TO_SHOP, shop, shop_with, tcp_with};
use e2e::{
    Connection, Gate, Gateway, Http2Gate, Load, Origin, Place, Request, Response, Setup, TcpOrigin,
    destination_rule, eventually, poll_for, seed, service, service_at, service_entry,
    virtual_service,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HTTPBIN: &str = "httpbin.example.com";
const HTTPBIN_CLUSTER: &str = "outbound|8000||httpbin.default.svc.cluster.local";
const SHOP_CLUSTER: &str = "outbound|8000||shop.default.svc.cluster.local";

const OVERFLOW: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: overflow";

/// The page's circuit breaker, unchanged, before this origin.
fn page(endpoint: u16) -> Gateway {
    Setup::new()
        .file("gateway.yaml", seed("09-gateway-http.yaml"))
        .file("rules.yaml", seed("10-virtualservice-httpbin.yaml"))
        .file("breaker.yaml", seed("02-circuit-breaker.yaml"))
        .file("service.yaml", service("httpbin", 8000, &[endpoint]))
        .start()
}

/// Sends a request, and does not wait for its answer.
#[track_caller]
fn ask(gateway: &Gateway, host: &str, path: &str) -> Connection {
    let mut connection = gateway.connect();
    let sent = connection.write(&Request::get(host, path).bytes());
    sent.expect("the request is sent");
    connection
}

#[track_caller]
fn answer(connection: &mut Connection) -> Response {
    connection.read_response("GET").expect("an answer")
}

/// Lets all of these be answered, and wants 200 of each.
#[track_caller]
fn let_through<'a>(gate: &Gate, held: impl IntoIterator<Item = &'a mut Connection>) {
    let held: Vec<_> = held.into_iter().collect();
    held.iter().for_each(|_| gate.open());
    for connection in held {
        assert_eq!(answer(connection).status, 200);
    }
}

/// A policy that allows so many connections.
fn max_connections(count: u32) -> String {
    format!("trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {count}}}}}}}\n")
}

fn is_overflow(response: &Response) -> bool {
    response.status == 503
        && response.header("x-envoy-overloaded") == Some("true")
        && response.text() == OVERFLOW
}

#[track_caller]
fn wait_for_overflows(gateway: &Gateway, cluster: &str, limit: &str, count: usize) {
    let labels = [("cluster", cluster), ("limit", limit)];
    let mut last = 0.0;
    let seen = poll_for(e2e::PATIENCE, || {
        let metrics = gateway.metrics();
        last = metrics.sum("tidegate_upstream_overflow_total", &labels);
        (last >= count as f64).then_some(())
    });
    assert!(seen.is_some() && last == count as f64, "{last} of {count}");
}

#[track_caller]
fn wait_for_usage(gateway: &Gateway, cluster: &str, what: &str, count: u64) {
    eventually(&format!("{what} is {count}"), || {
        gateway.cluster(cluster)["usage"][what] == count
    });
}

#[test]
fn of_many_at_once_one_is_served_one_waits_and_the_rest_overflow() {
    let gate = Gate::new();
    let gateway = page(gate.port());
    let mut served = ask(&gateway, HTTPBIN, "/delay/served");
    gate.wait_for_request();
    let mut rest: Vec<_> = (0..10)
        .map(|_| ask(&gateway, HTTPBIN, "/status/rest"))
        .collect();
    // Nine are refused while the first is still held.
    wait_for_overflows(&gateway, HTTPBIN_CLUSTER, "pending", 9);
    assert_eq!(gate.origin().hits(), 1);

    gate.open();
    assert_eq!(answer(&mut served).text(), "finished");
    gate.wait_for_request();
    gate.open();
    let answers: Vec<_> = rest.iter_mut().map(answer).collect();
    let waited = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| is_overflow(answer)).count();
    assert_eq!((waited, refused), (1, 9), "{answers:?}");
    assert_eq!(gate.origin().peak_connections(), 1);
}

#[test]
fn an_overflow_keeps_the_client_s_connection_and_is_logged_as_uo() {
    let gate = Gate::new();
    let gateway = page(gate.port());
    let mut served = ask(&gateway, HTTPBIN, "/delay/served");
    gate.wait_for_request();
    let mut waiting = ask(&gateway, HTTPBIN, "/delay/waiting");
    wait_for_usage(&gateway, HTTPBIN_CLUSTER, "rq_pending", 1);

    let mut client = gateway.connect();
    for number in 0..3 {
        let path = format!("/status/{number}");
        let response = client.send(&Request::get(HTTPBIN, &path));
        let response = response.expect("an answer on the same connection");
        assert!(is_overflow(&response), "{response:?}");
        assert_ne!(response.header("connection"), Some("close"));
        let record = gateway.logged(&path);
        assert_eq!(record["response_flags"], "UO", "{record}");
        assert_eq!(record["upstream_cluster"], HTTPBIN_CLUSTER, "{record}");
        // Promise 1.
        assert!(record["reason"].is_string(), "{record}");
    }

    // The one that waited comes before this one, which is served by the same client's connection.
    let_through(&gate, [&mut served, &mut waiting]);
    let request = Request::get(HTTPBIN, "/status/after").bytes();
    client.write(&request).expect("the request is sent");
    let_through(&gate, [&mut client]);
}

/// As the page has it: real load, of which some passes and the rest is refused.
#[test]
fn under_load_some_pass_the_rest_is_503_uo_and_each_connection_serves_one() {
    let origin = Origin::named("through");
    let gateway = page(origin.port());
    let refused = Arc::new(AtomicUsize::new(0));
    let request = Request::get(HTTPBIN, "/status/200");
    let load = Load::start(gateway.http(), 8, &request, {
        let refused = Arc::clone(&refused);
        move |response| {
            let overflow = is_overflow(response);
            refused.fetch_add(usize::from(overflow), Ordering::SeqCst);
            overflow || (response.status, response.text().as_str()) == (200, "through")
        }
    });
    eventually("both kinds are seen", || {
        origin.hits() >= 100 && refused.load(Ordering::SeqCst) >= 100
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert_eq!(report.reopened, 0, "connections of clients were closed");
    let refused = refused.load(Ordering::SeqCst);
    assert_eq!(report.served - refused, origin.hits());
    assert_eq!(origin.peak_connections(), 1);
    assert_eq!(origin.connections(), origin.hits());
    for request in origin.requests() {
        assert_eq!(request.header("connection"), Some("close"), "{request:?}");
    }
    wait_for_overflows(&gateway, HTTPBIN_CLUSTER, "pending", refused);
}

/// A connection that nobody uses takes a place all the same: it makes room for one to another endpoint.
#[test]
fn idle_connections_count() {
    let origin = Origin::everywhere();
    let addresses = [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)];
    let policy = "\
trafficPolicy:
  loadBalancer: {simple: ROUND_ROBIN}
  connectionPool: {tcp: {maxConnections: 1}}
";
    let gateway = shop(TO_SHOP, &[])
        .file(
            "service.yaml",
            service_at("shop", 8000, &addresses, origin.port()),
        )
        .file("policy.yaml", destination_rule("shop", policy))
        .start();
    let asked: BTreeSet<String> = (0..20).map(|_| gateway.get(SHOP, "/").text()).collect();
    assert_eq!(asked, ["127.0.0.1", "127.0.0.2"].map(String::from).into());
    assert_eq!(origin.peak_connections(), 1);

    let load = Load::start(gateway.http(), 4, &Request::get(SHOP, "/"), |response| {
        response.status == 200
    });
    eventually("all take turns", || load.served() > 200);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert_eq!(origin.peak_connections(), 1);
}

#[test]
fn idle_connections_are_reused_within_the_limit() {
    let origin = Origin::named("shop");
    let gateway = shop_with(&max_connections(1), &[origin.port()]).start();
    for _ in 0..20 {
        assert_eq!(gateway.get(SHOP, "/").status, 200);
    }
    assert_eq!(origin.connections(), 1);
}

/// The page's limit of 100 for `v1` of `reviews`; the host as a whole has none.
#[test]
fn a_subset_is_limited_and_the_rest_of_its_host_is_not() {
    let gate = Gate::new();
    let host = "reviews.default.svc.cluster.local";
    let place = Place::new(gate.port(), "").labels("version: v1");
    let rules = "\
- match: [{uri: {prefix: /v1}}]
  route: [{destination: {host: reviews, subset: v1, port: {number: 9080}}}]
- route: [{destination: {host: reviews, port: {number: 9080}}}]
";
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("rules.yaml", virtual_service("reviews", SHOP, rules))
        .file("limit.yaml", seed("08-subset-connection-limit.yaml"))
        .file(
            "reviews.yaml",
            service_entry(host, "number: 9080, name: http, protocol: HTTP", &[place]),
        )
        .start();
    let mut limited: Vec<_> = (0..105).map(|_| ask(&gateway, SHOP, "/v1")).collect();
    (0..100).for_each(|_| gate.wait_for_request());
    let cluster = format!("outbound|9080|v1|{host}");
    wait_for_usage(&gateway, &cluster, "rq_pending", 5);
    assert_eq!(gate.origin().open_connections(), 100);

    let mut others: Vec<_> = (0..3).map(|_| ask(&gateway, SHOP, "/all")).collect();
    (0..3).for_each(|_| gate.wait_for_request());
    assert_eq!(gate.origin().open_connections(), 103);

    let_through(&gate, limited.iter_mut().chain(&mut others));
    assert_eq!(gate.origin().peak_connections(), 103);
}

#[test]
fn requests_at_one_time_are_limited() {
    let gate = Gate::new();
    let policy = "trafficPolicy: {connectionPool: {http: {http2MaxRequests: 2}}}\n";
    let gateway = shop_with(policy, &[gate.port()]).start();
    let mut held = [ask(&gateway, SHOP, "/1"), ask(&gateway, SHOP, "/2")];
    gate.wait_for_request();
    gate.wait_for_request();
    assert!(is_overflow(&gateway.get(SHOP, "/third")));
    assert_eq!(gateway.logged("/third")["response_flags"], "UO");
    wait_for_overflows(&gateway, SHOP_CLUSTER, "requests", 1);
    let_through(&gate, &mut held);
    let mut next = ask(&gateway, SHOP, "/next");
    let_through(&gate, [&mut next]);
}

#[test]
fn who_waits_waits_no_longer_than_its_route_allows() {
    let gate = Gate::new();
    let rules = "\
- match: [{uri: {prefix: /short}}]
  timeout: 0.3s
  route: [{destination: {host: shop}}]
- route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[gate.port()])])
        .file("policy.yaml", destination_rule("shop", &max_connections(1)))
        .start();
    let mut held = ask(&gateway, SHOP, "/held");
    gate.wait_for_request();
    let asked = Instant::now();
    let response = gateway.get(SHOP, "/short");
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert_eq!(
        (response.status, response.text().as_str()),
        (504, "upstream request timeout")
    );
    assert_eq!(gateway.logged("/short")["response_flags"], "UT");
    // It took its place in the queue with it.
    wait_for_usage(&gateway, SHOP_CLUSTER, "rq_pending", 0);
    let_through(&gate, [&mut held]);
    assert_eq!(gate.origin().hits(), 1);
}

/// A client that gives up does not hold a place either.
#[test]
fn who_leaves_while_waiting_makes_room() {
    let gate = Gate::new();
    let gateway = page(gate.port());
    let mut held = ask(&gateway, HTTPBIN, "/delay/held");
    gate.wait_for_request();
    let impatient = ask(&gateway, HTTPBIN, "/delay/impatient");
    wait_for_usage(&gateway, HTTPBIN_CLUSTER, "rq_pending", 1);
    drop(impatient);
    wait_for_usage(&gateway, HTTPBIN_CLUSTER, "rq_pending", 0);
    let mut next = ask(&gateway, HTTPBIN, "/delay/next");
    let_through(&gate, [&mut held, &mut next]);
    assert_eq!(gate.origin().hits(), 2);
}

#[test]
fn a_full_cluster_hurts_no_other() {
    let (gate, other) = (Gate::new(), Origin::named("other"));
    let rules = "\
- match: [{uri: {prefix: /other}}]
  route: [{destination: {host: other}}]
- route: [{destination: {host: shop}}]
";
    let services: [(&str, &[u16]); 2] = [("shop", &[gate.port()]), ("other", &[other.port()])];
    let gateway = shop(rules, &services)
        .file("policy.yaml", destination_rule("shop", &max_connections(1)))
        .start();
    let mut full: Vec<_> = (0..20).map(|_| ask(&gateway, SHOP, "/full")).collect();
    gate.wait_for_request();
    wait_for_usage(&gateway, SHOP_CLUSTER, "rq_pending", 19);
    for _ in 0..20 {
        assert_eq!(gateway.get(SHOP, "/other").text(), "other");
    }
    let_through(&gate, &mut full);
}

/// Who waits is not forgotten when the limit changes, and the new limit holds.
#[test]
fn a_limit_can_be_raised_while_requests_wait() {
    let gate = Gate::new();
    let gateway = shop_with(&max_connections(1), &[gate.port()]).start();
    let mut asked: Vec<_> = (0..3).map(|_| ask(&gateway, SHOP, "/")).collect();
    gate.wait_for_request();
    wait_for_usage(&gateway, SHOP_CLUSTER, "rq_pending", 2);
    gateway.write("policy.yaml", destination_rule("shop", &max_connections(3)));
    gate.wait_for_request();
    gate.wait_for_request();
    let_through(&gate, &mut asked);
}

#[test]
fn a_connection_of_http2_carries_as_many_streams_as_it_may_and_the_rest_go_on_others() {
    let gate = Http2Gate::new();
    let pool = "{http: {h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 3}}";
    let policy = format!("trafficPolicy: {{connectionPool: {pool}}}\n");
    let gateway = shop_with(&policy, &[gate.port()]).start();
    let wait_for = |count: usize| {
        eventually(&format!("{count} requests wait"), || {
            gate.waiting().iter().sum::<usize>() == count
        });
    };
    let mut held = Vec::new();
    for count in 1..=7 {
        held.push(ask(&gateway, SHOP, "/one-by-one"));
        wait_for(count);
    }
    assert_eq!(gate.waiting(), [3, 3, 1]);

    held.extend((0..20).map(|_| ask(&gateway, SHOP, "/at-once")));
    wait_for(27);
    gate.open(27);
    for connection in &mut held {
        assert_eq!(answer(connection).text(), "finished");
    }
    assert_eq!(gate.peak_streams(), 3);
}

#[test]
fn a_tcp_connection_too_many_is_closed() {
    let origin = TcpOrigin::echo();
    let gateway = tcp_with(&max_connections(1), &[origin.port()]).start();
    let mut first = Connection::open(gateway.bound(9000));
    assert_eq!(first.echo(b"hello").expect("an echo"), b"hello");

    let mut second = Connection::open(gateway.bound(9000));
    assert_eq!(second.read_to_end(), b"");
    eventually("it is logged as UO", || {
        let records = gateway.access_log();
        records
            .iter()
            .any(|record| record["response_flags"] == "UO")
    });
    let cluster = "outbound|7000||shop.default.svc.cluster.local";
    wait_for_overflows(&gateway, cluster, "connections", 1);
    assert_eq!(first.echo(b"hello").expect("an echo"), b"hello");

    drop(first);
    wait_for_usage(&gateway, cluster, "cx_open", 0);
    let mut third = Connection::open(gateway.bound(9000));
    assert_eq!(third.echo(b"hello").expect("an echo"), b"hello");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn the_clusters_page_shows_limits_and_who_uses_them() {
    let gate = Gate::new();
    let gateway = page(gate.port());
    let mut held = ask(&gateway, HTTPBIN, "/delay/held");
    gate.wait_for_request();
    let mut waiting = ask(&gateway, HTTPBIN, "/delay/waiting");
    wait_for_usage(&gateway, HTTPBIN_CLUSTER, "rq_pending", 1);
    let cluster = gateway.cluster(HTTPBIN_CLUSTER);
    assert_eq!(cluster["limits"]["max_connections"], 1, "{cluster}");
    assert_eq!(cluster["limits"]["max_pending_requests"], 1, "{cluster}");
    assert!(cluster["limits"]["max_requests"].is_null(), "{cluster}");
    assert_eq!(cluster["usage"]["cx_open"], 1, "{cluster}");
    let endpoint = &cluster["endpoints"][0];
    assert_eq!(endpoint["address"], format!("127.0.0.1:{}", gate.port()));
    for (key, want) in [
        ("ejected", false),
        ("unhealthy", false),
        ("in_rotation", true),
    ] {
        assert_eq!(endpoint[key], want, "{key} in {endpoint}");
    }
    let_through(&gate, [&mut held, &mut waiting]);
    wait_for_usage(&gateway, HTTPBIN_CLUSTER, "cx_open", 0);
}
