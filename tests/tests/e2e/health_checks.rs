//! Active health checks, as the bootstrap file asks for them.

use crate::{SHOP, TO_SHOP, shop};
use e2e::{
    After, Gateway, GrpcHealth, Origin, Place, Port, Setup, TcpOrigin, call_grpc, destination_rule,
    eventually, service, service_entry, service_of, virtual_service,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

const HOST: &str = "shop.default.svc.cluster.local";
const CLUSTER: &str = "outbound|8000||shop.default.svc.cluster.local";

fn checks(host: &str, keys: &str) -> String {
    format!("\n[health-checks.\"{host}\"]\n{keys}\n")
}

/// Checked ten times a second.
const OFTEN: &str = "\
protocol = \"http\"
path = \"/healthz\"
interval = \"100ms\"
timeout = \"5s\"
unhealthy-threshold = 3
healthy-threshold = 2
";

/// An origin that serves in any case, and answers probes with the status of the moment.
struct Checked {
    origin: Origin,
    status: Arc<AtomicU16>,
    /// Probes answered since it last changed.
    probes: Arc<AtomicUsize>,
}

impl Checked {
    fn new(name: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let probes = Arc::new(AtomicUsize::new(0));
        let origin = Origin::serving({
            let (status, probes) = (Arc::clone(&status), Arc::clone(&probes));
            move |exchange| {
                let is_probe = exchange.request.target() == "/healthz";
                probes.fetch_add(usize::from(is_probe), Ordering::SeqCst);
                let status = is_probe.then(|| status.load(Ordering::SeqCst));
                exchange.reply(status.unwrap_or(200), &[], name.as_bytes())?;
                Ok(After::Keep)
            }
        });
        Self {
            origin,
            status,
            probes,
        }
    }

    /// From now on it answers probes with this status.
    fn set(&self, status: u16) {
        self.probes.store(0, Ordering::SeqCst);
        self.status.store(status, Ordering::SeqCst);
    }

    fn probes(&self) -> usize {
        self.probes.load(Ordering::SeqCst)
    }
}

fn bodies(gateway: &Gateway, count: usize) -> BTreeSet<String> {
    (0..count).map(|_| gateway.get(SHOP, "/").text()).collect()
}

fn unhealthy(gateway: &Gateway, cluster: &str) -> usize {
    let cluster = gateway.cluster(cluster);
    let endpoints = cluster["endpoints"].as_array().expect("a list");
    let unhealthy = endpoints
        .iter()
        .filter(|endpoint| endpoint["unhealthy"] == true);
    unhealthy.count()
}

fn set_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn who_is_not_well_gets_nothing_until_it_is_well_again() {
    let (a, b) = (Checked::new("a"), Checked::new("b"));
    let gateway = shop(TO_SHOP, &[("shop", &[a.origin.port(), b.origin.port()])])
        .section(&checks(HOST, OFTEN))
        .start();
    assert_eq!(bodies(&gateway, 40), set_of(&["a", "b"]));

    a.set(503);
    eventually("a is out", || unhealthy(&gateway, CLUSTER) == 1);
    assert!(a.probes() >= 3, "out after {} failed probes", a.probes());
    assert_eq!(bodies(&gateway, 40), set_of(&["b"]));
    let address = format!("127.0.0.1:{}", a.origin.port());
    gateway.wait_for_log(&["unhealthy", &address, "503"]);

    a.set(200);
    eventually("a is back", || unhealthy(&gateway, CLUSTER) == 0);
    assert!(a.probes() >= 2, "back after {} good probes", a.probes());
    assert_eq!(bodies(&gateway, 40), set_of(&["a", "b"]));
    gateway.wait_for_log(&[" healthy", &address]);
}

#[test]
fn metrics_tell_how_probes_end_and_how_many_are_unhealthy() {
    let (a, b) = (Checked::new("a"), Checked::new("b"));
    let keys = format!("{OFTEN}expected-statuses = [\"200-299\"]\n");
    let gateway = shop(TO_SHOP, &[("shop", &[a.origin.port(), b.origin.port()])])
        .section(&checks(HOST, &keys))
        .start();
    let gauge = || (gateway.metrics()).sum("tidegate_unhealthy_endpoints", &[("host", HOST)]);
    let ended = |result: &str| {
        let labels = [("host", HOST), ("result", result)];
        (gateway.metrics()).sum("tidegate_health_checks_total", &labels)
    };
    eventually("successes", || ended("success") > 1.0);
    assert_eq!((gauge(), ended("unexpected_status")), (0.0, 0.0));
    a.set(503);
    eventually("one is unhealthy", || gauge() == 1.0);
    assert!(ended("unexpected_status") >= 3.0);
    a.set(204);
    eventually("none is", || gauge() == 0.0);
}

#[test]
fn endpoints_are_probed_as_long_as_they_are_configured() {
    let (first, second) = (Checked::new("first"), Checked::new("second"));
    let gateway = shop(TO_SHOP, &[("shop", &[first.origin.port()])])
        .section(&checks(HOST, OFTEN))
        .start();
    eventually("the first is probed", || first.probes() > 1);
    let now = service("shop", 8000, &[second.origin.port()]);
    gateway.write("shop-service.yaml", now);
    eventually("the second is probed", || second.probes() > 0);
    let (left, so_far) = (first.probes(), second.probes());
    eventually("it is probed on", || second.probes() > so_far + 2);
    // One may have been on its way.
    assert!(first.probes() <= left + 1);
    gateway.write("shop-service.yaml", service("shop", 8000, &[]));
    eventually("the end of the series", || {
        let metrics = gateway.metrics();
        metrics.count("tidegate_unhealthy_endpoints", &[]) == 0
            && metrics.count("tidegate_health_checks_total", &[]) == 0
    });
}

#[test]
fn when_nobody_is_well_it_is_503_uh() {
    let a = Checked::new("a");
    a.set(503);
    let gateway = shop(TO_SHOP, &[("shop", &[a.origin.port()])])
        .section(&checks(HOST, OFTEN))
        .start();
    eventually("a is out", || unhealthy(&gateway, CLUSTER) == 1);
    let response = gateway.get(SHOP, "/nobody");
    assert_eq!(
        (response.status, response.text().as_str()),
        (503, "no healthy upstream")
    );
    assert_eq!(gateway.logged("/nobody")["response_flags"], "UH");
}

/// Subsets, routes and other hosts make clusters, and no probes.
#[test]
fn an_endpoint_is_probed_once_however_many_clusters_have_it() {
    let (a, b) = (Checked::new("a"), Checked::new("b"));
    let host = "zones.test";
    let place = |origin: &Checked| Place::new(origin.origin.port(), "").labels("version: v1");
    let entry = service_entry(
        host,
        "number: 8000, name: http, protocol: HTTP",
        &[place(&a), place(&b)],
    );
    let mut rules = String::new();
    for (path, destination) in [
        ("/1", "host: zones.test, subset: one"),
        ("/2", "host: zones.test, subset: two"),
        ("/3", "host: zones.test"),
        ("/4", "host: zones.test, port: {number: 8000}"),
    ] {
        rules += &format!(
            "- match: [{{uri: {{exact: {path}}}}}]\n  route: [{{destination: {{{destination}}}}}]\n"
        );
    }
    let subsets = "\
subsets:
- {name: one, labels: {version: v1}}
- {name: two, labels: {version: v1}}
";
    // Jitter would put the first one off, too.
    let rarely = OFTEN.replace(
        "interval = \"100ms\"",
        "interval = \"300s\"\njitter = \"0s\"",
    );
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("rules.yaml", virtual_service("zones", SHOP, &rules))
        .file("zones.yaml", entry)
        .file("subsets.yaml", destination_rule(host, subsets))
        .section(&checks(host, &rarely))
        .start();
    eventually("each is probed", || a.probes() >= 1 && b.probes() >= 1);
    for path in ["/1", "/2", "/3", "/4"] {
        (0..10).for_each(|_| assert_eq!(gateway.get(SHOP, path).status, 200, "{path}"));
    }
    // Nor does a change of rules make one.
    let more = format!("{rules}- directResponse: {{status: 204}}\n");
    gateway.write("rules.yaml", virtual_service("zones", SHOP, &more));
    gateway.wait_for(SHOP, "/else", 204, "");
    assert_eq!((a.probes(), b.probes()), (1, 1));
}

#[test]
fn probes_have_their_own_path_host_and_statuses() {
    let origin = Origin::serving(|exchange| {
        let is_probe = exchange.request.target() == "/ready?deep=1";
        let status = if is_probe { 204 } else { 200 };
        exchange.reply(status, &[], b"")?;
        Ok(After::Keep)
    });
    let keys = "\
protocol = \"http\"
path = \"/ready?deep=1\"
host = \"probe.test\"
expected-statuses = [\"200\"]
interval = \"100ms\"
unhealthy-threshold = 1
";
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])])
        .section(&checks(HOST, keys))
        .start();
    eventually("204 is not expected", || unhealthy(&gateway, CLUSTER) == 1);
    let probe = origin.last_request();
    assert_eq!(probe.method(), "GET");
    assert_eq!(probe.header("host"), Some("probe.test"));
}

#[test]
fn a_probe_of_tcp_is_a_connection() {
    let (alive, dead) = (TcpOrigin::named("alive"), Port::reserve());
    let rules = "- route: [{destination: {host: shop, port: {number: 7000}}}]\n";
    let keys = "protocol = \"tcp\"\ninterval = \"100ms\"\nunhealthy-threshold = 2\n";
    let ports = [alive.port(), dead.number()];
    let gateway = Setup::new()
        .file(
            "gateway.yaml",
            e2e::gateway_of("edge", &e2e::server(9000, "tcp", "TCP", &["*"], "")),
        )
        .file(
            "tcp.yaml",
            e2e::l4_virtual_service("tcp", &["*"], "tcp", rules),
        )
        .file("shop.yaml", service_of("shop", "tcp", 7000, &ports))
        .port(9000)
        .section(&checks("*", keys))
        .start();
    let cluster = "outbound|7000||shop.default.svc.cluster.local";
    eventually("the dead one is out", || unhealthy(&gateway, cluster) == 1);
    for _ in 0..20 {
        let mut connection = e2e::Connection::open(gateway.bound(9000));
        assert_eq!(connection.read_to_end(), b"alive");
    }
}

#[test]
fn a_probe_of_grpc_asks_the_health_service() {
    let origin = GrpcHealth::start();
    let keys = "\
protocol = \"grpc\"
service = \"shop.v1.Shop\"
interval = \"100ms\"
unhealthy-threshold = 2
healthy-threshold = 2
";
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("shop.yaml", virtual_service("shop", SHOP, TO_SHOP))
        .file(
            "shop-service.yaml",
            service_of("shop", "grpc", 8000, &[origin.port()]),
        )
        .section(&checks("*.svc.cluster.local", keys))
        .start();
    eventually("it is asked", || origin.checks() >= 1);
    let call = || call_grpc(gateway.http(), SHOP, "/shop.v1.Shop/Buy", b"");
    assert_eq!(call().grpc_status(), Some("0"));
    origin.set_serving(false);
    eventually("it is out", || unhealthy(&gateway, CLUSTER) == 1);
    assert_eq!(call().grpc_status(), Some("14"));
    origin.set_serving(true);
    eventually("it is back", || call().grpc_status() == Some("0"));
}
