//! The small internet in which the forward proxy is tested: what it keeps apart, and what it lets through.

use crate::TO_SHOP;
use e2e::{
    Authority, Certificate, Connection, Mood, Namespace, Origin, Place, Request, SecureOrigin,
    TcpOrigin, TlsClient, World, look_up, peers, put_package, put_repository, service_entry,
    virtual_service,
};
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The first of the servers.
fn server(port: u16) -> SocketAddr {
    (World::SERVERS[0], port).into()
}

/// An authority, and a certificate of it for that server.
fn trusted() -> (Authority, Certificate) {
    let authority = Authority::new("outside");
    let address = World::SERVERS[0].to_string();
    let certificate = authority.issue(&["files.test", &address]);
    (authority, certificate)
}

fn get(from: &Namespace, address: SocketAddr) -> std::io::Result<String> {
    let mut connection = from.enter(|| Connection::open_at(address))?;
    Ok(connection.send(&Request::get("shop.test", "/"))?.text())
}

#[test]
fn the_edge_reaches_every_server_and_clients_reach_none() {
    let world = World::new();
    let servers = World::SERVERS.iter();
    let elsewhere = [World::METADATA, World::INTRANET];
    let addresses = servers.chain(&elsewhere).map(|at| IpAddr::V4(*at));
    for address in addresses.chain([World::SERVER_V6.into()]) {
        let address = SocketAddr::new(address, 80);
        let origin = world.outside.enter(|| Origin::named_at(address, "outside"));
        assert_eq!(get(&world.edge, address).unwrap(), "outside");
        assert!(get(&world.inside, address).is_err(), "{address}");
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn clients_reach_the_edge_from_their_addresses() {
    let world = World::new();
    let origin = world.edge.enter(|| {
        TcpOrigin::serving_at((World::EDGE, 9000).into(), |mut stream| {
            let peer = stream.peer_addr()?.ip().to_string();
            stream.write_all(peer.as_bytes())
        })
    });
    for client in World::CLIENTS {
        let mut connection = world.connect(client, 9000).unwrap();
        assert_eq!(connection.read_to_end(), client.to_string().as_bytes());
    }
    assert_eq!(origin.connections(), 2);
}

/// What the world's DNS server answers on the edge about a name: the code and the IPv4 addresses; nothing: no answer.
fn ask(world: &World, name: &str) -> Option<(u8, Vec<Ipv4Addr>)> {
    let server = (World::NAME_SERVER, 53).into();
    world.edge.enter(|| look_up(server, name))
}

#[test]
fn names_are_what_the_test_says() {
    let world = World::new();
    let [one, other, third] = World::SERVERS;
    let names = &world.names;
    names.set("api.test", &[&one.to_string(), &other.to_string()], 60);
    names.set("*.example.test", &[&third.to_string()], 60);
    names.set_in_turn("moving.test", &[&[&one.to_string()], &["127.0.0.1"]], 0);
    names.mood_about("broken.test", Mood::Failing);
    names.mood_about("silent.test", Mood::Silent);
    assert_eq!(ask(&world, "api.test"), Some((0, vec![one, other])));
    assert_eq!(ask(&world, "a.b.example.test"), Some((0, vec![third])));
    assert_eq!(ask(&world, "example.test"), Some((3, vec![])));
    assert_eq!(ask(&world, "notexample.test"), Some((3, vec![])));
    assert_eq!(ask(&world, "moving.test"), Some((0, vec![one])));
    for _ in 0..2 {
        let moved = vec![Ipv4Addr::LOCALHOST];
        assert_eq!(ask(&world, "moving.test"), Some((0, moved)));
    }
    assert_eq!(ask(&world, "broken.test"), Some((2, vec![])));
    assert_eq!(ask(&world, "silent.test"), None);
    assert_eq!(names.queries("moving.test"), 3);
}

#[test]
fn the_edge_speaks_http_https_and_tcp_with_servers() {
    let world = World::new();
    let (authority, certificate) = trusted();
    let http = world
        .outside
        .enter(|| Origin::named_at(server(80), "plain"));
    let secure = world
        .outside
        .enter(|| SecureOrigin::start_at(server(443), "secure", &certificate));
    let echo = world.outside.enter(|| TcpOrigin::echo_at(server(7)));
    let root = world.file("ca.pem", &authority.pem());
    let curl = |url: &str, port: u16| {
        let resolve = format!("files.test:{port}:{}", World::SERVERS[0]);
        let arguments = ["--silent", "--cacert", &root, "--resolve", &resolve, url];
        world.edge.run("curl", &arguments)
    };
    assert_eq!(curl("http://files.test/", 80).stdout, "plain");
    assert_eq!(curl("https://files.test/", 443).stdout, "secure");
    let visit = secure.last_visit();
    assert_eq!(
        (visit.sni.as_deref(), visit.alpn.as_deref()),
        (Some("files.test"), Some("h2"))
    );
    let connection = world.edge.enter(|| Connection::open_at(server(7)));
    assert_eq!(connection.unwrap().echo(b"hello").unwrap(), b"hello");
    assert_eq!((http.hits(), echo.connections()), (1, 1));
}

/// As through a tunnel: the client's connection is made first, and TLS begins on it later, elsewhere.
#[test]
fn tls_begins_on_a_connection_that_is_there() {
    let world = World::new();
    let (authority, certificate) = trusted();
    let _origin = world
        .outside
        .enter(|| SecureOrigin::start_at(server(443), "secure", &certificate));
    let connection = world.edge.enter(|| Connection::open_at(server(443)));
    let client = TlsClient::new(&authority, "files.test");
    let tls = client.shake_hands(connection.unwrap().into_stream());
    let answer = tls.unwrap().send(&Request::get("files.test", "/"));
    assert_eq!(answer.unwrap().text(), "secure");
}

#[test]
fn clients_use_a_gateway_on_the_edge() {
    let world = World::new();
    let _origin = world
        .outside
        .enter(|| Origin::named_at(server(8000), "outside"));
    let place = Place {
        address: server(8000),
        ..Place::new(0, "")
    };
    let port = "number: 80, name: http, protocol: HTTP";
    let rules = TO_SHOP.replace("{host: shop}", "{host: api.test}");
    let mut gateway = world
        .setup()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("shop.yaml", virtual_service("shop", "shop.test", &rules))
        .file("entry.yaml", service_entry("api.test", port, &[place]))
        .start();
    let url = format!("http://{}/via-curl", World::EDGE);
    let [_, other] = World::CLIENTS;
    let answer = world.curl_from(other, &["--header", "Host: shop.test", &url]);
    assert_eq!(answer.stdout, "outside", "{answer:?}");
    let record = gateway.logged("/via-curl");
    let client = record["downstream_remote_address"].as_str().unwrap();
    assert!(client.starts_with(&format!("{other}:")), "{client}");
    assert_eq!(gateway.get("shop.test", "/").text(), "outside");
    assert_eq!(gateway.metrics().sum("istio_requests_total", &[]), 2.0);
    gateway.restart();
    assert_eq!(
        world.curl(&["--header", "Host: shop.test", &url]).stdout,
        "outside"
    );
}

#[test]
fn programs_that_hang_are_ended() {
    let world = World::new();
    assert_eq!(
        world.inside.run("timeout", &["0.1", "sleep", "60"]).code,
        124
    );
}

/// A server at the first address with the files of `world.outside`'s home, and the path of its authority.
fn files(world: &World) -> (SecureOrigin, String) {
    let (authority, certificate) = trusted();
    let folder = world.outside.home();
    let origin = world
        .outside
        .enter(|| SecureOrigin::folder_at(server(443), folder, &certificate));
    let root = world.file("ca.pem", &authority.pem());
    (origin, root)
}

#[test]
fn wget_downloads_a_file() {
    let world = World::new();
    let (_files, root) = files(&world);
    fs::write(world.outside.home().join("file.txt"), "hello\n").unwrap();
    let certificate = format!("--ca-certificate={root}");
    let url = format!("https://{}/file.txt", World::SERVERS[0]);
    let ran = world.edge.run("wget", &["-qO-", &certificate, &url]);
    assert_eq!(ran.stdout, "hello\n", "{ran:?}");
    let ran = world.edge.run(
        "wget",
        &["-qO-", &certificate, &url.replace("file", "none")],
    );
    assert_eq!(ran.code, 8, "{ran:?}");
}

#[test]
fn git_clones_a_repository() {
    let world = World::new();
    let (_files, root) = files(&world);
    put_repository(world.outside.home(), "hello.git");
    let certificate = format!("http.sslCAInfo={root}");
    let url = format!("https://{}/hello.git", World::SERVERS[0]);
    let ran = world.edge.run(
        "git",
        &["-c", &certificate, "clone", "--quiet", &url, "hello"],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let readme = fs::read_to_string(world.edge.home().join("hello/README"));
    assert_eq!(readme.unwrap(), "hello\n");
}

#[test]
fn pip_installs_a_package() {
    let world = World::new();
    let (_files, root) = files(&world);
    put_package(world.outside.home(), "parcel");
    let index = format!("https://{}/simple/", World::SERVERS[0]);
    let ran = world.edge.run(
        peers().join("bin/pip"),
        &[
            "install",
            "--quiet",
            "--no-deps",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--cert",
            &root,
            "--index-url",
            &index,
            "--target",
            "libraries",
            "parcel",
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let module = world.edge.home().join("libraries/parcel/__init__.py");
    assert!(module.is_file());
}

#[test]
fn nothing_is_left_of_it() {
    let world = World::new();
    let places = [&world.inside, &world.edge, &world.outside].map(Namespace::path);
    assert!(places.iter().all(|place| place.exists()));
    drop(world);
    assert!(!places.iter().any(|place| place.exists()));
}

#[test]
fn nothing_is_left_of_it_after_a_failure() {
    let mut place = PathBuf::new();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new();
        place = world.edge.path();
        assert!(place.exists());
        world.inside.enter(|| panic!("as a test that fails"));
    }));
    assert!(failed.is_err());
    assert!(!place.exists());
}

/// No process has the highest id of all, which is above what Linux gives.
#[test]
fn what_a_killed_test_left_is_removed() {
    let name = format!("tidegate-e2e-4194305-{}-edge", std::process::id());
    let path = Path::new("/run/netns").join(&name);
    let made = e2e::run("ip", &["netns", "add", &name]);
    assert_eq!(made.code, 0, "{made:?}");
    let _world = World::new();
    assert!(!path.exists());
}
