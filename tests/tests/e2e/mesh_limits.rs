//! Limits of a subset, as the client's sidecar keeps them.

use crate::mesh_bookinfo::versions_of;
use e2e::{Connection, Gate, Mesh, Pod, Request, ServiceSpec, eventually, seed};
use std::net::{Ipv4Addr, SocketAddr};

const PORT: u16 = 9080;
const CLUSTER: &str = "outbound|9080|v1|reviews.default.svc.cluster.local";

/// A client of the reviews, whose version 1 holds its answers back.
struct Held {
    gate: Gate,
    client: Pod,
    service: SocketAddr,
    _reviews: Pod,
    _mesh: Mesh,
}

impl Held {
    /// With a DestinationRule, and all requests sent to version 1.
    fn by(rule: &str) -> Self {
        let mesh = Mesh::new();
        mesh.write("reviews-rule.yaml", rule);
        mesh.write("reviews.yaml", seed("04-default-route-v1.yaml"));
        let service = mesh.service(ServiceSpec::new("reviews").port("http", PORT));
        let reviews = mesh.pod("reviews-v1").start();
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        Self {
            gate: reviews.enter(|| Gate::start_at(at)),
            client: mesh.pod("client-v1").start(),
            service: (service, PORT).into(),
            _reviews: reviews,
            _mesh: mesh,
        }
    }

    /// Sends a request, and does not wait for its answer.
    fn ask(&self) -> Connection {
        let mut connection = self.client.connect(self.service);
        let request = Request::get("reviews:9080", "/").bytes();
        connection.write(&request).expect("the request is sent");
        connection
    }

    #[track_caller]
    fn wait_for_usage(&self, what: &str, count: u64) {
        eventually(&format!("{what} is {count}"), || {
            self.client.agent().cluster(CLUSTER)["usage"][what] == count
        });
    }
}

#[track_caller]
fn status_of(connection: &mut Connection) -> u16 {
    connection.read_response("GET").expect("an answer").status
}

/// Seed 08: more than a hundred requests wait for one of a hundred connections, and none is refused.
#[test]
fn a_subset_has_a_hundred_connections() {
    let held = Held::by(&seed("08-subset-connection-limit.yaml"));
    let mut asked: Vec<_> = (0..110).map(|_| held.ask()).collect();
    for _ in 0..100 {
        held.gate.wait_for_request();
    }
    held.wait_for_usage("rq_pending", 10);
    assert_eq!(held.gate.origin().hits(), 100);
    for _ in 0..110 {
        held.gate.open();
    }
    let statuses: Vec<_> = asked.iter_mut().map(status_of).collect();
    assert_eq!(statuses, [200; 110]);
    assert_eq!(held.gate.origin().peak_connections(), 100);
}

/// The same with fewer, of which only one may wait.
#[test]
fn what_is_more_than_may_wait_is_refused() {
    let rule = seed("08-subset-connection-limit.yaml").replace("100", "2");
    let rule = rule.trim_end().to_owned() + "\n        http: {http1MaxPendingRequests: 1}\n";
    let held = Held::by(&rule);
    let mut served = vec![held.ask(), held.ask()];
    for _ in 0..2 {
        held.gate.wait_for_request();
    }
    served.push(held.ask());
    held.wait_for_usage("rq_pending", 1);
    let mut refused = held.ask();
    let answer = refused.read_response("GET").expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
    let record = held.client.agent().logged_with("response_flags", "UO");
    assert_eq!(record["upstream_cluster"], CLUSTER, "{record}");
    for _ in 0..3 {
        held.gate.open();
    }
    let statuses: Vec<_> = served.iter_mut().map(status_of).collect();
    assert_eq!(statuses, [200; 3]);
}

/// A DestinationRule with a subset for each version has limits for none.
#[test]
fn without_limits_nobody_waits() {
    let held = Held::by(&versions_of("reviews", &["v1"]));
    let mut asked: Vec<_> = (0..20).map(|_| held.ask()).collect();
    for _ in 0..20 {
        held.gate.wait_for_request();
    }
    for _ in 0..20 {
        held.gate.open();
    }
    let statuses: Vec<_> = asked.iter_mut().map(status_of).collect();
    assert_eq!(statuses, [200; 20]);
}

/// A workload is believed about how long it wants to wait.
#[test]
fn a_client_limits_its_own_request() {
    let held = Held::by(&versions_of("reviews", &["v1"]));
    let limit = [("x-envoy-upstream-rq-timeout-ms", "200")];
    let answer = held.client.get_with("reviews:9080/late", &limit);
    assert_eq!(
        (answer.status, answer.text()),
        (504, "upstream request timeout".into())
    );
    let record = held.client.agent().logged("/late");
    assert_eq!(record["response_flags"], "UT", "{record}");
}
