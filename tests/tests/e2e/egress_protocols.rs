//! What is spoken on the way out, and how much of it: every protocol of a ServiceEntry's ports, IPv6, large bodies, many
//! tunnels; and that what goes beyond HTTP/1.1 requests leads no further than they do.

use crate::egress::{
    FORBIDDEN, HIDDEN, HTTP, HTTPS, NOT_IN_REGISTRY, PROXY, TEAMS, allow, check_connect_refused,
    check_logged_of, check_refused, connect, entry, forbidden_origin, get, get_from, http_server,
    https_server, proxy, server, tunnel,
};
use e2e::{
    After, Connection, GrpcOrigin, Origin, Request, TcpOrigin, WebSocket, World, eventually,
    websocket_echo,
};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread;

const ALLOW_ANY: &str = "\n[mesh]\noutbound-traffic-policy = \"ALLOW_ANY\"\n";

/// More than any buffer on the way holds.
const LARGE: usize = 8 << 20;

/// A server in clear, by IPv6 alone.
fn http_server_v6(world: &World) -> Origin {
    let address = SocketAddr::from((World::SERVER_V6, 80));
    world
        .names
        .set("six.test", &[&World::SERVER_V6.to_string()], 60);
    world
        .outside
        .enter(|| Origin::named_at(address, "six.test"))
}

/// Bytes that differ wherever a piece of them may be lost, doubled or moved.
fn bytes(count: usize) -> Vec<u8> {
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let states = std::iter::successors(Some(1), next);
    states
        .map(|state| state.to_be_bytes()[0])
        .take(count)
        .collect()
}

/// Too much to print.
#[track_caller]
fn check_same(got: &[u8], want: &[u8]) {
    let differ = got.iter().zip(want).position(|(got, want)| got != want);
    assert_eq!((got.len(), differ), (want.len(), None));
}

/// A server that sends back the body of a request.
fn body_echo(world: &World) -> Origin {
    world.names.set("allowed.test", &["198.51.100.10"], 60);
    world.outside.enter(|| {
        Origin::bound_to(server(0, 80), |exchange| {
            let body = exchange.read_body()?.to_vec();
            exchange.reply(200, &[], &body)?;
            Ok(After::Keep)
        })
    })
}

/// A server that sends back everything, found by its name, and the port for it.
fn echo(world: &World) -> (TcpOrigin, &'static str) {
    world.names.set("echo.test", &["198.51.100.10"], 60);
    let origin = world.outside.enter(|| TcpOrigin::echo_at(server(0, 7)));
    (origin, "{number: 7, name: echo, protocol: TCP}")
}

/// A tunnel that must be granted.
#[track_caller]
fn granted(world: &World, target: &str) -> Connection {
    let (status, tunnel) = tunnel(world, target);
    assert_eq!(status, 200, "{target}");
    tunnel
}

#[test]
fn a_name_with_an_address_of_ipv6_alone_is_reached() {
    let world = World::new();
    let origin = http_server_v6(&world);
    for resolution in ["resolution: NONE", "resolution: DNS"] {
        let allowed = entry("default", &["six.test"], &[HTTP], resolution);
        let gateway = proxy(&world, &allowed).start();
        assert_eq!(get(&world, "http://six.test/").text(), "six.test");
        let record = gateway.logged_with("authority", "six.test");
        assert_eq!(record["upstream_host"], "[2001:db8:51::10]:80", "{record}");
    }
    assert_eq!(origin.last_request().header("host"), Some("six.test"));
}

/// Promise 20.
#[test]
fn an_ipv6_address_is_reached_when_it_is_named() {
    let world = World::new();
    let origin = http_server_v6(&world);
    let addresses = "resolution: NONE\naddresses: ['2001:db8:51::/48']";
    let named = entry("default", &["six.test"], &[HTTP], addresses);
    let gateway = proxy(&world, &named).start();
    for form in ["[2001:db8:51::10]", "[2001:DB8:51:0:0::10]:80"] {
        assert_eq!(get(&world, &format!("http://{form}/")).text(), "six.test");
    }
    let elsewhere = "http://[2001:db8:52::10]/";
    check_refused(&world, &gateway, elsewhere, NOT_IN_REGISTRY);
    assert_eq!(origin.hits(), 2);
    drop(gateway);
    let gateway = proxy(&world, &allow(&["six.test"], &[HTTP])).start();
    let unnamed = "http://[2001:db8:51::10]/";
    check_refused(&world, &gateway, unnamed, NOT_IN_REGISTRY);
    check_connect_refused(&world, &gateway, "[2001:db8:51::10]:80", NOT_IN_REGISTRY);
    assert_eq!(origin.hits(), 2);
}

/// The port says what the server speaks, whatever the client does.
#[test]
fn servers_of_http2_are_asked_in_http2() {
    let world = World::new();
    world.names.set("two.test", &["198.51.100.10"], 60);
    let address = server(0, 8080);
    let origin = world.outside.enter(|| GrpcOrigin::start_at(address));
    let port = "{number: 8080, name: two, protocol: HTTP2}";
    let _gateway = proxy(&world, &allow(&["two.test"], &[port])).start();
    let post = Request::post("two.test:8080", "http://two.test:8080/a/path", "hello");
    let answer = connect(&world, World::CLIENTS[0]).send(&post).unwrap();
    assert_eq!((answer.status, answer.text()), (200, "hello".into()));
    assert_eq!(answer.header("x-served-version"), Some("HTTP/2.0"));
    assert_eq!(origin.hits(), 1);
}

#[test]
fn grpc_is_called_from_http_1() {
    let world = World::new();
    world.names.set("grpc.test", &["198.51.100.10"], 60);
    let address = server(0, 50051);
    let origin = world.outside.enter(|| GrpcOrigin::start_at(address));
    let port = "{number: 50051, name: calls, protocol: GRPC}";
    let gateway = proxy(&world, &allow(&["grpc.test"], &[port])).start();
    let url = "http://grpc.test:50051/shop.Cart/Add";
    let message = b"\0\0\0\0\x05apple";
    let call = Request::post("grpc.test:50051", url, message)
        .header("Content-Type", "application/grpc")
        .header("TE", "trailers");
    let answer = connect(&world, World::CLIENTS[0]).send(&call).unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &message[..]));
    assert_eq!(answer.header("x-served-version"), Some("HTTP/2.0"));
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(origin.hits(), 1);
    let record = gateway.logged("/shop.Cart/Add");
    assert_eq!(record["upstream_cluster"], "outbound|50051||grpc.test");
    check_refused(
        &world,
        &gateway,
        "http://evil.test:50051/shop.Cart/Add",
        NOT_IN_REGISTRY,
    );
}

/// Which hosts the clients of team A see, and what becomes of the rest.
fn sidecar(policy: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: Sidecar\n\
         metadata: {{name: default, namespace: team-a}}\nspec:\n  \
         egress: [{{hosts: ['./*']}}]\n  outboundTrafficPolicy: {policy}\n"
    )
}

/// An entry of nobody's namespace that leads elsewhere than its name does.
fn elsewhere() -> String {
    let spec = "resolution: STATIC\nendpoints: [{address: 198.51.100.20}]";
    entry("shared", &["moved.test"], &[HTTP], spec)
}

/// Promise 20: what a Sidecar hides is refused.
#[test]
fn a_sidecar_limits_what_its_namespace_sees() {
    let world = World::new();
    let named = http_server(&world, 0, "moved.test");
    let _moved = world
        .outside
        .enter(|| Origin::named_at(server(1, 80), "elsewhere"));
    let rules = elsewhere() + &sidecar("{mode: REGISTRY_ONLY}");
    let gateway = proxy(&world, &rules).section(TEAMS).start();
    let [limited, free] = World::CLIENTS;
    let url = "http://moved.test/";
    assert_eq!(get_from(&world, free, url).text(), "elsewhere");
    assert_eq!(get_from(&world, limited, url).status, 502);
    check_logged_of(&gateway, "moved.test", HIDDEN);
    assert_eq!(named.connections(), 0);
}

/// One namespace may go anywhere, and only that one.
#[test]
fn a_sidecar_lets_its_own_namespace_out() {
    let world = World::new();
    let named = http_server(&world, 0, "moved.test");
    world.names.set("plain.test", &["198.51.100.10"], 60);
    let rules = elsewhere() + &sidecar("{mode: ALLOW_ANY}");
    let gateway = proxy(&world, &rules).section(TEAMS).start();
    let [open, closed] = World::CLIENTS;
    for host in ["plain.test", "moved.test"] {
        let answer = get_from(&world, open, &format!("http://{host}/"));
        assert_eq!((answer.status, answer.text()), (200, "moved.test".into()));
        let record = gateway.logged_with("authority", host);
        assert_eq!(record["route_name"], "allow_any", "{record}");
    }
    assert_eq!(get_from(&world, closed, "http://plain.test/").status, 502);
    check_logged_of(&gateway, "plain.test", NOT_IN_REGISTRY);
    assert_eq!(named.hits(), 2);
}

#[test]
fn allow_any_does_not_allow_forbidden_addresses() {
    let world = World::new();
    let own = forbidden_origin(&world.edge, Ipv4Addr::UNSPECIFIED.into());
    let metadata = forbidden_origin(&world.outside, World::METADATA.into());
    let gateway = proxy(&world, "").section(ALLOW_ANY).start();
    for host in ["127.0.0.1", "127.1.2.3", "169.254.169.254"] {
        check_refused(&world, &gateway, &format!("http://{host}/"), FORBIDDEN);
        check_logged_of(&gateway, host, FORBIDDEN);
        let target = format!("{host}:80");
        check_connect_refused(&world, &gateway, &target, FORBIDDEN);
        check_logged_of(&gateway, &target, FORBIDDEN);
    }
    assert_eq!((own.connections(), metadata.connections()), (0, 0));
}

#[test]
fn allow_any_does_not_follow_a_name_to_a_forbidden_address() {
    let world = World::new();
    let _good = http_server(&world, 0, "good.test");
    let own = forbidden_origin(&world.edge, Ipv4Addr::LOCALHOST.into());
    let answers: [&[&str]; 2] = [&["198.51.100.10"], &["127.0.0.1"]];
    world.names.set_in_turn("moving.test", &answers, 0);
    let gateway = proxy(&world, "").section(ALLOW_ANY).start();
    assert_eq!(get(&world, "http://moving.test/").text(), "good.test");
    eventually("the other answer is seen", || {
        get(&world, "http://moving.test/").status == 502
    });
    check_refused(&world, &gateway, "http://moving.test/", FORBIDDEN);
    check_connect_refused(&world, &gateway, "moving.test:443", FORBIDDEN);
    assert_eq!(own.connections(), 0);
}

/// Promise 22: MONGO is bytes to us, and whoever likes may begin.
#[test]
fn a_port_of_mongo_is_a_tunnel_in_which_the_server_may_begin() {
    let world = World::new();
    world.names.set("db.test", &["198.51.100.10"], 60);
    let address = server(0, 27017);
    let greet_and_echo = |mut stream: TcpStream| {
        stream.write_all(b"ready")?;
        let mut word = [0; 4];
        stream.read_exact(&mut word)?;
        stream.write_all(&word)
    };
    let _origin = world
        .outside
        .enter(|| TcpOrigin::serving_at(address, greet_and_echo));
    let port = "{number: 27017, name: db, protocol: MONGO}";
    let gateway = proxy(&world, &allow(&["db.test"], &[port])).start();
    let mut connection = granted(&world, "db.test:27017");
    let mut greeting = [0; 5];
    connection.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"ready");
    assert_eq!(connection.echo(b"\0\xffop").unwrap(), b"\0\xffop");
    check_connect_refused(&world, &gateway, "evil.test:27017", NOT_IN_REGISTRY);
}

#[test]
fn large_bodies_are_whole() {
    let world = World::new();
    let _origin = body_echo(&world);
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    let body = bytes(LARGE);
    let post = Request::post("allowed.test", "http://allowed.test/", body.clone());
    let answer = connect(&world, World::CLIENTS[0]).send(&post).unwrap();
    assert_eq!(answer.status, 200);
    check_same(&answer.body, &body);
    // The same in a tunnel, where requests are decided on, too.
    let post = Request::post("allowed.test", "/", body.clone());
    let answer = granted(&world, "allowed.test:80").send(&post).unwrap();
    assert_eq!(answer.status, 200);
    check_same(&answer.body, &body);
}

#[test]
fn much_goes_through_a_tunnel_both_ways_at_once() {
    let world = World::new();
    let (_echo, port) = echo(&world);
    let _gateway = proxy(&world, &allow(&["echo.test"], &[port])).start();
    let mut connection = granted(&world, "echo.test:7");
    let mut writer = connection.stream().try_clone().unwrap();
    let all = bytes(LARGE);
    let back = thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&all).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        connection.read_to_end()
    });
    check_same(&back, &all);
}

#[test]
fn websockets_go_out() {
    let world = World::new();
    world.names.set("allowed.test", &["198.51.100.10"], 60);
    let address = server(0, 80);
    let origin = world
        .outside
        .enter(|| Origin::bound_to(address, websocket_echo));
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    let direct = connect(&world, World::CLIENTS[0]);
    let within = granted(&world, "allowed.test:80");
    for (connection, target) in [(direct, "http://allowed.test/live"), (within, "/live")] {
        let mut socket = WebSocket::over(connection, "allowed.test", target);
        assert_eq!(socket.echo("one").unwrap(), "one", "{target}");
        assert_eq!(socket.echo("two").unwrap(), "two", "{target}");
        assert_eq!(origin.last_request().target(), "/live");
    }
}

/// Promise 20.
#[test]
fn requests_in_a_tunnel_are_for_its_host_alone() {
    let world = World::new();
    let allowed = http_server(&world, 0, "allowed.test");
    let other = http_server(&world, 1, "other.test");
    // Both are allowed: it is about what the tunnel was asked for.
    let hosts = ["allowed.test", "other.test"];
    let gateway = proxy(&world, &allow(&hosts, &[HTTP])).start();
    let mut connection = granted(&world, "allowed.test:80");
    let first = connection.send(&Request::get("allowed.test", "/")).unwrap();
    assert_eq!((first.status, first.text()), (200, "allowed.test".into()));
    let second = connection.send(&Request::get("other.test", "/")).unwrap();
    assert_eq!(second.status, 421, "{}", second.text());
    check_logged_of(&gateway, "other.test", "host_mismatch");
    assert_eq!((allowed.hits(), other.connections()), (1, 0));
}

#[test]
fn many_tunnels_are_open_at_once() {
    const COUNT: usize = 50;
    let world = World::new();
    let (origin, port) = echo(&world);
    let _gateway = proxy(&world, &allow(&["echo.test"], &[port])).start();
    let mut tunnels: Vec<_> = (0..COUNT).map(|_| granted(&world, "echo.test:7")).collect();
    for _ in 0..2 {
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            tunnel
                .write(format!("tunnel {number:02}").as_bytes())
                .unwrap();
        }
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            let mut back = [0; 9];
            tunnel.read_exact(&mut back).unwrap();
            assert_eq!(back, format!("tunnel {number:02}").as_bytes());
        }
    }
    assert_eq!(origin.open_connections(), COUNT);
    drop(tunnels);
    eventually("all are closed", || origin.open_connections() == 0);
}

#[test]
fn a_body_waits_for_the_server_to_want_it() {
    let world = World::new();
    let origin = body_echo(&world);
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP, HTTPS])).start();
    let head = |host: &str| {
        format!(
            "POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut connection = connect(&world, World::CLIENTS[0]);
    connection.write(head("allowed.test").as_bytes()).unwrap();
    assert_eq!(connection.read_head().unwrap().status, 100);
    connection.write(b"hello").unwrap();
    let answer = connection.read_response("POST").unwrap();
    assert_eq!((answer.status, answer.text()), (200, "hello".into()));
    assert_eq!(origin.hits(), 1);
    // Who is refused is not asked for a body.
    let mut connection = connect(&world, World::CLIENTS[0]);
    connection.write(head("evil.test").as_bytes()).unwrap();
    assert_eq!(connection.read_response("POST").unwrap().status, 502);
    check_logged_of(&gateway, "evil.test", NOT_IN_REGISTRY);
}

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
        let (status, mut connection) = tunnel(&world, "bytes.test:27017");
        assert_eq!(status, 200, "{protocol}");
        let back = connection.echo(b"\x16\x03\x01GET / HTTP/1.1\r\n");
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
        let (status, mut connection) = tunnel(&world, "secure.test:443");
        assert_eq!(status, 200, "{protocol}");
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
fn a_port_is_what_its_protocol_says() {
    let world = World::new();
    let (origin, _) = https_server(&world, 0, "secure.test");
    let _gateway = proxy(&world, &allow(&["secure.test"], &[HTTPS])).start();
    // A URL would send the request in clear, where TLS is spoken.
    assert_eq!(get(&world, "http://secure.test:443/").status, 502);
    assert_eq!(origin.connections(), 0);
}
