//! Endpoints that are found when a client asks for them: promise 20, as far as it is kept where connections are made.

use super::client::{Client, Message};
use super::eventually;
use super::gateway::{Gateway, Rules, retries};
use super::names::Names;
use super::origin::{Act, Origin, ok};
use super::sharing::{PLAIN, Server};
use crate::Resolve;
use crate::tls::tests::pki::Authority;
use crate::upstream::tls::tests::server::Setup;
use crate::upstream::tls::tests::{simple, trusting};
use model::OutlierDetection;
use rules::{
    Cluster, ClusterTarget, Endpoints, ForbiddenNetworks, ForwardAction, Mirror, OnDemand,
    PartsPerMillion, Predicate, Serves, UpstreamProtocol, UpstreamSecurity, VirtualHost,
    VirtualHosts,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// A ServiceEntry for `*.wild.test`, of which 127.0.0.1 and 127.0.0.3 are no secret. All others of loopback are.
fn wild(port: u16) -> OnDemand {
    OnDemand {
        names: Some("*.wild.test".try_into().unwrap()),
        addresses: ["127.0.0.1/32", "127.0.0.3/32"]
            .map(|net| net.parse().unwrap())
            .to_vec(),
        any_address: false,
        port: Some(port),
        forbidden: ForbiddenNetworks::default(),
    }
}

/// A gateway whose routes for every host lead to a cluster that finds its endpoints.
struct Case {
    names: Arc<Names>,
    on_demand: OnDemand,
    published: Vec<SocketAddr>,
}

impl Case {
    fn new(origin: SocketAddr, answers: &[(&str, &[&str])]) -> Self {
        Self {
            names: Names::of(answers),
            on_demand: wild(origin.port()),
            published: Vec::new(),
        }
    }

    async fn start(self) -> Gateway {
        self.start_with(|_| {}, |_| {}).await
    }

    async fn start_with(
        self,
        change: impl FnOnce(&mut Cluster),
        action: impl FnOnce(&mut ForwardAction),
    ) -> Gateway {
        let rules = Rules::default();
        self.start_by(rules, UpstreamProtocol::Http1, change, action)
            .await
    }

    async fn start_by(
        self,
        mut rules: Rules,
        protocol: UpstreamProtocol,
        change: impl FnOnce(&mut Cluster),
        action: impl FnOnce(&mut ForwardAction),
    ) -> Gateway {
        rules.resolver = Some(self.names.clone() as Arc<dyn Resolve>);
        let cluster = rules.cluster_with("wild", protocol, &self.published, |cluster| {
            cluster.on_demand = Some(Arc::new(self.on_demand));
            change(cluster);
        });
        rules.route(Predicate::default(), cluster, action);
        start(rules).await
    }
}

/// Serves all hosts with the routes of one.
async fn start(rules: Rules) -> Gateway {
    rules
        .start_as(|[shop, _]| {
            let all = VirtualHost {
                name: "*:80".into(),
                domain: "*".into(),
                https_redirect: None,
                routes: shop.routes.clone(),
            };
            Serves::Http(VirtualHosts::new([Arc::new(all)]))
        })
        .await
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn hosts(gateway: &Gateway) -> Vec<String> {
    let clusters = gateway.shared.on_demand_clusters();
    let mut hosts: Vec<_> = clusters
        .map(|cluster| cluster.asked().unwrap().to_string())
        .collect();
    hosts.sort();
    hosts
}

/// Promise 20: wildcards match, and names that they do not match are refused.
#[tokio::test]
async fn a_host_under_the_wildcard_is_found_and_no_other() {
    let origin = Origin::answering(ok("fine")).await;
    let answers: [(&str, &[&str]); 2] = [
        ("a.wild.test", &["127.0.0.1"]),
        ("evil.test", &["127.0.0.1"]),
    ];
    let case = Case::new(origin.address, &answers);
    let names = case.names.clone();
    let gateway = case.start().await;
    for host in [
        "a.wild.test",
        "A.Wild.Test",
        "a.wild.test.",
        "a.wild.test:8000",
    ] {
        assert_eq!(gateway.ask(&get(host)).await.body, "fine", "{host}");
    }
    assert_eq!(hosts(&gateway), ["a.wild.test:8000"]);
    assert_eq!(names.asked(), 4);
    for (host, reason) in [
        ("evil.test", "host_not_allowed"),
        ("wild.test", "host_not_allowed"),
        ("notwild.test", "host_not_allowed"),
        ("a.wild.test.evil.test", "host_not_allowed"),
        // What only some software takes for an address.
        ("127.1", "no_host_asked_for"),
    ] {
        let response = gateway.ask(&get(host)).await;
        let told = (response.status(), response.body.as_str());
        assert_eq!(told, (502, reason), "{host}");
    }
    assert_eq!(names.asked(), 4, "nobody was asked for them");
    assert_eq!(origin.hits(), 4);
    gateway
        .logs(" 502 NR host_not_reachable - \"-\" 0 16 ")
        .await;
}

/// Promise 20: by address alike.
#[tokio::test]
async fn an_address_is_reached_where_the_networks_have_it() {
    let origin = Origin::answering(ok("fine")).await;
    let gateway = Case::new(origin.address, &[]).start().await;
    assert_eq!(gateway.ask(&get("127.0.0.1")).await.body, "fine");
    for host in ["127.0.0.2", "10.0.0.1", "[::1]", "[::ffff:127.0.0.2]"] {
        let response = gateway.ask(&get(host)).await;
        let told = (response.status(), response.body.as_str());
        assert_eq!(told, (502, "host_not_allowed"), "{host}");
    }

    let mut case = Case::new(origin.address, &[]);
    case.on_demand.any_address = true;
    let gateway = case.start().await;
    assert_eq!(gateway.ask(&get("127.0.0.1")).await.body, "fine");
    let response = gateway.ask(&get("169.254.169.254")).await;
    assert_eq!(response.status(), 502);
    gateway.logs(" forbidden_address ").await;
}

/// An exact host has endpoints of its own, but for those that are asked for by address.
#[tokio::test]
async fn published_endpoints_serve_whoever_asks_by_name() {
    let published = Origin::answering(ok("published")).await;
    let asked = Origin::answering(ok("asked")).await;
    let mut case = Case::new(asked.address, &[("a.wild.test", &["127.0.0.1"])]);
    case.on_demand.names = None;
    case.published = vec![published.address];
    let names = case.names.clone();
    let gateway = case.start().await;
    for (host, want) in [
        ("a.wild.test", "published"),
        ("shop.test", "published"),
        ("127.0.0.1", "asked"),
        // As a gateway's own address.
        ("192.0.2.1", "published"),
    ] {
        assert_eq!(gateway.ask(&get(host)).await.body, want, "{host}");
    }
    assert_eq!(names.asked(), 0);
}

/// Promise 20: whoever answers for a name cannot send the gateway elsewhere, not at the second time either.
#[tokio::test]
async fn a_name_that_comes_to_stand_for_a_forbidden_address_is_refused() {
    let origin = Origin::answering(ok("fine")).await;
    let case = Case::new(origin.address, &[("a.wild.test", &["127.0.0.1"])]);
    let names = case.names.clone();
    let gateway = case.start().await;
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&get("a.wild.test")).await.body, "fine");
    for addresses in [
        &["127.0.0.2"][..],
        &["169.254.169.254", "::1"],
        &["::ffff:127.0.0.2", "64:ff9b::7f00:2"],
    ] {
        names.say("a.wild.test", addresses);
        let response = client.ask(&get("a.wild.test")).await;
        assert_eq!(response.status(), 502, "{addresses:?}");
        assert!(response.body.ends_with("reason: forbidden_address"));
        assert!(!response.body.contains("127.0.0.2"));
    }
    assert_eq!(origin.hits(), 1);
    gateway.logs(" forbidden_address ").await;
    names.say("a.wild.test", &["127.0.0.2", "127.0.0.1", "::1"]);
    for _ in 0..6 {
        assert_eq!(client.ask(&get("a.wild.test")).await.body, "fine");
    }
}

#[tokio::test]
async fn a_failure_of_the_resolver_is_told_by_its_reason() {
    let origin = Origin::answering(ok("fine")).await;
    let case = Case::new(origin.address, &[("empty.wild.test", &[])]);
    let names = case.names.clone();
    names.fail("late.wild.test", "dns_timeout");
    let gateway = case.start().await;
    let mut client = gateway.client().await;
    for host in ["none.wild.test", "late.wild.test", "empty.wild.test"] {
        let response = client.ask(&get(host)).await;
        let told = (response.status(), response.body.as_str());
        assert_eq!(told, (503, "dns resolution failure"), "{host}");
    }
    for reason in [
        " 503 DF dns_resolution_failure - \"the name server 192.0.2.53 said so of none.wild.test\"",
        " dns_no_such_name ",
        " dns_timeout ",
        " dns_no_address ",
    ] {
        gateway.logs(reason).await;
    }
    names.say("late.wild.test", &["127.0.0.1"]);
    assert_eq!(client.ask(&get("late.wild.test")).await.status(), 200);
}

#[tokio::test]
async fn waiting_for_an_address_counts_towards_the_timeout() {
    let origin = Origin::answering(ok("fine")).await;
    let case = Case::new(origin.address, &[]);
    let names = case.names.clone();
    names.say_nothing("a.wild.test");
    let short = Duration::from_millis(80);
    let gateway = case
        .start_with(|_| {}, |action| action.timeout = Some(short))
        .await;
    let before = Instant::now();
    let response = gateway.ask(&get("a.wild.test")).await;
    assert_eq!(response.status(), 504);
    assert!((short..short * 20).contains(&before.elapsed()));
    assert_eq!(names.waiting(), 0);
    gateway.logs(" 504 UT response_timeout ").await;
}

#[tokio::test]
async fn nobody_is_asked_for_a_client_that_has_gone() {
    let origin = Origin::answering(ok("fine")).await;
    let case = Case::new(origin.address, &[]);
    let names = case.names.clone();
    names.say_nothing("a.wild.test");
    let gateway = case.start().await;
    let mut client = gateway.client().await;
    client.send(&get("a.wild.test")).await;
    eventually("it waits", || names.waiting() == 1).await;
    drop(client);
    eventually("it does not wait any more", || names.waiting() == 0).await;
    gateway.logs(" 0 DC ").await;
    assert_eq!(gateway.cluster().usage().requests, 0);
}

/// The limits of the cluster are those of all its hosts together.
#[tokio::test]
async fn hosts_share_the_limits_of_their_cluster() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Origin::gated(gate.clone(), ok("")).await;
    let answers: [(&str, &[&str]); 2] = [
        ("a.wild.test", &["127.0.0.1"]),
        ("b.wild.test", &["127.0.0.1"]),
    ];
    let gateway = Case::new(origin.address, &answers)
        .start_with(
            |cluster| {
                cluster.pool.max_connections = Some(1);
                cluster.pool.max_pending_requests = Some(1);
            },
            |_| {},
        )
        .await;
    let begin = async |host| {
        let mut client = gateway.client().await;
        client.send(&get(host)).await;
        client
    };
    let mut first = begin("a.wild.test").await;
    eventually("it is served", || origin.hits() == 1).await;
    let mut second = begin("b.wild.test").await;
    let usage = || gateway.cluster().usage();
    eventually("it waits", || usage().pending == 1).await;
    let third = gateway.ask(&get("b.wild.test")).await;
    assert_eq!(third.header("x-envoy-overloaded").unwrap(), "true");
    gate.add_permits(2);
    assert_eq!(first.response().await.status(), 200);
    assert_eq!(second.response().await.status(), 200);
    // In clear, a connection to an address is as good for one host as for another.
    assert_eq!(origin.connections(), 1);
    let metrics = gateway.shared.metrics.text();
    assert!(metrics.contains(r#"limit="pending"} 1"#), "{metrics}");
    assert!(
        !metrics.contains("a.wild.test"),
        "promise 18: labels are bounded"
    );
}

#[tokio::test]
async fn counters_are_kept_when_the_answer_changes() {
    let origin = Origin::answering(ok("fine")).await;
    let case = Case::new(origin.address, &[("a.wild.test", &["127.0.0.1"])]);
    let names = case.names.clone();
    let gateway = case.start().await;
    let cluster = || gateway.shared.on_demand_clusters().next().unwrap();
    gateway.ask(&get("a.wild.test")).await;
    let first = cluster();
    gateway.ask(&get("a.wild.test")).await;
    assert!(Arc::ptr_eq(&first, &cluster()), "nothing changed");
    names.say("a.wild.test", &["127.0.0.1"]);
    gateway.ask(&get("a.wild.test")).await;
    assert!(Arc::ptr_eq(&first, &cluster()), "nothing changed again");
    names.say("a.wild.test", &["127.0.0.3", "127.0.0.1"]);
    gateway.ask(&get("a.wild.test")).await;
    let members: Vec<_> = cluster()
        .endpoints
        .members()
        .iter()
        .map(|member| (member.value.address.to_string(), member.state.total()))
        .collect();
    assert_eq!(members.len(), 2);
    let total = members.iter().map(|(_, total)| total).sum::<u64>();
    assert!(total >= 4, "{members:?}");
    assert!(members[1].1 >= 3, "{members:?}");
    assert_eq!(origin.connections(), 1);
}

/// An endpoint that is ejected comes back by itself, although no table has it.
#[tokio::test]
async fn endpoints_that_were_found_are_ejected_and_come_back() {
    let origin = Origin::start(|n| match n {
        0 => super::origin::respond(503, "", "bad"),
        _ => ok("fine"),
    })
    .await;
    let gateway = Case::new(origin.address, &[("a.wild.test", &["127.0.0.1"])])
        .start_with(
            |cluster| {
                cluster.outlier_detection = Some(OutlierDetection {
                    consecutive_5xx_errors: 1,
                    interval: Duration::from_millis(100),
                    base_ejection_time: Duration::from_millis(300),
                    max_ejection_percent: 100,
                    ..OutlierDetection::default()
                });
            },
            |action| action.retry = retries(0, "5xx"),
        )
        .await;
    assert_eq!(gateway.ask(&get("a.wild.test")).await.status(), 503);
    let host = gateway.shared.on_demand_clusters().next().unwrap();
    assert_eq!(host.ejected(), 1);
    let gauge = |number: &str| {
        let text = gateway.shared.metrics.text();
        let name = "tidegate_ejected_endpoints{";
        let mut lines = text.lines().filter(|line| line.starts_with(name));
        lines.any(|line| line.ends_with(number))
    };
    eventually("it is counted", || gauge("} 1")).await;
    assert_eq!(gateway.ask(&get("a.wild.test")).await.status(), 503);
    assert_eq!(origin.hits(), 1);
    eventually("it is back", || host.ejected() == 0).await;
    eventually("it is not counted", || gauge("} 0")).await;
    assert_eq!(gateway.ask(&get("a.wild.test")).await.body, "fine");
}

/// Promise 20: a name that leads to the gateway itself would go round for ever.
#[tokio::test]
async fn the_gateway_does_not_connect_to_itself() {
    let origin = Origin::answering(ok("fine")).await;
    let gateway = Case::new(origin.address, &[("a.wild.test", &["127.0.0.1"])])
        .start()
        .await;
    let own_ports = gateway.shared.own_ports.clone();
    assert!(own_ports.lead_to_itself(gateway.address));
    assert_eq!(gateway.ask(&get("a.wild.test")).await.status(), 200);
    let port = own_ports.hold(origin.address.port());
    for host in ["a.wild.test", "127.0.0.1"] {
        let response = gateway.ask(&get(host)).await;
        let told = (response.status(), response.body.as_str());
        assert_eq!(told, (502, "proxy_loop"), "{host}");
    }
    drop(port);
    assert_eq!(gateway.ask(&get("a.wild.test")).await.status(), 200);
    gateway.logs(" proxy_loop ").await;
    gateway.listeners.apply(&rules::Table::default());
    assert!(!own_ports.lead_to_itself(gateway.address));
}

#[tokio::test]
async fn hosts_are_forgotten_with_their_cluster() {
    let origin = Origin::answering(ok("fine")).await;
    let gateway = Case::new(origin.address, &[("a.wild.test", &["127.0.0.1"])])
        .start()
        .await;
    gateway.ask(&get("a.wild.test")).await;
    let publish = |table| {
        let endpoints = Endpoints::default();
        gateway.shared.publish(table, &endpoints, Arc::default());
    };
    publish(gateway.table.clone());
    assert_eq!(hosts(&gateway), ["a.wild.test:8000"]);
    publish(Arc::default());
    assert_eq!(hosts(&gateway), [""; 0]);
    eventually("its connection is closed", || origin.open() == 0).await;
}

#[tokio::test]
async fn another_attempt_goes_to_another_address_of_the_host() {
    let origin = Origin::answering(ok("fine")).await;
    // Nobody listens on the first.
    let answers: [(&str, &[&str]); 1] = [("a.wild.test", &["127.0.0.3", "127.0.0.1"])];
    let case = Case::new(origin.address, &answers);
    let names = case.names.clone();
    let gateway = case
        .start_with(
            |_| {},
            |action| action.retry = retries(1, "connect-failure"),
        )
        .await;
    for _ in 0..4 {
        assert_eq!(gateway.ask(&get("a.wild.test")).await.body, "fine");
    }
    assert_eq!(names.asked(), 4, "once for each request");
}

#[tokio::test]
async fn a_websocket_goes_to_the_host_that_it_asks_for() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::answering(Act::Echo(switching.into())).await;
    let gateway = Case::new(origin.address, &[("a.wild.test", &["127.0.0.1"])])
        .start()
        .await;
    let upgrade = |host: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
    };
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&upgrade("a.wild.test")).await.status(), 101);
    client.send("hello").await;
    assert_eq!(client.bytes(5).await, "hello");
    assert_eq!(gateway.ask(&upgrade("evil.test")).await.status(), 502);
}

#[tokio::test]
async fn a_mirror_finds_its_endpoint_without_delaying_anybody() {
    let origin = Origin::answering(ok("real")).await;
    let shadow = Origin::answering(ok("ignored")).await;
    let names = Names::of(&[("a.wild.test", &["127.0.0.1"])]);
    names.say_nothing("slow.wild.test");
    let mut rules = Rules::default();
    rules.resolver = Some(names.clone());
    let port = shadow.address.port();
    let mirror = rules.cluster_with("shadow", UpstreamProtocol::Http1, &[], |cluster| {
        cluster.on_demand = Some(Arc::new(wild(port)));
    });
    let cluster = rules.cluster("shop", UpstreamProtocol::Http1, &[origin.address]);
    rules.route(Predicate::default(), cluster, |action| {
        action.mirrors = vec![Mirror {
            cluster: ClusterTarget::Cluster(mirror),
            share: PartsPerMillion(1_000_000),
        }];
    });
    let gateway = start(rules).await;
    for host in ["slow.wild.test", "evil.test", "a.wild.test"] {
        assert_eq!(gateway.ask(&get(host)).await.body, "real");
    }
    eventually("one is mirrored", || shadow.hits() == 1).await;
    eventually("one was refused", || {
        let text = gateway.shared.metrics.text();
        text.contains(r#"result="failed"} 1"#) && text.contains(r#"result="sent"} 1"#)
    })
    .await;
    assert_eq!(names.waiting(), 1);
}

/// A server in TLS, and the names that its connections were made for.
struct TlsOrigin {
    address: SocketAddr,
    names: Arc<Mutex<Vec<Option<String>>>>,
    requests: Arc<AtomicUsize>,
}

impl TlsOrigin {
    async fn start(authority: &Authority, names: &[&str]) -> Self {
        let issued = authority.server(names);
        let acceptor = TlsAcceptor::from(Setup::of(&issued).config());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            names: Arc::default(),
            requests: Arc::default(),
        };
        let (names, requests) = (origin.names.clone(), origin.requests.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, names, requests) =
                    (acceptor.clone(), names.clone(), requests.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let name = stream.get_ref().1.server_name().map(str::to_owned);
                    names.lock().unwrap().push(name);
                    let mut buffer = Vec::new();
                    while Message::read(&mut stream, &mut buffer, false)
                        .await
                        .is_some()
                    {
                        requests.fetch_add(1, SeqCst);
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
                        stream.write_all(answer).await.unwrap();
                        stream.flush().await.unwrap();
                    }
                });
            }
        });
        origin
    }

    fn names(&self) -> Vec<Option<String>> {
        self.names.lock().unwrap().clone()
    }
}

async fn over_tls(origin: &TlsOrigin, authority: &Authority, exact: bool) -> Gateway {
    let answers: [(&str, &[&str]); 2] = [
        ("a.wild.test", &["127.0.0.1"]),
        ("b.wild.test", &["127.0.0.1"]),
    ];
    let mut case = Case::new(origin.address, &answers);
    if exact {
        case.on_demand.names = None;
    }
    let mut rules = Rules::default();
    rules.credentials = Arc::new(trusting(authority));
    let change = |cluster: &mut Cluster| {
        cluster.tls = UpstreamSecurity::Rule(Arc::new(simple()));
        if !exact {
            cluster.key.host = "*.wild.test".into();
        }
    };
    case.start_by(rules, UpstreamProtocol::Http1, change, |_| {})
        .await
}

/// The name that was allowed is the name that is dialled, sent and looked for, and no connection is another host's.
#[tokio::test]
async fn connections_in_tls_are_used_again_for_their_host_alone() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, &["a.wild.test", "b.wild.test"]).await;
    let gateway = over_tls(&origin, &authority, false).await;
    let mut client = gateway.client().await;
    for host in [
        "a.wild.test",
        "A.wild.test:8000",
        "b.wild.test",
        "a.wild.test",
    ] {
        assert_eq!(client.ask(&get(host)).await.body, "fine", "{host}");
    }
    let names = ["a.wild.test", "b.wild.test"].map(|name| Some(name.to_owned()));
    assert_eq!(origin.names(), names);
    assert_eq!(origin.requests.load(SeqCst), 4);
}

#[tokio::test]
async fn a_certificate_of_another_host_is_refused() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, &["a.wild.test"]).await;
    let gateway = over_tls(&origin, &authority, false).await;
    assert_eq!(gateway.ask(&get("a.wild.test")).await.status(), 200);
    assert_eq!(gateway.ask(&get("b.wild.test")).await.status(), 503);
    gateway.logs(" certificate_invalid ").await;
}

/// Whoever asks for one of its addresses means the service, whose certificate has its name.
#[tokio::test]
async fn an_exact_host_that_is_reached_by_address_keeps_its_name() {
    let authority = Authority::new();
    let host = "wild.default.svc.cluster.local";
    let origin = TlsOrigin::start(&authority, &[host]).await;
    let gateway = over_tls(&origin, &authority, true).await;
    assert_eq!(gateway.ask(&get("127.0.0.1")).await.body, "fine");
    assert_eq!(origin.names(), [Some(host.to_owned())]);
}

/// Other certificates make other connections, although no endpoint of the cluster is published.
#[tokio::test]
async fn authorities_that_change_count_for_hosts_that_were_found() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(&authority, &["a.wild.test"]).await;
    let gateway = over_tls(&origin, &authority, false).await;
    let mut client = Client::connect(gateway.address).await;
    assert_eq!(client.ask(&get("a.wild.test")).await.status(), 200);
    let others = Arc::new(trusting(&Authority::new()));
    gateway
        .shared
        .publish(gateway.table.clone(), &gateway.endpoints, others);
    assert_eq!(client.ask(&get("a.wild.test")).await.status(), 503);
    gateway.logs(" certificate_invalid ").await;
}

#[tokio::test]
async fn requests_in_http2_share_connections_to_what_they_ask_for() {
    let server = Server::start(PLAIN).await;
    let answers: [(&str, &[&str]); 2] = [
        ("a.wild.test", &["127.0.0.1"]),
        ("b.wild.test", &["127.0.0.2"]),
    ];
    let case = Case::new(server.address, &answers);
    let gateway = case
        .start_by(Rules::default(), UpstreamProtocol::Http2, |_| {}, |_| {})
        .await;
    for _ in 0..3 {
        assert_eq!(gateway.ask(&get("a.wild.test")).await.status(), 200);
        assert_eq!(gateway.ask(&get("b.wild.test")).await.status(), 502);
    }
    assert_eq!(server.made.load(SeqCst), 1);
}
