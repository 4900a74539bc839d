//! What a pod receives: where its application gets it, how much of it, and what is in it.

use e2e::{
    Connection, Gate, Mesh, Origin, Pod, PodSetup, Request, ServiceSpec, TcpOrigin, eventually,
};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::thread;

const PORT: u16 = 9080;

/// A server and a client with sidecars, a client without, and a Service between them.
struct Three {
    client: Pod,
    plain: Pod,
    server: Pod,
    mesh: Mesh,
}

impl Three {
    fn new() -> Self {
        Self::with(&[], |setup| setup)
    }

    /// With these files of resources, and another sidecar of the server.
    fn with(files: &[(&str, &str)], change: impl for<'m> Fn(PodSetup<'m>) -> PodSetup<'m>) -> Self {
        let mesh = Mesh::new();
        for (name, text) in files {
            mesh.write(name, text);
        }
        mesh.service(ServiceSpec::new("server").port("http", PORT));
        Self {
            server: change(mesh.pod("server-v1")).start(),
            client: mesh.pod("client-v1").start(),
            plain: mesh.pod("plain").alone(),
            mesh,
        }
    }

    /// The server's address, for clients without a sidecar.
    fn url(&self, path: &str) -> String {
        format!("{}:{PORT}{path}", self.server.address())
    }

    fn echo_at(&self, address: IpAddr) -> Origin {
        self.server
            .enter(|| Origin::echo_at((address, PORT).into()))
    }
}

/// A Sidecar in `default` for the server, with these fields of its `spec`.
fn sidecar(spec: &str) -> String {
    let mut text = "apiVersion: networking.istio.io/v1\n\
                    kind: Sidecar\n\
                    metadata: {name: server, namespace: default}\n\
                    spec:\n  workloadSelector: {labels: {app: server}}\n"
        .to_owned();
    for line in spec.lines() {
        text += &format!("  {line}\n");
    }
    text
}

/// What the application was told, by the name of a header in lower case; absent: nothing.
fn told<'a>(echo: &'a Value, name: &str) -> Option<&'a str> {
    let headers = echo["headers"].as_array()?;
    let mut headers = headers.iter().filter(|pair| {
        let found = pair[0].as_str().unwrap_or_default();
        found.eq_ignore_ascii_case(name)
    });
    headers.next()?[1].as_str()
}

fn json(answer: &e2e::Response) -> Value {
    serde_json::from_slice(&answer.body).expect("an echo")
}

/// Applications listen at all addresses, or at the pod's, and are asked by the sidecar's address on loopback.
#[test]
fn an_application_listens_everywhere_or_at_the_pod_s_address() {
    let three = Three::new();
    for address in [Ipv4Addr::UNSPECIFIED, three.server.address()] {
        let origin = three.echo_at(address.into());
        for _ in 0..2 {
            assert_eq!(three.client.get("server:9080/").status, 200, "{address}");
            assert_eq!(three.plain.get(&three.url("/")).status, 200, "{address}");
        }
        assert_eq!(origin.hits(), 4);
    }
}

/// As in Istio: an application that listens on loopback alone is not found there, unless the sidecar is told so.
#[test]
fn an_application_on_loopback_alone_is_not_found() {
    let three = Three::new();
    let _origin = three.echo_at(Ipv4Addr::LOCALHOST.into());
    let answer = three.plain.get(&three.url("/"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    let record = three
        .server
        .agent()
        .logged_with("upstream_cluster", "inbound|9080||");
    // Nothing was sent yet, so that it was tried again.
    assert_eq!(record["response_flags"], "URX,UF", "{record}");
}

#[test]
fn an_application_on_loopback_is_found_where_the_sidecar_is_told_so() {
    let three = Three::with(&[], |setup| {
        setup.config("capture", "inbound-on-loopback = true")
    });
    let _origin = three.echo_at(Ipv4Addr::LOCALHOST.into());
    assert_eq!(three.plain.get(&three.url("/")).status, 200);
    assert_eq!(three.client.get("server:9080/").status, 200);
}

#[test]
fn a_sidecar_leads_to_another_port_on_loopback() {
    let ingress = "ingress:\n\
                   - port: {number: 9080, protocol: HTTP, name: http}\n  \
                     defaultEndpoint: 127.0.0.1:8000\n";
    let three = Three::with(&[("sidecar.yaml", &sidecar(ingress))], |setup| setup);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    let origin = three.server.enter(|| Origin::echo_at(at));
    assert_eq!(three.client.get("server:9080/").status, 200);
    assert_eq!(three.plain.get(&three.url("/")).status, 200);
    assert_eq!(origin.hits(), 2);
    let record = three.server.agent().logged("/");
    assert_eq!(record["upstream_host"], "127.0.0.1:8000", "{record}");
    // A port that it does not name is passed through.
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7000));
    let _other = three.server.enter(|| TcpOrigin::named_at(at, "220 ready"));
    let mut other = three.plain.connect((three.server.address(), 7000));
    assert_eq!(other.read_to_end(), b"220 ready");
}

#[test]
fn a_sidecar_leads_bytes_to_another_port_on_loopback() {
    let ingress = "ingress:\n\
                   - port: {number: 9000, protocol: TCP, name: tcp}\n  \
                     defaultEndpoint: 127.0.0.1:8000\n";
    let three = Three::with(&[("sidecar.yaml", &sidecar(ingress))], |setup| setup);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
    let _origin = three.server.enter(|| TcpOrigin::named_at(at, "220 ready"));
    let mut connection = three.plain.connect((three.server.address(), 9000));
    assert_eq!(connection.read_to_end(), b"220 ready");
}

#[test]
fn a_sidecar_leads_to_a_unix_socket() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The sidecar is nobody special.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).expect("the folder is ours");
    let socket = folder.path().join("application");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&socket, open).expect("the socket is ours");
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = [0; 4096];
        let read = stream.read(&mut head).expect("a request");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nunix";
        stream.write_all(answer).expect("the answer is sent");
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let ingress = format!(
        "ingress:\n\
         - port: {{number: 9080, protocol: HTTP, name: http}}\n  \
           defaultEndpoint: unix://{}\n",
        socket.display()
    );
    let three = Three::with(&[("sidecar.yaml", &sidecar(&ingress))], |setup| setup);
    assert_eq!(three.plain.get(&three.url("/path")).text(), "unix");
    let request = serving.join().expect("the application");
    assert!(request.starts_with("GET /path HTTP/1.1\r\n"), "{request}");
}

/// Requests wait for a connection as many as may be open, and more than may wait are refused.
#[test]
fn a_sidecar_limits_connections_to_its_application() {
    let limits = "inboundConnectionPool:\n  \
                    tcp: {maxConnections: 1}\n  \
                    http: {http1MaxPendingRequests: 1}\n";
    let three = Three::with(&[("sidecar.yaml", &sidecar(limits))], |setup| setup);
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let gate = three.server.enter(|| Gate::start_at(at));
    let ask = || {
        let mut connection = three.plain.connect((three.server.address(), PORT));
        let request = Request::get("server", "/").bytes();
        connection.write(&request).expect("the request is sent");
        connection
    };
    let mut first = ask();
    gate.wait_for_request();
    // Of those that come now one may wait; all others are told at once.
    let mut others: Vec<Connection> = (0..3).map(|_| ask()).collect();
    eventually("two are refused", || {
        let records = three.server.agent().access_log();
        let refused = records
            .iter()
            .filter(|record| record["response_flags"] == "UO");
        refused.count() == 2
    });
    for _ in 0..2 {
        gate.open();
    }
    let mut statuses = Vec::new();
    for connection in [&mut first].into_iter().chain(&mut others) {
        let answer = connection.read_response("GET").expect("an answer");
        if answer.status == 503 {
            assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses.remove(0), 200);
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503, 503]);
    assert_eq!(gate.origin().peak_connections(), 1);
}

/// Limits of a DestinationRule are the server's as well: a client without a sidecar meets them, too.
#[test]
fn a_destination_rule_limits_what_a_server_gets() {
    let policy = "trafficPolicy:\n  \
                    connectionPool:\n    \
                      http: {http2MaxRequests: 1}\n";
    let rule = e2e::destination_rule("server", policy);
    let three = Three::with(&[("rule.yaml", &rule)], |setup| setup);
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let gate = three.server.enter(|| Gate::start_at(at));
    let mut first = three.plain.connect((three.server.address(), PORT));
    first
        .write(&Request::get("server", "/").bytes())
        .expect("the request is sent");
    gate.wait_for_request();
    let second = three.plain.get(&three.url("/"));
    assert_eq!(second.status, 503, "{}", second.text());
    gate.open();
    assert_eq!(first.read_response("GET").expect("an answer").status, 200);
}

/// Neither sidecar says who asked, what was asked is told as it came, and each says who answers.
#[test]
fn headers_of_requests_and_answers_are_istio_s() {
    let three = Three::new();
    let _origin = three.echo_at(Ipv4Addr::UNSPECIFIED.into());
    let sent = [
        ("X-Request-Id", "3f1b2c9a-7d4e-4a55-9a57-000000000001"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Custom-CASE", "kept"),
    ];
    let answer = three.client.get_with("server:9080/?q=1", &sent);
    assert_eq!(answer.header("server"), Some("envoy"));
    assert_eq!(answer.values("server").len(), 1);
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
    let echo = json(&answer);
    assert_eq!(told(&echo, "host"), Some("server:9080"));
    for (name, value) in sent {
        assert_eq!(told(&echo, name), Some(value), "{echo}");
    }
    // Promise 12.
    let spelled = |pair: &Value| pair[0] == "X-Custom-CASE";
    assert!(
        echo["headers"]
            .as_array()
            .is_some_and(|all| all.iter().any(spelled)),
        "{echo}"
    );
    assert_eq!(told(&echo, "x-forwarded-proto"), Some("http"));
    // Promise 14: in clear anybody could say so.
    for name in [
        "x-envoy-attempt-count",
        "x-envoy-peer-metadata",
        "x-envoy-peer-metadata-id",
    ] {
        assert_eq!(told(&echo, name), None, "{echo}");
    }
    let answer = three.plain.get(&three.url("/"));
    assert_eq!(answer.header("server"), Some("istio-envoy"));
    let echo = json(&answer);
    assert_eq!(told(&echo, "x-forwarded-for"), None, "{echo}");
    let id = told(&echo, "x-request-id").unwrap_or_default();
    assert_eq!(id.len(), 36, "{echo}");
}

/// The same request in the logs of both sides.
#[test]
fn both_sides_tell_of_a_request() {
    let three = Three::new();
    let _origin = three.echo_at(Ipv4Addr::UNSPECIFIED.into());
    let id = "3f1b2c9a-7d4e-4a55-9a57-000000000002";
    three
        .client
        .get_with("server:9080/told", &[("x-request-id", id)]);
    let sent = three.client.agent().logged_with("request_id", id);
    let received = three.server.agent().logged_with("request_id", id);
    let cluster = "outbound|9080||server.default.svc.cluster.local";
    assert_eq!(sent["upstream_cluster"], cluster, "{sent}");
    assert_eq!(
        sent["downstream_local_address"],
        *three.client.resolve("server", PORT).to_string()
    );
    assert_eq!(received["upstream_cluster"], "inbound|9080||", "{received}");
    let local = received["upstream_local_address"]
        .as_str()
        .unwrap_or_default();
    assert!(local.starts_with("127.0.0.6:"), "{received}");
    let _ = &three.mesh;
}
