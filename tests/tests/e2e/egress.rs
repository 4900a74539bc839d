//! The forward proxy: clients reach what a ServiceEntry allows, and nothing else.

use e2e::{
    After, Authority, Connection, Gateway, Mood, Namespace, Origin, Request, Response,
    SecureOrigin, Setup, TcpOrigin, TlsClient, World, eventually, peers, put_package,
    put_repository,
};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

/// Where the proxy listens, at [`World::EDGE`].
pub(crate) const PORT: u16 = 15080;

/// The same for programs.
pub(crate) const PROXY: &str = "http://10.77.0.1:15080";

/// What tells in the access log why a client was refused.
pub(crate) const NOT_IN_REGISTRY: &str = "not_in_registry";
const OTHER_PORT: &str = "port_not_in_registry";
pub(crate) const FORBIDDEN: &str = "forbidden_address";
const OTHER_SNI: &str = "sni_mismatch";
pub(crate) const HIDDEN: &str = "not_visible";
const LOOP: &str = "proxy_loop";
const MALFORMED: &str = "malformed";

pub(crate) const HTTP: &str = "{number: 80, name: http, protocol: HTTP}";
pub(crate) const HTTPS: &str = "{number: 443, name: https, protocol: TLS}";

/// A ServiceEntry in `default` for these hosts, with these entries of its `ports`; each is resolved when it is asked for.
pub(crate) fn allow(hosts: &[&str], ports: &[&str]) -> String {
    entry("default", hosts, ports, "resolution: NONE")
}

/// With more fields of its `spec`.
pub(crate) fn entry(namespace: &str, hosts: &[&str], ports: &[&str], spec: &str) -> String {
    let ports = ports.join(", ");
    let mut text = format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata: {{name: allowed, namespace: {namespace}}}\n\
         spec:\n  \
           location: MESH_EXTERNAL\n  \
           hosts: {hosts:?}\n  \
           ports: [{ports}]\n"
    );
    for line in spec.lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A gateway on the edge that is a forward proxy.
pub(crate) fn proxy(world: &World, entry: &str) -> Setup {
    world
        .setup()
        .listen("forward-proxy", &format!("\"{}:{PORT}\"", World::EDGE))
        .file("entry.yaml", entry)
}

/// The address of a server, the first, second or third.
pub(crate) fn server(index: usize, port: u16) -> SocketAddr {
    (World::SERVERS[index], port).into()
}

/// A server in clear, found by its name.
pub(crate) fn http_server(world: &World, index: usize, name: &'static str) -> Origin {
    let address = server(index, 80);
    world.names.set(name, &[&address.ip().to_string()], 60);
    world.outside.enter(|| Origin::named_at(address, name))
}

/// A server in TLS, found by its name, and whom its clients trust.
pub(crate) fn https_server(
    world: &World,
    index: usize,
    name: &'static str,
) -> (SecureOrigin, Authority) {
    let address = server(index, 443);
    let authority = Authority::new("outside");
    let certificate = authority.issue(&[name]);
    world.names.set(name, &[&address.ip().to_string()], 60);
    let start = || SecureOrigin::start_at(address, name, &certificate);
    (world.outside.enter(start), authority)
}

pub(crate) fn connect(world: &World, client: Ipv4Addr) -> Connection {
    world.connect(client, PORT).expect("the proxy accepts")
}

/// `GET` in absolute form, from the first client.
#[track_caller]
pub(crate) fn get(world: &World, url: &str) -> Response {
    get_from(world, World::CLIENTS[0], url)
}

#[track_caller]
pub(crate) fn get_from(world: &World, client: Ipv4Addr, url: &str) -> Response {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or(rest);
    let answer = connect(world, client).send(&Request::get(authority, url));
    answer.expect("an answer")
}

/// What a `CONNECT` is answered with, and the tunnel.
#[track_caller]
pub(crate) fn tunnel(world: &World, target: &str) -> (u16, Connection) {
    let mut connection = connect(world, World::CLIENTS[0]);
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    connection.write(request.as_bytes()).expect("it listens");
    let answer = connection.read_head().expect("an answer");
    (answer.status, connection)
}

/// A request is refused for this reason, and the access log says whose it was.
#[track_caller]
pub(crate) fn check_refused(world: &World, gateway: &Gateway, url: &str, reason: &str) {
    let answer = get(world, url);
    assert_eq!(answer.status, 502, "{url}: {}", answer.text());
    check_logged(gateway, reason);
}

#[track_caller]
pub(crate) fn check_connect_refused(world: &World, gateway: &Gateway, target: &str, reason: &str) {
    assert_eq!(tunnel(world, target).0, 403, "{target}");
    check_logged(gateway, reason);
}

#[track_caller]
fn check_logged(gateway: &Gateway, reason: &str) {
    let record = gateway.logged_with("reason", reason);
    let client = record["downstream_remote_address"].as_str();
    let known = client.is_some_and(|at| at.starts_with(&format!("{}:", World::CLIENTS[0])));
    assert!(known, "{record}");
}

/// What requests for these hosts are answered with.
#[track_caller]
fn check_statuses(world: &World, want: &[(&str, u16)]) {
    let status = |host| get(world, &format!("http://{host}/")).status;
    let got: Vec<_> = want.iter().map(|(host, _)| (*host, status(host))).collect();
    assert_eq!(got, want);
}

/// The access log says that what was asked for was refused for this reason.
#[track_caller]
pub(crate) fn check_logged_of(gateway: &Gateway, authority: &str, reason: &str) {
    eventually(&format!("{authority} is logged: {reason}"), || {
        let records = gateway.access_log();
        let is_it = |record: &Value| record["authority"] == authority && record["reason"] == reason;
        records.iter().any(is_it)
    });
}

#[test]
fn an_allowed_host_is_reached_by_its_url() {
    let world = World::new();
    let origin = http_server(&world, 0, "allowed.test");
    for resolution in ["resolution: NONE", "resolution: DNS"] {
        let entry = entry("default", &["allowed.test"], &[HTTP], resolution);
        let gateway = proxy(&world, &entry).start();
        let answer = get(&world, "http://allowed.test/some/path?query");
        assert_eq!((answer.status, answer.text()), (200, "allowed.test".into()));
        let request = origin.last_request();
        assert_eq!(request.target(), "/some/path?query");
        assert_eq!(request.header("host"), Some("allowed.test"));
        let record = gateway.logged("/some/path?query");
        let client = record["downstream_remote_address"].as_str().unwrap();
        assert!(client.starts_with("10.77.1.10:"), "{client}");
    }
}

/// A request that says two hosts goes to neither.
#[test]
fn the_host_header_does_not_lead_elsewhere() {
    let world = World::new();
    let allowed = http_server(&world, 0, "allowed.test");
    let evil = http_server(&world, 1, "evil.test");
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    for (host, url) in [
        ("evil.test", "http://allowed.test/"),
        ("allowed.test", "http://evil.test/"),
    ] {
        let request = Request::get(host, url);
        let answer = connect(&world, World::CLIENTS[0]).send(&request).unwrap();
        assert_eq!(answer.status, 400, "{url}: {}", answer.text());
    }
    let count = || {
        let records = gateway.access_log();
        records
            .iter()
            .filter(|record| record["reason"] == MALFORMED)
            .count()
    };
    eventually("both are logged", || count() == 2);
    assert_eq!((allowed.connections(), evil.connections()), (0, 0));
}

#[test]
fn what_no_entry_allows_is_refused() {
    let world = World::new();
    let _allowed = http_server(&world, 0, "allowed.test");
    let evil = http_server(&world, 1, "evil.test");
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    check_refused(&world, &gateway, "http://evil.test/", NOT_IN_REGISTRY);
    check_connect_refused(&world, &gateway, "evil.test:443", NOT_IN_REGISTRY);
    assert_eq!(evil.connections(), 0);
    // Not even its name was looked up: that would tell somebody.
    assert_eq!(world.names.queries("evil.test"), 0);
}

#[test]
fn a_refusal_is_text() {
    let world = World::new();
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    let answer = get(&world, "http://evil.test/'script'");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let text = answer.text();
    assert!(text.starts_with(NOT_IN_REGISTRY), "{text}");
    assert!(!text.contains("script"), "{text}");
    check_logged_of(&gateway, "evil.test", NOT_IN_REGISTRY);
    // What is no URL is not even read.
    let answer = get(&world, "http://evil.test/<script>");
    assert_eq!((answer.status, answer.text()), (400, String::new()));
    check_logged(&gateway, MALFORMED);
}

#[test]
fn other_ports_are_refused() {
    let world = World::new();
    world.names.set("allowed.test", &["198.51.100.10"], 60);
    let other = world
        .outside
        .enter(|| Origin::named_at(server(0, 8080), "other"));
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    check_refused(&world, &gateway, "http://allowed.test:8080/", OTHER_PORT);
    check_connect_refused(&world, &gateway, "allowed.test:8080", OTHER_PORT);
    assert_eq!(other.connections(), 0);
}

#[test]
fn curl_tunnels_to_an_allowed_host() {
    let world = World::new();
    let (origin, authority) = https_server(&world, 0, "allowed.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTPS])).start();
    let root = world.file("ca.pem", &authority.pem());
    let through = ["--proxy", PROXY, "--cacert", &root];
    let ran = world.curl(&[&through[..], &["https://allowed.test/"]].concat());
    assert_eq!(ran.stdout, "allowed.test", "{ran:?}");
    assert_eq!(origin.last_visit().sni.as_deref(), Some("allowed.test"));
    let ran = world.curl(&[&through[..], &["https://evil.test/"]].concat());
    assert_eq!(ran.code, 56, "{ran:?}");
    assert!(ran.stderr.contains("403"), "{ran:?}");
}

#[test]
fn another_name_in_tls_ends_the_tunnel() {
    let world = World::new();
    let (origin, authority) = https_server(&world, 0, "allowed.test");
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTPS])).start();
    let (status, connection) = tunnel(&world, "allowed.test:443");
    assert_eq!(status, 200);
    let client = TlsClient::new(&authority, "evil.test");
    assert!(client.shake_hands(connection.into_stream()).is_err());
    check_logged(&gateway, OTHER_SNI);
    assert_eq!(origin.visits(), []);
    // Letters of another case are no other name.
    let (_, connection) = tunnel(&world, "ALLOWED.test:443");
    let client = TlsClient::new(&authority, "allowed.test");
    let answer = client
        .shake_hands(connection.into_stream())
        .and_then(|mut tls| tls.send(&Request::get("allowed.test", "/")));
    assert_eq!(answer.unwrap().text(), "allowed.test");
}

#[test]
fn a_port_of_tcp_is_a_tunnel_for_anything() {
    let world = World::new();
    world.names.set("echo.test", &["198.51.100.10"], 60);
    let _echo = world.outside.enter(|| TcpOrigin::echo_at(server(0, 7)));
    let tcp = "{number: 7, name: echo, protocol: TCP}";
    let _gateway = proxy(&world, &allow(&["echo.test"], &[tcp])).start();
    let (status, mut connection) = tunnel(&world, "echo.test:7");
    assert_eq!(status, 200);
    let back = connection.echo(b"\0anything\xff");
    assert_eq!(back.unwrap(), b"\0anything\xff");
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let world = World::new();
    world.names.set("first.test", &["198.51.100.10"], 60);
    let first = |mut stream: TcpStream| stream.write_all(b"220 ready\r\n");
    let _origin = world
        .outside
        .enter(|| TcpOrigin::serving_at(server(0, 25), first));
    let tcp = "{number: 25, name: mail, protocol: TCP}";
    let _gateway = proxy(&world, &allow(&["first.test"], &[tcp])).start();
    let (status, mut connection) = tunnel(&world, "first.test:25");
    assert_eq!(status, 200);
    assert_eq!(connection.read_to_end(), b"220 ready\r\n");
}

#[test]
fn an_ip_address_is_refused_unless_it_is_named() {
    let world = World::new();
    let origin = http_server(&world, 0, "allowed.test");
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    let want = [
        ("198.51.100.10", 502),
        ("3325256714", 400),
        ("0xc633640a", 400),
        ("0306.063.0144.012", 400),
        ("198.51.25610", 400),
        ("[::ffff:198.51.100.10]", 502),
        ("[::ffff:c633:640a]", 502),
    ];
    check_statuses(&world, &want);
    for (form, _) in want.into_iter().filter(|(_, status)| *status == 502) {
        check_logged_of(&gateway, form, NOT_IN_REGISTRY);
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn an_ip_address_is_reached_when_it_is_named() {
    let world = World::new();
    let _origin = http_server(&world, 0, "allowed.test");
    let _other = http_server(&world, 1, "other.test");
    let addresses = "resolution: NONE\naddresses: [198.51.100.0/28]";
    let named = entry("default", &["allowed.test"], &[HTTP], addresses);
    let gateway = proxy(&world, &named).start();
    assert_eq!(get(&world, "http://198.51.100.10/").text(), "allowed.test");
    check_refused(&world, &gateway, "http://198.51.100.20/", NOT_IN_REGISTRY);
}

/// An origin at an address that no client may reach by a name: what it is named after may not matter.
pub(crate) fn forbidden_origin(from: &Namespace, address: IpAddr) -> Origin {
    from.enter(|| Origin::named_at((address, 80).into(), "secret"))
}

#[test]
fn a_name_that_moves_to_a_forbidden_address_is_refused() {
    let world = World::new();
    let _origin = http_server(&world, 0, "allowed.test");
    let own = forbidden_origin(&world.edge, Ipv4Addr::LOCALHOST.into());
    let metadata = forbidden_origin(&world.outside, World::METADATA.into());
    for target in ["127.0.0.1", "169.254.169.254"] {
        let answers: [&[&str]; 2] = [&["198.51.100.10"], &[target]];
        world.names.set_in_turn("moving.test", &answers, 0);
        let gateway = proxy(&world, &allow(&["moving.test"], &[HTTP, HTTPS])).start();
        eventually("the other answer is seen", || {
            get(&world, "http://moving.test/").status == 502
        });
        check_refused(&world, &gateway, "http://moving.test/", FORBIDDEN);
        check_connect_refused(&world, &gateway, "moving.test:443", FORBIDDEN);
    }
    assert_eq!((own.connections(), metadata.connections()), (0, 0));
}

#[test]
fn forbidden_addresses_have_many_forms() {
    let world = World::new();
    let own = forbidden_origin(&world.edge, Ipv4Addr::UNSPECIFIED.into());
    let forms = [
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.0",
        "169.254.169.254",
        "::1",
        "::",
        "fe80::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
    ];
    for (index, form) in forms.iter().enumerate() {
        world.names.set(&format!("n{index}.evil.test"), &[form], 60);
    }
    let gateway = proxy(&world, &allow(&["*.evil.test"], &[HTTP])).start();
    for (index, form) in forms.iter().enumerate() {
        let answer = get(&world, &format!("http://n{index}.evil.test/"));
        assert_eq!(answer.status, 502, "{form}");
        check_logged_of(&gateway, &format!("n{index}.evil.test"), FORBIDDEN);
    }
    assert_eq!(own.connections(), 0);
}

/// One good address does not open the way to a bad one.
#[test]
fn a_forbidden_address_among_others_is_not_used() {
    let world = World::new();
    let origin = http_server(&world, 0, "allowed.test");
    let own = forbidden_origin(&world.edge, Ipv4Addr::LOCALHOST.into());
    world
        .names
        .set("mixed.test", &["127.0.0.1", "198.51.100.10"], 60);
    let gateway = proxy(&world, &allow(&["mixed.test"], &[HTTP])).start();
    for _ in 0..8 {
        let answer = get(&world, "http://mixed.test/");
        assert_eq!((answer.status, answer.text()), (200, "allowed.test".into()));
    }
    let record = gateway.logged_with("authority", "mixed.test");
    assert_eq!(record["upstream_host"], "198.51.100.10:80", "{record}");
    assert_eq!((origin.hits(), own.connections()), (8, 0));
}

#[test]
fn a_wildcard_is_everything_below_it() {
    let world = World::new();
    let _origin = http_server(&world, 0, "server.test");
    for name in [
        "*.example.org",
        "example.org",
        "notexample.org",
        "example.org.evil.test",
    ] {
        world.names.set(name, &["198.51.100.10"], 60);
    }
    let gateway = proxy(&world, &allow(&["*.example.org"], &[HTTP])).start();
    for host in ["a.example.org", "a.b.example.org", "A.Example.ORG"] {
        assert_eq!(
            get(&world, &format!("http://{host}/")).status,
            200,
            "{host}"
        );
    }
    let others = ["example.org", "notexample.org", "example.org.evil.test"];
    for host in others {
        check_refused(
            &world,
            &gateway,
            &format!("http://{host}/"),
            NOT_IN_REGISTRY,
        );
        check_logged_of(&gateway, host, NOT_IN_REGISTRY);
    }
    check_statuses(&world, &[(".example.org", 400)]);
}

#[test]
fn spellings_of_an_allowed_name_are_allowed() {
    let world = World::new();
    let origin = http_server(&world, 0, "xn--bcher-kva.test");
    let _gateway = proxy(&world, &allow(&["xn--bcher-kva.test"], &[HTTP])).start();
    for host in [
        "xn--bcher-kva.test",
        "XN--Bcher-KVA.Test",
        "xn--bcher-kva.test.",
        "xn--bcher-kva.test:80",
    ] {
        let answer = get(&world, &format!("http://{host}/"));
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
    assert_eq!(origin.hits(), 4);
}

/// The answer is an error, or the connection is closed without one.
#[track_caller]
fn check_no(what: &str, answer: io::Result<Response>) {
    match answer {
        Ok(answer) => assert!(
            matches!(answer.status, 400..600),
            "{what}: {}",
            answer.status
        ),
        Err(error) => {
            let closed = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "{what}: {error}");
        }
    }
}

/// What one reader takes for the host and another for something else.
#[test]
fn tricks_lead_nowhere() {
    let world = World::new();
    let allowed = http_server(&world, 0, "allowed.test");
    let evil = http_server(&world, 1, "evil.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP, HTTPS])).start();
    let urls = [
        "http://allowed.test@evil.test/",
        "http://allowed.test:80@evil.test/",
        "http://evil.test#@allowed.test/",
        "http://evil.test\\@allowed.test/",
        "http://evil.test%00.allowed.test/",
        "http://allowed.test%2eevil.test/",
        "http://allowed.test:0/",
        "http://allowed.test:65616/",
        "http://allowed.test:80:443/",
        "http://allowed.test:+80/",
        "http://allowed.test: 80/",
        "http://allowed.test..../",
        "http:///",
        "http://:80/",
        "ftp://allowed.test/",
        "file:///etc/passwd",
    ];
    for url in urls {
        let mut connection = connect(&world, World::CLIENTS[0]);
        check_no(url, connection.send(&Request::get("allowed.test", url)));
    }
    assert_eq!((allowed.hits(), evil.connections()), (0, 0));
}

#[test]
fn tricks_open_no_tunnel() {
    let world = World::new();
    let (allowed, _) = https_server(&world, 0, "allowed.test");
    let (evil, _) = https_server(&world, 1, "evil.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTPS])).start();
    let targets = [
        "allowed.test",
        "allowed.test:",
        "allowed.test:0",
        "allowed.test:65979",
        "allowed.test:443/path",
        "allowed.test:443@evil.test:443",
        "evil.test:443#allowed.test:443",
        "https://allowed.test:443",
        "http://allowed.test/",
        "/",
        "*",
        "allowed.test:https",
    ];
    for target in targets {
        let mut connection = connect(&world, World::CLIENTS[0]);
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: allowed.test\r\n\r\n");
        connection.write(request.as_bytes()).unwrap();
        check_no(target, connection.read_head());
    }
    assert_eq!((allowed.connections(), evil.connections()), (0, 0));
}

/// Though an entry allows the name, the address and the port.
#[test]
fn the_proxy_does_not_lead_to_itself() {
    let world = World::new();
    let edge = World::EDGE.to_string();
    world.names.set("self.test", &[&edge], 60);
    world.names.set("local.test", &["127.0.0.1"], 60);
    let ports = ["{number: 15080, name: tcp-self, protocol: TCP}"];
    let addresses = "resolution: NONE\naddresses: [10.77.0.1, 127.0.0.0/8]";
    let allowed = entry("default", &["self.test", "local.test"], &ports, addresses);
    let gateway = proxy(&world, &allowed).start();
    for (target, reason) in [
        ("10.77.0.1:15080", LOOP),
        ("self.test:15080", LOOP),
        ("SELF.test.:15080", LOOP),
        ("127.0.0.1:15080", LOOP),
        ("local.test:15080", LOOP),
        ("localhost:15080", NOT_IN_REGISTRY),
    ] {
        assert_eq!(tunnel(&world, target).0, 403, "{target}");
        check_logged_of(&gateway, target, reason);
    }
}

/// Pages for operators are for nobody outside, whatever name and port a ServiceEntry gives them.
#[test]
fn the_proxy_does_not_lead_to_its_own_pages() {
    let world = World::new();
    let pages = entry(
        "default",
        &["pages.test"],
        &[
            "{number: 80, name: http-admin, protocol: HTTP, targetPort: 15000}",
            "{number: 81, name: http-metrics, protocol: HTTP, targetPort: 15020}",
            "{number: 82, name: tcp-status, protocol: TCP, targetPort: 15021}",
        ],
        "resolution: STATIC\nendpoints: [{address: 127.0.0.1}]",
    );
    let gateway = proxy(&world, &pages).start();
    for url in [
        "http://pages.test/config_dump",
        "http://pages.test:81/metrics",
    ] {
        check_refused(&world, &gateway, url, "proxy_loop");
    }
    assert_eq!(tunnel(&world, "pages.test:82").0, 403);
}

#[test]
fn a_tunnel_in_a_tunnel_is_none() {
    let world = World::new();
    let (origin, _) = https_server(&world, 0, "allowed.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTPS])).start();
    let (status, mut connection) = tunnel(&world, "allowed.test:443");
    assert_eq!(status, 200);
    let _ = connection.write(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n");
    let answer = connection.read_to_end();
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(origin.visits(), []);
}

#[test]
fn allow_any_lets_all_through() {
    let world = World::new();
    let _plain = http_server(&world, 0, "plain.test");
    let (_secure, authority) = https_server(&world, 1, "secure.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP]))
        .section("\n[mesh]\noutbound-traffic-policy = \"ALLOW_ANY\"\n")
        .start();
    assert_eq!(get(&world, "http://plain.test/").text(), "plain.test");
    assert_eq!(get(&world, "http://198.51.100.10/").text(), "plain.test");
    let root = world.file("ca.pem", &authority.pem());
    let ran = world.curl(&["--proxy", PROXY, "--cacert", &root, "https://secure.test/"]);
    assert_eq!(ran.stdout, "secure.test", "{ran:?}");
}

/// How the bootstrap file says which clients are whose.
pub(crate) const TEAMS: &str = "
[[forward-proxy.clients]]
networks = [\"10.77.1.0/24\"]
namespace = \"team-a\"
[[forward-proxy.clients]]
networks = [\"10.77.2.0/24\"]
namespace = \"team-b\"
";

#[test]
fn an_entry_may_be_for_some_clients_only() {
    let world = World::new();
    let _origin = http_server(&world, 0, "allowed.test");
    let private = "resolution: NONE\nexportTo: [\".\"]";
    let entry = entry("team-a", &["allowed.test"], &[HTTP], private);
    let gateway = proxy(&world, &entry).section(TEAMS).start();
    let [one, other] = World::CLIENTS;
    assert_eq!(get_from(&world, one, "http://allowed.test/").status, 200);
    assert_eq!(get_from(&world, other, "http://allowed.test/").status, 502);
    let record = gateway.logged_with("reason", HIDDEN);
    let client = record["downstream_remote_address"].as_str().unwrap();
    assert!(client.starts_with("10.77.2.10:"), "{client}");
}

#[test]
fn an_entry_that_is_taken_away_allows_nothing() {
    let world = World::new();
    let _origin = http_server(&world, 0, "allowed.test");
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    assert_eq!(get(&world, "http://allowed.test/").status, 200);
    gateway.remove("entry.yaml");
    eventually("it is refused", || {
        get(&world, "http://allowed.test/").status == 502
    });
    check_logged(&gateway, NOT_IN_REGISTRY);
}

#[test]
fn a_connection_asks_anew_for_each_request() {
    let world = World::new();
    let _allowed = http_server(&world, 0, "allowed.test");
    let evil = http_server(&world, 1, "evil.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    let mut connection = connect(&world, World::CLIENTS[0]);
    let mut status = |host: &str| {
        let request = Request::get(host, &format!("http://{host}/"));
        connection.send(&request).map(|answer| answer.status)
    };
    assert_eq!(status("allowed.test").unwrap(), 200);
    assert_eq!(status("evil.test").unwrap(), 502);
    assert_eq!(evil.connections(), 0);
}

#[test]
fn what_is_between_client_and_proxy_stays_there() {
    let world = World::new();
    world.names.set("allowed.test", &["198.51.100.10"], 60);
    let echo = world.outside.enter(|| {
        Origin::bound_to(server(0, 80), |exchange| {
            exchange.reply(200, &[], b"")?;
            Ok(After::Keep)
        })
    });
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP])).start();
    let request = Request::get("allowed.test", "http://allowed.test/")
        .header("Proxy-Authorization", "Basic c2VjcmV0")
        .header("Proxy-Connection", "keep-alive");
    let answer = connect(&world, World::CLIENTS[0]).send(&request);
    assert_eq!(answer.unwrap().status, 200);
    let request = echo.last_request();
    assert_eq!(request.header("proxy-authorization"), None);
    assert_eq!(request.header("proxy-connection"), None);
}

#[test]
fn a_name_that_is_not_found_is_an_answer() {
    let world = World::new();
    let gateway = proxy(&world, &allow(&["*.allowed.test"], &[HTTP])).start();
    world.names.set("empty.allowed.test", &[], 60);
    world.names.mood_about("broken.allowed.test", Mood::Failing);
    world.names.mood_about("silent.allowed.test", Mood::Silent);
    for (host, status, reason) in [
        ("absent.allowed.test", 503, "dns_no_such_name"),
        ("empty.allowed.test", 503, "dns_no_address"),
        ("broken.allowed.test", 503, "dns_failure"),
        ("silent.allowed.test", 503, "dns_timeout"),
    ] {
        let answer = get(&world, &format!("http://{host}/"));
        assert_eq!(answer.status, status, "{host}: {}", answer.text());
        check_logged_of(&gateway, host, reason);
    }
}

/// A server of files at the first address, and the path of its authority.
fn files(world: &World) -> (SecureOrigin, String) {
    let authority = Authority::new("outside");
    let certificate = authority.issue(&["files.test"]);
    let folder = world.outside.home();
    world.names.set("files.test", &["198.51.100.10"], 60);
    let start = || SecureOrigin::folder_at(server(0, 443), folder, &certificate);
    let origin = world.outside.enter(start);
    (origin, world.file("ca.pem", &authority.pem()))
}

#[test]
fn wget_downloads_through_it() {
    let world = World::new();
    let (_files, root) = files(&world);
    let _gateway = proxy(&world, &allow(&["files.test"], &[HTTPS])).start();
    fs::write(world.outside.home().join("file.txt"), "hello\n").unwrap();
    let (proxy, root) = (
        format!("https_proxy={PROXY}"),
        format!("--ca-certificate={root}"),
    );
    let wget = |url: &str| {
        world
            .inside
            .run("wget", &["-qO-", "-t1", "-e", &proxy, &root, url])
    };
    assert_eq!(wget("https://files.test/file.txt").stdout, "hello\n");
    assert_ne!(wget("https://evil.test/file.txt").code, 0);
}

#[test]
fn git_clones_through_it() {
    let world = World::new();
    let (_files, root) = files(&world);
    let _gateway = proxy(&world, &allow(&["files.test"], &[HTTPS])).start();
    put_repository(world.outside.home(), "hello.git");
    let (proxy, root) = (
        format!("http.proxy={PROXY}"),
        format!("http.sslCAInfo={root}"),
    );
    let clone = |host: &str, to: &str| {
        let url = format!("https://{host}/hello.git");
        let settings = ["-c", &proxy, "-c", &root, "clone", "--quiet", &url, to];
        world.inside.run("git", &settings)
    };
    let ran = clone("files.test", "hello");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(world.inside.home().join("hello/README").is_file());
    assert_ne!(clone("evil.test", "other").code, 0);
}

#[test]
fn pip_installs_through_it() {
    let world = World::new();
    let (_files, root) = files(&world);
    let _gateway = proxy(&world, &allow(&["files.test"], &[HTTPS])).start();
    put_package(world.outside.home(), "parcel");
    let (index, pip) = ("https://files.test/simple/", peers().join("bin/pip"));
    let install = [
        "install",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
    ];
    let from = ["--proxy", PROXY, "--cert", &root, "--index-url", index];
    let what = ["--target", "libraries", "parcel"];
    let ran = world
        .inside
        .run(pip, &[&install[..], &from, &what].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        world
            .inside
            .home()
            .join("libraries/parcel/__init__.py")
            .is_file()
    );
}

#[test]
fn openssl_tunnels_through_it() {
    let world = World::new();
    let (_origin, authority) = https_server(&world, 0, "allowed.test");
    let _gateway = proxy(&world, &allow(&["allowed.test"], &[HTTPS])).start();
    let root = world.file("ca.pem", &authority.pem());
    let proxy = format!("{}:{PORT}", World::EDGE);
    let through = [
        "s_client",
        "-proxy",
        &proxy,
        "-CAfile",
        &root,
        "-verify_return_error",
    ];
    let to = [
        "-connect",
        "allowed.test:443",
        "-servername",
        "allowed.test",
    ];
    let ran = world.inside.run("openssl", &[&through[..], &to].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
}
