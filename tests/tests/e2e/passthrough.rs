//! TLS that is not ended here, but sent where its SNI says.

use e2e::{
    Authority, Connection, PATIENCE, Setup, TcpOrigin, TlsClient, eventually, gateway_of,
    l4_virtual_service, server, service_of,
};
use std::io::Read as _;
use std::time::Duration;

/// A passthrough server on port 443 for these hosts, and Services on port 8443 of TLS.
fn passthrough(hosts: &[&str], services: &[(&str, &[u16])]) -> Setup {
    let text = gateway_of(
        "edge",
        &server(443, "tls", "TLS", hosts, "mode: PASSTHROUGH"),
    );
    let setup = Setup::new().file("gateway.yaml", text).port(443);
    services.iter().fold(setup, |setup, (name, endpoints)| {
        let text = service_of(name, "tls", 8443, endpoints);
        setup.file(&format!("{name}-service.yaml"), text)
    })
}

fn to(sni: &[&str], service: &str) -> String {
    format!(
        "- match: [{{port: 443, sniHosts: {sni:?}}}]\n  \
           route: [{{destination: {{host: {service}, port: {{number: 8443}}}}}}]\n"
    )
}

/// What a server says that speaks first.
#[track_caller]
fn name_at(authority: &Authority, sni: &str, port: u16) -> String {
    let mut connection = TlsClient::new(authority, sni)
        .open(port)
        .expect("a handshake");
    String::from_utf8_lossy(&connection.read_to_end()).into_owned()
}

#[test]
fn the_client_shakes_hands_with_the_origin_itself() {
    let authority = Authority::new("the origin's");
    let certificate = authority.issue(&["echo.test"]);
    let origin = TcpOrigin::tls_echo(&certificate);
    let gateway = passthrough(&["echo.test"], &[("echo", &[origin.port()])])
        .file(
            "echo.yaml",
            l4_virtual_service("echo", &["echo.test"], "tls", &to(&["echo.test"], "echo")),
        )
        .start();
    let client = TlsClient::new(&authority, "echo.test");
    let mut connection = client.open(gateway.https()).expect("a handshake");
    assert!(connection.is_of(&certificate));
    let sent = "x".repeat(1 << 20);
    let writer = sent.as_bytes().chunks(32 * 1024);
    for chunk in writer {
        assert_eq!(connection.echo(chunk).expect("an echo"), chunk);
    }
    connection.say_goodbye().expect("the socket is there");
    eventually("the origin sees the end", || origin.open_connections() == 0);
}

#[test]
fn the_sni_chooses_the_origin_by_exact_name_and_wildcard() {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["a.test", "*.wild.test"]);
    let [a, wild] = ["a", "wild"].map(|name| TcpOrigin::tls_named(&certificate, name));
    let rules = to(&["a.test"], "a") + &to(&["*.wild.test"], "wild");
    let hosts = ["a.test", "*.wild.test"];
    let services: [(&str, &[u16]); 2] = [("a", &[a.port()]), ("wild", &[wild.port()])];
    let gateway = passthrough(&hosts, &services)
        .file(
            "rules.yaml",
            l4_virtual_service("rules", &hosts, "tls", &rules),
        )
        .start();
    for (sni, name) in [("a.test", "a"), ("x.wild.test", "wild")] {
        assert_eq!(name_at(&authority, sni, gateway.https()), name, "{sni}");
    }
    let before = (a.connections(), wild.connections());
    for sni in ["stranger.test", "wild.test"] {
        let refused = TlsClient::new(&authority, sni).open(gateway.https());
        assert!(refused.is_err(), "{sni}");
    }
    assert_eq!((a.connections(), wild.connections()), before);
}

/// A name may come in pieces, as large hellos do, or in capitals.
#[test]
fn a_hello_in_pieces_is_understood() {
    let authority = Authority::new("ca");
    let origin = TcpOrigin::tls_named(&authority.issue(&["a.test"]), "a");
    let gateway = passthrough(&["a.test"], &[("a", &[origin.port()])])
        .file(
            "a.yaml",
            l4_virtual_service("a", &["a.test"], "tls", &to(&["a.test"], "a")),
        )
        .start();
    let hello = TlsClient::new(&authority, "a.test").hello();
    let mut connection = Connection::open(gateway.https());
    for byte in &hello {
        connection.write(&[*byte]).expect("a byte is sent");
    }
    let mut answer = [0; 3];
    connection
        .read_exact(&mut answer)
        .expect("the origin's answer");
    // A handshake record.
    assert_eq!(answer[0], 0x16, "{answer:?}");
    let shouted = ["-servername", "A.TEST"];
    let handshake = e2e::s_client(gateway.https(), "a.test", &shouted);
    assert!(handshake.protocol.is_some(), "{}", handshake.output);
}

#[test]
fn weights_share_out_connections() {
    let authority = Authority::new("ca");
    let certificate = authority.issue(&["a.test"]);
    let [one, two] = ["1", "2"].map(|name| TcpOrigin::tls_named(&certificate, name));
    let rules = "\
- match: [{port: 443, sniHosts: [a.test]}]
  route:
  - {destination: {host: one, port: {number: 8443}}, weight: 75}
  - {destination: {host: two, port: {number: 8443}}, weight: 25}
";
    let services: [(&str, &[u16]); 2] = [("one", &[one.port()]), ("two", &[two.port()])];
    let gateway = passthrough(&["a.test"], &services)
        .file("a.yaml", l4_virtual_service("a", &["a.test"], "tls", rules))
        .start();
    for _ in 0..400 {
        name_at(&authority, "a.test", gateway.https());
    }
    // Six standard deviations are 52 around 300.
    let first = one.connections();
    assert!((248..=352).contains(&first), "{first} of 400");
    assert_eq!(first + two.connections(), 400);
}

/// Beside servers that end TLS on the same port.
#[test]
fn a_port_may_pass_through_some_names_and_end_tls_of_others() {
    let authority = Authority::new("ca");
    let passed = authority.issue(&["passed.test"]);
    let ended = authority.issue(&["ended.test"]);
    let tls = TcpOrigin::tls_named(&passed, "passed");
    let http = e2e::Origin::named("ended");
    let servers = server(443, "tls", "TLS", &["passed.test"], "mode: PASSTHROUGH")
        + &e2e::https_server(
            "https",
            &["ended.test"],
            "mode: SIMPLE, credentialName: ended",
        );
    let gateway = passthrough(&[], &[("passed", &[tls.port()])])
        .file("gateway.yaml", gateway_of("edge", &servers))
        .file(
            "passed.yaml",
            l4_virtual_service(
                "passed",
                &["passed.test"],
                "tls",
                &to(&["passed.test"], "passed"),
            ),
        )
        .file(
            "ended.yaml",
            e2e::virtual_service(
                "ended",
                "ended.test",
                "- route: [{destination: {host: ended}}]\n",
            ),
        )
        .file(
            "ended-service.yaml",
            e2e::service("ended", 8000, &[http.port()]),
        )
        .certificate("ended", &ended)
        .start();
    assert_eq!(
        name_at(&authority, "passed.test", gateway.https()),
        "passed"
    );
    let mut connection = TlsClient::new(&authority, "ended.test")
        .open(gateway.https())
        .expect("a handshake");
    let request = e2e::Request::get("ended.test", "/");
    assert_eq!(
        connection.send(&request).expect("an answer").text(),
        "ended"
    );
}

/// As gateways between networks work: the SNI spells port, subset and host.
#[test]
fn auto_passthrough_goes_where_the_sni_spells() {
    let authority = Authority::new("mesh");
    let names = [
        "outbound_.8443_._.echo.default.svc.cluster.local",
        "outbound_.8443_.v2_.echo.default.svc.cluster.local",
    ];
    let certificate = authority.issue(&["echo.default.svc.cluster.local"]);
    let [v1, v2] = ["v1", "v2"].map(|name| TcpOrigin::tls_named(&certificate, name));
    let text = gateway_of(
        "edge",
        &server(15443, "tls", "TLS", &["*.local"], "mode: AUTO_PASSTHROUGH"),
    );
    let gateway = Setup::new()
        .file("gateway.yaml", text)
        .file("echo.yaml", versions_of_echo(v1.port(), v2.port()))
        .port(15443)
        .start();
    let port = gateway.bound(15443);
    let connect = |sni: &str| e2e::s_client(port, "x", &["-servername", sni, "-alpn", "istio"]);
    for _ in 0..10 {
        let served = connect(names[1]);
        assert!(served.protocol.is_some(), "{}", served.output);
    }
    assert_eq!((v1.connections(), v2.connections()), (0, 10));
    for _ in 0..10 {
        let served = connect(names[0]);
        assert!(served.protocol.is_some(), "{}", served.output);
    }
    let both = (v1.connections(), v2.connections());
    assert_eq!(both, (5, 15), "every version is in no subset");
    let total = v1.connections() + v2.connections();
    for sni in [
        "outbound_.8443_.v3_.echo.default.svc.cluster.local",
        "outbound_.9999_._.echo.default.svc.cluster.local",
        "outbound_.8443_._.other.default.svc.cluster.local",
        "echo.default.svc.cluster.local",
    ] {
        let refused = connect(sni);
        assert_eq!(refused.protocol, None, "{sni}: {}", refused.output);
    }
    assert_eq!(v1.connections() + v2.connections(), total);
}

/// A Service on port 8443 with an endpoint for each of two subsets.
fn versions_of_echo(v1: u16, v2: u16) -> String {
    let mut text = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: echo, namespace: default}
spec:
  hosts: [echo.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 8443, name: tls, protocol: TLS}]
  endpoints:
"
    .to_owned();
    for (version, port) in [("v1", v1), ("v2", v2)] {
        text += &format!(
            "  - {{address: 127.0.0.1, ports: {{tls: {port}}}, labels: {{version: {version}}}}}\n"
        );
    }
    text + "\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: default}
spec:
  host: echo.default.svc.cluster.local
  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"
}

/// Promise 6.
#[test]
fn a_connection_outlives_its_rule() {
    let authority = Authority::new("ca");
    let origin = TcpOrigin::tls_echo(&authority.issue(&["a.test"]));
    let gateway = passthrough(&["a.test"], &[("a", &[origin.port()])])
        .file(
            "a.yaml",
            l4_virtual_service("a", &["a.test"], "tls", &to(&["a.test"], "a")),
        )
        .start();
    let client = TlsClient::new(&authority, "a.test");
    let mut connection = client.open(gateway.https()).expect("a handshake");
    gateway.remove("a.yaml");
    eventually("the rule is gone", || client.open(gateway.https()).is_err());
    let back = connection.echo(b"still here").expect("an echo");
    assert_eq!(back, b"still here");
}

#[test]
fn an_origin_that_is_down_ends_the_connection_soon() {
    let authority = Authority::new("ca");
    let closed = e2e::Port::reserve();
    let gateway = passthrough(&["a.test"], &[("a", &[closed.number()])])
        .file(
            "a.yaml",
            l4_virtual_service("a", &["a.test"], "tls", &to(&["a.test"], "a")),
        )
        .start();
    let mut connection = Connection::open(gateway.https());
    let hello = TlsClient::new(&authority, "a.test").hello();
    connection.write(&hello).expect("the hello is sent");
    let socket = connection.stream_mut();
    let limit = Duration::from_secs(10).min(PATIENCE);
    socket.set_read_timeout(Some(limit)).expect("a limit");
    match socket.read(&mut [0]) {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}
