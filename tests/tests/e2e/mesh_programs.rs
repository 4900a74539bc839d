//! Programs that know nothing of a mesh, between two sidecars.

use crate::mesh_tls::peers;
use e2e::{
    Authority, GrpcOrigin, Httpbin, Mesh, Pod, PodSetup, Ran, Redis, ServiceSpec, WebSocket,
    call_grpc_at, websocket_echo,
};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A server and a client with sidecars, and a Service on this port between them.
struct Pair {
    client: Pod,
    server: Pod,
    service: SocketAddr,
    mesh: Mesh,
}

impl Pair {
    fn new(name: &str, port_name: &str, port: u16) -> Self {
        Self::with(name, port_name, port, |setup| setup)
    }

    /// Who speak mutual TLS with each other, and with nobody anything else.
    fn secured(name: &str, port_name: &str, port: u16) -> Self {
        let authority = Authority::new("mesh");
        let pair = Self::with(name, port_name, port, |setup| setup.identity(&authority));
        pair.mesh.write("peers.yaml", peers("STRICT"));
        let agent = pair.server.agent();
        agent.wait_for_log(&["PeerAuthentication istio-system/default added"]);
        pair
    }

    fn with(
        name: &str,
        port_name: &str,
        port: u16,
        change: impl for<'m> Fn(PodSetup<'m>) -> PodSetup<'m>,
    ) -> Self {
        let mesh = Mesh::new();
        let address = mesh.service(ServiceSpec::new(name).port(port_name, port));
        Self {
            server: change(mesh.pod(&format!("{name}-v1"))).start(),
            client: change(mesh.pod("client-v1")).start(),
            service: (address, port).into(),
            mesh,
        }
    }

    /// `curl` of the client, which knows the Service by its name.
    fn curl(&self, name: &str, arguments: &[&str], path: &str) -> Ran {
        let (port, address) = (self.service.port(), self.service.ip());
        let resolve = format!("{name}:{port}:{address}");
        let url = format!("http://{name}:{port}{path}");
        let usual = ["--silent", "--show-error", "--resolve", &resolve];
        let all = [&usual[..], arguments, &[&url]].concat();
        self.client.machine().run("curl", &all)
    }
}

#[test]
fn curl_and_httpbin() {
    let pair = Pair::new("httpbin", "http", 8000);
    let _httpbin = Httpbin::start_in(pair.server.machine(), 8000);
    let status = [
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code} %{http_version}",
    ];
    let json = |ran: Ran| match serde_json::from_str::<Value>(&ran.stdout) {
        Ok(value) => value,
        Err(error) => panic!("{error}: {ran:?}"),
    };
    let echo = json(pair.curl("httpbin", &["--header", "X-Hello: there"], "/get?a=b"));
    assert_eq!(echo["args"]["a"], "b", "{echo}");
    assert_eq!(echo["headers"]["X-Hello"], "there", "{echo}");
    assert_eq!(echo["headers"]["Host"], "httpbin:8000", "{echo}");
    let echo = json(pair.curl("httpbin", &["--data", "some=thing"], "/post"));
    assert_eq!(echo["form"]["some"], "thing", "{echo}");
    let chunked = [
        "--header",
        "Transfer-Encoding: chunked",
        "--data",
        "in pieces",
    ];
    let echo = json(pair.curl("httpbin", &chunked, "/anything"));
    assert!(echo.to_string().contains("in pieces"), "{echo}");
    let large = pair.curl(
        "httpbin",
        &["--output", "/dev/null", "--write-out", "%{size_download}"],
        "/bytes/100000",
    );
    assert_eq!(large.stdout, "100000", "{large:?}");
    for (arguments, path, want) in [
        (&[][..], "/status/418", "418 1.1"),
        (&["--head"], "/get", "200 1.1"),
        (&["--http2-prior-knowledge"], "/get", "200 2"),
        (&["--http2"], "/get", "200 1.1"),
        (&["--http1.0"], "/get", "426 1.1"),
    ] {
        let ran = pair.curl("httpbin", &[&status, arguments].concat(), path);
        assert!(ran.stdout.ends_with(want), "{path}: {ran:?}");
    }
    // One connection, many requests.
    let many = pair.curl(
        "httpbin",
        &["--output", "/dev/null", "--write-out", "%{num_connects}"],
        "/get?[1-10]",
    );
    assert_eq!(many.stdout, "1000000000", "{many:?}");
}

/// An undeclared port speaks HTTP when it does.
#[test]
fn curl_and_httpbin_on_a_port_that_declares_nothing() {
    let pair = Pair::new("httpbin", "web", 8000);
    let _httpbin = Httpbin::start_in(pair.server.machine(), 8000);
    let ran = pair.curl("httpbin", &["--include"], "/status/418");
    assert!(ran.stdout.starts_with("HTTP/1.1 418"), "{ran:?}");
    assert!(ran.stdout.contains("Server: envoy\r\n"), "{ran:?}");
    // As in Istio: what is older than HTTP/1.1 is forwarded as it is.
    let ran = pair.curl("httpbin", &["--http1.0", "--include"], "/status/418");
    assert!(ran.stdout.contains(" 418 "), "{ran:?}");
    assert!(ran.stdout.contains("Server: gunicorn\r\n"), "{ran:?}");
}

#[test]
fn redis_cli_and_redis() {
    for port_name in ["tcp-redis", "redis", "cache"] {
        let pair = Pair::new("redis", port_name, 6379);
        let _redis = Redis::start_in(pair.server.machine());
        let host = pair.service.ip().to_string();
        let cli = |arguments: &[&str]| {
            let all = [&["-h", &host][..], arguments].concat();
            pair.client.machine().run("redis-cli", &all)
        };
        assert_eq!(cli(&["ping"]).stdout, "PONG\n", "{port_name}");
        assert_eq!(cli(&["set", "key", "value"]).stdout, "OK\n");
        assert_eq!(cli(&["get", "key"]).stdout, "value\n");
        // Many at once on one connection.
        let commands: String = (0..1000).map(|n| format!("set k{n} {n}\r\n")).collect();
        let fed =
            pair.client
                .machine()
                .feed("redis-cli", &["-h", &host, "--pipe"], commands.as_bytes());
        assert!(fed.stdout.contains("errors: 0, replies: 1000"), "{fed:?}");
        assert_eq!(cli(&["dbsize"]).stdout, "1001\n");
        let peers = cli(&["client", "list"]);
        assert!(peers.stdout.contains(" addr=127.0.0.6:"), "{peers:?}");
        let _ = &pair.mesh;
    }
}

/// The programs notice nothing of TLS; httpbin tells the headers that it was sent.
#[test]
fn programs_through_mutual_tls() {
    let pair = Pair::secured("httpbin", "http", 8000);
    let _httpbin = Httpbin::start_in(pair.server.machine(), 8000);
    let ran = pair.curl("httpbin", &[], "/headers");
    for part in [
        "X-Forwarded-Client-Cert",
        "URI=spiffe://cluster.local/",
        "X-Envoy-Attempt-Count",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    for port_name in ["tcp-redis", "cache"] {
        let pair = Pair::secured("redis", port_name, 6379);
        let _redis = Redis::start_in(pair.server.machine());
        let host = pair.service.ip().to_string();
        let client = pair.client.machine();
        let ran = client.run("redis-cli", &["-h", &host, "ping"]);
        assert_eq!(ran.stdout, "PONG\n", "{port_name}: {ran:?}");
        let ran = client.run(
            "redis-benchmark",
            &["-h", &host, "-q", "-n", "2000", "-c", "20", "-t", "set,get"],
        );
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            ran.stdout.contains("GET: ") && !ran.stdout.contains("rror"),
            "{ran:?}"
        );
    }
}

#[test]
fn grpc_both_ways() {
    for port_name in ["grpc", "http2", "unnamed"] {
        let pair = Pair::new("greeter", port_name, 50051);
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 50051));
        let origin = pair.server.enter(|| GrpcOrigin::start_at(at));
        let path = "/greeter.Greeter/Hello";
        let reply = pair
            .client
            .enter(|| call_grpc_at(pair.service, "greeter:50051", path, b"hello"));
        assert_eq!(reply.grpc_status(), Some("0"), "{port_name}: {reply:?}");
        assert_eq!(&reply.body[5..], b"hello");
        assert_eq!(reply.headers["x-served-version"], "HTTP/2.0");
        assert_eq!(reply.trailers["x-served-path"], path);
        assert_eq!(reply.headers["server"], "envoy");
        assert_eq!(origin.hits(), 1);
    }
}

/// A failure of the sidecar is one of gRPC's.
#[test]
fn grpc_to_nobody() {
    let mesh = Mesh::new();
    let address = mesh.service(ServiceSpec::new("greeter").port("grpc", 50051));
    let client = mesh.pod("client-v1").start();
    let service = (IpAddr::V4(address), 50051).into();
    let call = || call_grpc_at(service, "greeter:50051", "/greeter.Greeter/Hello", b"hello");
    let reply = client.enter(call);
    assert_eq!(reply.grpc_status(), Some("14"), "{reply:?}");
}

#[test]
fn websockets_both_ways() {
    for port_name in ["http", "unnamed"] {
        let pair = Pair::new("chat", port_name, 8080);
        let _chat = pair.server.serve(8080, websocket_echo);
        let connection = pair.client.connect(pair.service);
        let mut socket = WebSocket::over(connection, "chat:8080", "/room");
        for text in ["one", "two", "three"] {
            assert_eq!(socket.echo(text).expect("an echo"), text, "{port_name}");
        }
    }
}
