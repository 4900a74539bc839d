//! What a pod sends to where no Service is: what is let out, and what leads nowhere.

use crate::egress::entry;
use e2e::{
    After, Authority, Connection, Mesh, Origin, Outside, Pod, Request, SecureOrigin, ServiceSpec,
    TcpOrigin, TlsClient, World, eventually,
};
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

const ALLOW_ANY: &str = "outbound-traffic-policy = \"ALLOW_ANY\"";

/// What tells in the access log why a connection or request was refused.
const NOT_IN_REGISTRY: &str = "not_in_registry";
const LOOP: &str = "proxy_loop";

const HTTP: &str = "{number: 80, name: http, protocol: HTTP}";
const TLS: &str = "{number: 443, name: tls, protocol: TLS}";

/// A pod with a sidecar, and servers outside of the mesh.
struct Edge {
    http: Origin,
    secure: SecureOrigin,
    tcp: TcpOrigin,
    authority: Authority,
    client: Pod,
    outside: Outside,
    mesh: Mesh,
}

/// The first of the servers.
fn server(port: u16) -> SocketAddr {
    (World::SERVERS[0], port).into()
}

impl Edge {
    /// With a file of resources, and a line of the sidecar's `[mesh]`.
    fn new(resources: &str, config: &str) -> Self {
        let mesh = Mesh::new();
        let outside = mesh.outside();
        let names = SocketAddr::from((World::NAME_SERVER, 53));
        let address = World::SERVERS[0].to_string();
        outside.names.set("outside.test", &[&address], 60);
        mesh.write("egress.yaml", resources);
        let client = mesh
            .pod("client-v1")
            .config("mesh", config)
            .config("mesh", "protocol-detection-timeout = \"100ms\"")
            .config("dns", &format!("servers = [\"{names}\"]"))
            .start();
        let authority = Authority::new("outside");
        let certificate = authority.issue(&["outside.test"]);
        let machine = &outside.machine;
        Self {
            http: machine.enter(|| Origin::named_at(server(80), "http")),
            secure: machine.enter(|| SecureOrigin::start_at(server(443), "tls", &certificate)),
            tcp: machine.enter(|| TcpOrigin::named_at(server(25), "220 ready")),
            authority,
            client,
            outside,
            mesh,
        }
    }

    /// `GET` with this `Host`.
    fn get(&self, host: &str) -> (u16, String) {
        let mut connection = self.client.connect(server(80));
        let answer = connection
            .send(&Request::get(host, "/"))
            .expect("an answer");
        (answer.status, answer.text())
    }

    /// What is said in TLS to who asks for this name.
    fn ask_in_tls(&self, name: &str) -> io::Result<String> {
        let client = TlsClient::new(&self.authority, name).alpn(&["http/1.1"]);
        let mut tls = client.shake_hands(self.client.connect(server(443)).into_stream())?;
        Ok(tls.send(&Request::get(name, "/"))?.text())
    }

    fn connections(&self) -> [usize; 3] {
        [
            self.http.connections(),
            self.secure.connections(),
            self.tcp.connections(),
        ]
    }
}

/// Promise 20.
#[test]
fn what_is_not_in_the_registry_is_refused() {
    let edge = Edge::new("", "");
    assert_eq!(edge.get("outside.test").0, 502);
    let record = edge.client.agent().logged_with("authority", "outside.test");
    assert_eq!(record["reason"], NOT_IN_REGISTRY, "{record}");
    assert!(edge.ask_in_tls("outside.test").is_err());
    let sni = edge
        .client
        .agent()
        .logged_with("requested_server_name", "outside.test");
    assert_eq!(sni["reason"], NOT_IN_REGISTRY, "{sni}");
    assert!(edge.client.connect(server(25)).read_to_end().is_empty());
    assert_eq!(edge.connections(), [0, 0, 0]);
    assert_eq!(edge.outside.names.queries("outside.test"), 0);
}

#[test]
fn what_an_entry_allows_is_let_out() {
    let allowed = entry(
        "default",
        &["outside.test"],
        &[HTTP, TLS],
        "resolution: DNS",
    );
    let edge = Edge::new(&allowed, "");
    assert_eq!(edge.get("outside.test"), (200, "http".into()));
    assert_eq!(edge.get("other.test").0, 502);
    assert_eq!(edge.ask_in_tls("outside.test").expect("TLS"), "tls");
    assert!(edge.ask_in_tls("other.test").is_err());
    assert!(edge.client.connect(server(25)).read_to_end().is_empty());
    assert_eq!(edge.connections(), [1, 1, 0]);
}

/// The original example's entry resolves nothing. Unlike in Istio its name is looked up all the same: what was allowed is
/// what is dialled, wherever the application says that it is (promise 20).
#[test]
fn an_entry_without_resolution_leads_to_its_name() {
    let entry = e2e::seed("12-serviceentry-egress.yaml").replace("httpbin.org", "outside.test");
    let edge = Edge::new(&entry, "");
    assert_eq!(edge.get("outside.test"), (200, "http".into()));
    assert_eq!(edge.get("other.test").0, 502);
    let elsewhere = SocketAddr::from((World::SERVERS[1], 80));
    let evil = edge
        .outside
        .machine
        .enter(|| Origin::named_at(elsewhere, "evil"));
    let mut connection = edge.client.connect(elsewhere);
    let answer = connection.send(&Request::get("outside.test", "/"));
    assert_eq!(answer.expect("an answer").text(), "http");
    assert_eq!(evil.connections(), 0);
}

/// The TCP port of an entry is told by its address alone.
#[test]
fn bytes_are_let_out_by_their_address() {
    let at = format!(
        "resolution: STATIC\naddresses: [{0}]\nendpoints: [{{address: {0}}}]",
        World::SERVERS[0]
    );
    let tcp = "{number: 25, name: tcp, protocol: TCP}";
    let edge = Edge::new(&entry("default", &["mail.test"], &[tcp], &at), "");
    assert_eq!(edge.client.connect(server(25)).read_to_end(), b"220 ready");
    let other = SocketAddr::from((World::SERVERS[1], 25));
    assert!(edge.client.connect(other).read_to_end().is_empty());
}

/// Everything goes where it was going, as if there were no sidecar but for the access log.
#[test]
fn everything_is_let_out() {
    let edge = Edge::new("", ALLOW_ANY);
    assert_eq!(edge.get("outside.test"), (200, "http".into()));
    assert_eq!(edge.ask_in_tls("outside.test").expect("TLS"), "tls");
    assert_eq!(edge.client.connect(server(25)).read_to_end(), b"220 ready");
    let record = edge.client.agent().logged_with("authority", "outside.test");
    assert_eq!(record["upstream_cluster"], "PassthroughCluster", "{record}");
    assert_eq!(record["upstream_host"], *server(80).to_string(), "{record}");
    // Nobody asks for names whose addresses are known.
    assert_eq!(edge.outside.names.queries("outside.test"), 0);
    assert_eq!(edge.connections(), [1, 1, 1]);
}

/// A Sidecar says more than the mesh, and is heard at once.
#[test]
fn a_sidecar_limits_what_is_seen() {
    let edge = Edge::new("", ALLOW_ANY);
    let serve = |name: &str| {
        edge.mesh.service(ServiceSpec::new(name).port("http", 9080));
        let pod = edge.mesh.pod(&format!("{name}-v1")).alone();
        let origin = pod.serve(9080, |exchange| {
            exchange.reply(200, &[], b"here")?;
            Ok(After::Keep)
        });
        (pod, origin)
    };
    let (_one, _two) = (serve("one"), serve("two"));
    let status = |name: &str| edge.client.get(&format!("{name}:9080/")).status;
    eventually("both are known", || {
        status("one") == 200 && status("two") == 200
    });
    edge.mesh.write(
        "sidecar.yaml",
        "apiVersion: networking.istio.io/v1\n\
         kind: Sidecar\n\
         metadata: {name: default, namespace: default}\n\
         spec:\n  \
           outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n  \
           egress: [{hosts: [./one.default.svc.cluster.local]}]\n",
    );
    eventually("the other is not seen", || status("two") == 502);
    assert_eq!(status("one"), 200);
    assert_eq!(edge.get("outside.test").0, 502);
    edge.mesh.remove("sidecar.yaml");
    eventually("both are seen again", || status("two") == 200);
    assert_eq!(edge.get("outside.test").0, 200);
}

/// Connections to the sidecar itself lead nowhere, from its own pod and from others, and stop nobody.
#[test]
fn loops_are_refused() {
    let mesh = Mesh::new();
    let service = mesh.service(ServiceSpec::new("server").port("http", 9080));
    let pod = mesh.pod("server-v1").config("mesh", ALLOW_ANY).start();
    let other = mesh.pod("other").alone();
    let _origin = pod.serve(9080, |exchange| {
        exchange.reply(200, &[], b"here")?;
        Ok(After::Keep)
    });
    for port in [15001, 15006] {
        let from_inside = [Ipv4Addr::LOCALHOST, pod.address()];
        let dialled = from_inside.map(|at| (&pod, at));
        for (from, at) in dialled.into_iter().chain([(&other, pod.address())]) {
            let mut connection = from.connect((at, port));
            let sent = connection.send(&Request::get("server", "/"));
            let status = sent.map(|answer| answer.status);
            assert!(!matches!(status, Ok(200)), "{at}:{port}: {status:?}");
        }
    }
    // Connections are, and requests that the way in would have led to the way out.
    for code in [0, 502] {
        eventually("it is said why", || {
            let records = pod.agent().access_log();
            let is_told = |one: &Value| one["reason"] == LOOP && one["response_code"] == code;
            records.iter().any(is_told)
        });
    }
    let url = format!("{}:9080/", pod.address());
    assert_eq!(other.get(&url).text(), "here");
    assert!(
        pod.agent().access_log().len() < 20,
        "{}",
        pod.agent().access_log_text()
    );
    let _ = service;
}

/// A pod is an endpoint of its own Service: then it is reached by its own sidecar, both ways.
#[test]
fn a_pod_reaches_its_own_service() {
    let mesh = Mesh::new();
    mesh.service(ServiceSpec::new("server").port("http", 9080));
    let pod = mesh.pod("server-v1").start();
    let _origin = pod.serve(9080, |exchange| {
        let peer = exchange.stream().get_ref().peer_addr()?.ip().to_canonical();
        exchange.reply(200, &[], peer.to_string().as_bytes())?;
        Ok(After::Keep)
    });
    assert_eq!(pod.get("server:9080/own").text(), "127.0.0.6");
    let clusters = || {
        let records = pod.agent().access_log().into_iter();
        let mut clusters: Vec<_> = records
            .map(|record| {
                record["upstream_cluster"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        clusters.sort();
        clusters
    };
    let both = [
        "inbound|9080||",
        "outbound|9080||server.default.svc.cluster.local",
    ];
    eventually("both ways are logged", || clusters() == both);
    // Its own addresses are nobody's business.
    let (own, loopback) = (pod.address(), Ipv4Addr::LOCALHOST);
    for at in [own, loopback] {
        assert_eq!(pod.get(&format!("{at}:9080/")).text(), at.to_string());
    }
    assert_eq!(clusters(), both);
}

/// Without a virtual address clients connect to pods, and ask them by the Service's name.
#[test]
fn a_headless_service_is_asked_by_its_name() {
    let mesh = Mesh::new();
    mesh.headless(ServiceSpec::new("server").port("http", 9080));
    let server = mesh.pod("server-v1").start();
    let client = mesh.pod("client-v1").start();
    let _http = server.serve(9080, |exchange| {
        exchange.reply(200, &[], b"here")?;
        Ok(After::Keep)
    });
    let mut connection = client.connect((server.address(), 9080));
    let answer = connection.send(&Request::get("server:9080", "/named"));
    assert_eq!(answer.expect("an answer").text(), "here");
    let record = client.agent().logged("/named");
    let cluster = "outbound|9080||server.default.svc.cluster.local";
    assert_eq!(record["upstream_cluster"], cluster, "{record}");
    let host = format!("{}:9080", server.address());
    assert_eq!(record["upstream_host"], *host, "{record}");
}

/// Both families of addresses, from a sidecar that listens to both.
#[test]
fn a_dual_stack_service_is_reached_by_both() {
    let mesh = Mesh::new();
    let service = ServiceSpec::new("server")
        .port("http", 9080)
        .port("tcp", 7000);
    let v4 = mesh.service(service.dual_stack());
    let v6 = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 1);
    let both = |name| {
        mesh.pod(name)
            .config("capture", "outbound = \"[::]:15001\"")
            .config("capture", "inbound = \"[::]:15006\"")
            .start()
    };
    let (server, client) = (both("server-v1"), both("client-v1"));
    let _http = server.serve(9080, |exchange| {
        exchange.reply(200, &[], b"here")?;
        Ok(After::Keep)
    });
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7000));
    let _tcp = server.enter(|| TcpOrigin::named_at(everywhere, "220 ready"));
    let get = |mut connection: Connection| {
        let answer = connection.send(&Request::get("server:9080", "/"));
        answer.expect("an answer").text()
    };
    assert_eq!(get(client.connect((v4, 9080))), "here");
    assert_eq!(get(client.connect((v6, 9080))), "here");
    assert_eq!(client.connect((v4, 7000)).read_to_end(), b"220 ready");
    assert_eq!(client.connect((v6, 7000)).read_to_end(), b"220 ready");
    // A pod's own address of IPv6, from one without a sidecar.
    let plain = mesh.pod("plain").alone();
    assert_eq!(get(plain.connect((server.address_v6(), 9080))), "here");
    let peer = format!("[{}]:", plain.address_v6());
    eventually("its address is logged", || {
        let records = server.agent().access_log();
        let peers = records
            .iter()
            .filter_map(|one| one["downstream_remote_address"].as_str());
        peers.into_iter().any(|one| one.starts_with(&peer))
    });
}
