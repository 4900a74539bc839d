//! The forward proxy by what a ServiceEntry's ports speak, and over IPv6.

use crate::egress::{HTTP, HTTPS, PROXY, allow, entry, get, https_server, proxy, server, tunnel};
use e2e::{Connection, GrpcOrigin, Origin, TcpOrigin, World, eventually};

/// Ports of every protocol whose bytes are nobody's business.
const OPAQUE: [&str; 4] = ["TCP", "MONGO", "MYSQL", "REDIS"];

#[test]
fn what_is_no_http_passes_as_it_is() {
    for protocol in OPAQUE {
        let world = World::new();
        world.names.set("bytes.test", &["198.51.100.10"], 60);
        let echo = world.outside.enter(|| TcpOrigin::echo_at(server(0, 27017)));
        let port = format!("{{number: 27017, name: port, protocol: {protocol}}}");
        let _gateway = proxy(&world, &allow(&["bytes.test"], &[&port])).start();
        let (status, stream) = tunnel(&world, "bytes.test:27017");
        assert_eq!(status, 200, "{protocol}");
        let back = Connection::new(stream).echo(b"\x16\x03\x01GET / HTTP/1.1\r\n");
        assert_eq!(
            back.unwrap(),
            b"\x16\x03\x01GET / HTTP/1.1\r\n",
            "{protocol}"
        );
        // A URL asks for HTTP.
        let answer = get(&world, "http://bytes.test:27017/");
        assert_eq!(answer.status, 502, "{protocol}");
        assert_eq!(echo.connections(), 1, "{protocol}");
    }
}

#[test]
fn ports_of_tls_have_nothing_else() {
    for protocol in ["TLS", "HTTPS"] {
        let world = World::new();
        let (origin, authority) = https_server(&world, 0, "secure.test");
        let port = format!("{{number: 443, name: port, protocol: {protocol}}}");
        let gateway = proxy(&world, &allow(&["secure.test"], &[&port])).start();
        let root = world.file("ca.pem", &authority.pem());
        let ran = world.curl(&["--proxy", PROXY, "--cacert", &root, "https://secure.test/"]);
        assert_eq!(ran.stdout, "secure.test", "{protocol}: {ran:?}");
        let (status, stream) = tunnel(&world, "secure.test:443");
        assert_eq!(status, 200, "{protocol}");
        let mut connection = Connection::new(stream);
        let _ = connection.write(b"GET / HTTP/1.1\r\nHost: secure.test\r\n\r\n");
        assert_eq!(connection.read_to_end(), b"", "{protocol}");
        gateway.logged_with("reason", "not_tls");
        assert_eq!(origin.visits().len(), 1, "{protocol}");
    }
}

#[test]
fn ports_of_http2_are_spoken_to_in_http2() {
    for protocol in ["HTTP2", "GRPC"] {
        let world = World::new();
        world.names.set("rpc.test", &["198.51.100.10"], 60);
        let origin = world
            .outside
            .enter(|| GrpcOrigin::start_at(server(0, 50051)));
        let port = format!("{{number: 50051, name: port, protocol: {protocol}}}");
        let _gateway = proxy(&world, &allow(&["rpc.test"], &[&port])).start();
        let answer = get(&world, "http://rpc.test:50051/greeter.Greeter/Hello");
        assert_eq!(answer.status, 200, "{protocol}");
        assert_eq!(
            answer.header("x-served-version"),
            Some("HTTP/2.0"),
            "{protocol}"
        );
        // As clients of gRPC do: a tunnel, and HTTP/2 in it.
        let url = "http://rpc.test:50051/greeter.Greeter/Hello";
        let form = "%{http_version} %{response_code}";
        let ran = world.curl(&[
            "--proxy",
            PROXY,
            "--proxytunnel",
            "--http2-prior-knowledge",
            "--data",
            "hi",
            "--output",
            "-",
            "--write-out",
            form,
            url,
        ]);
        assert_eq!(ran.stdout, "hi2 200", "{protocol}: {ran:?}");
        assert_eq!(origin.hits(), 2, "{protocol}");
    }
}

#[test]
fn ipv6_is_as_good_as_ipv4() {
    let world = World::new();
    let address = World::SERVER_V6;
    world.names.set("six.test", &[&address.to_string()], 60);
    let six = |port| (address, port).into();
    let plain = world
        .outside
        .enter(|| Origin::named_at(six(80), "six.test"));
    let echo = world.outside.enter(|| TcpOrigin::echo_at(six(7)));
    let tcp = "{number: 7, name: tcp, protocol: TCP}";
    let ports = [HTTP, tcp];
    let gateway = proxy(&world, &allow(&["six.test"], &ports)).start();
    let literal = format!("[{address}]");
    assert_eq!(get(&world, "http://six.test/").text(), "six.test");
    assert_eq!(tunnel(&world, "six.test:7").0, 200);
    assert_eq!(get(&world, &format!("http://{literal}/")).status, 502);
    assert_eq!(tunnel(&world, &format!("{literal}:7")).0, 403);
    assert_eq!(plain.connections(), 1);

    let network = format!("resolution: NONE\naddresses: [\"{address}/64\"]");
    let named = entry("default", &["six.test"], &ports, &network);
    gateway.write("entry.yaml", &named);
    eventually("it is allowed", || {
        get(&world, &format!("http://{literal}/")).status == 200
    });
    assert_eq!(
        get(&world, &format!("http://{literal}/")).text(),
        "six.test"
    );
    let (status, stream) = tunnel(&world, &format!("{literal}:7"));
    assert_eq!(status, 200);
    assert_eq!(Connection::new(stream).echo(b"six").unwrap(), b"six");
    assert!(echo.connections() > 0);
    // Spelled in another way it is the same address.
    let long = "[2001:DB8:51:0:0:0:0:10]";
    assert_eq!(get(&world, &format!("http://{long}/")).text(), "six.test");
    let other = tunnel(&world, "[2001:db8:52::10]:7").0;
    assert_eq!(other, 403);
}

#[test]
fn a_port_is_what_its_protocol_says() {
    let world = World::new();
    let (origin, _) = https_server(&world, 0, "secure.test");
    let _gateway = proxy(&world, &allow(&["secure.test"], &[HTTPS])).start();
    // A URL would send the request in clear, where TLS is spoken.
    assert_eq!(get(&world, "http://secure.test:443/").status, 502);
    assert_eq!(origin.connections(), 0);
}
