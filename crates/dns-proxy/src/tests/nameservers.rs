//! Which nameservers are asked.

use super::upstream::Upstream;
use super::world::{Fixed, PATIENCE, World, told};
use crate::resolv::{ResolvConf, Upstreams, leads_to};
use crate::{BindError, Server, Settings};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::watch;

async fn read(text: &str, own: &[&str]) -> Upstreams {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, text).unwrap();
    read_at(&path, own).await
}

async fn read_at(path: &Path, own: &[&str]) -> Upstreams {
    let settings = Settings {
        resolv_conf: path.into(),
        ..Settings::default()
    };
    let own = own.iter().map(|one| one.parse().unwrap()).collect();
    let resolv = ResolvConf::read(&settings, own).await;
    let current = resolv.current();
    Upstreams {
        servers: current.servers.clone(),
        search: current.search.clone(),
    }
}

async fn check(text: &str, servers: &[&str], search: Option<&str>) {
    let found = read(text, &["127.0.0.1:15053"]).await;
    let servers: Vec<SocketAddr> = servers.iter().map(|one| one.parse().unwrap()).collect();
    let search = search.map(str::to_owned);
    assert_eq!(found, Upstreams { servers, search }, "{text:?}");
}

#[tokio::test]
async fn the_file_says_whom_to_ask_and_where_names_are_looked_for() {
    check(
        "# by Kubernetes\nnameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5\n",
        &["10.96.0.10:53"],
        Some("shop.svc.cluster.local"),
    )
    .await;
    check(
        "domain Example.COM.\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n",
        &["192.0.2.1:53", "[2001:db8::1]:53"],
        Some("example.com"),
    )
    .await;
    // A line that cannot be read costs itself, and a fourth server is one too many.
    check(
        "nameserver nonsense\noptions unheard-of\nwhat is this\n\u{ff}\nnameserver 192.0.2.1\n\
         nameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\nsearch .\n",
        &["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"],
        None,
    )
    .await;
    // As resolv.conf(5) has it.
    check("", &["127.0.0.1:53"], None).await;
    check("nameserver fe80::1%1\n", &["[fe80::1%1]:53"], None).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_names_this_machine() {
    let found = read_at(Path::new("/nonexistent/resolv.conf"), &[]).await;
    assert_eq!(found.servers, ["127.0.0.1:53".parse().unwrap()]);
}

/// As where the proxy listens on port 53 of a machine, and the file names it for everybody.
#[tokio::test]
async fn the_proxy_itself_is_not_asked() {
    let text = "nameserver 127.0.0.1\nnameserver 192.0.2.1\n";
    let found = read(text, &["127.0.0.1:53"]).await;
    assert_eq!(found.servers, ["192.0.2.1:53".parse().unwrap()]);
    assert!(read("", &["127.0.0.1:53"]).await.servers.is_empty());
}

#[test]
fn a_server_is_the_proxy_by_address_or_where_that_is_any() {
    for (server, own, want) in [
        ("127.0.0.1:53", "127.0.0.1:53", true),
        ("127.0.0.1:53", "127.0.0.1:15053", false),
        ("127.0.0.2:53", "127.0.0.1:53", false),
        ("127.0.0.2:53", "0.0.0.0:53", true),
        ("0.0.0.0:53", "127.0.0.1:53", true),
        ("[::ffff:127.0.0.1]:53", "127.0.0.1:53", true),
        ("[::1]:53", "[::1]:53", true),
        ("192.0.2.1:53", "0.0.0.0:53", false),
    ] {
        let own: SocketAddr = own.parse().unwrap();
        assert_eq!(
            leads_to(server.parse().unwrap(), &[own]),
            want,
            "{server} {own}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_set_and_is_the_proxy_itself_is_an_error() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let (_, names) = watch::channel(None);
    let settings = Settings {
        servers: vec![address],
        ..Settings::default()
    };
    match Server::bind(&[address], settings, names).await {
        Err(BindError::Itself(server)) => assert_eq!(server, address),
        // Somebody else has got the port meanwhile.
        Err(BindError::Address { .. }) => {}
        Ok(_) => panic!("it asks itself"),
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_told() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let (_, names) = watch::channel(None);
    let Err(error) = Server::bind(&[address], Settings::default(), names).await else {
        panic!("it is bound twice");
    };
    let want = format!("DNS cannot be answered on {address}: it cannot be bound over TCP");
    // Over UDP somebody else may have the port.
    assert!(error.to_string() == want || error.to_string() == want.replace("TCP", "UDP"));
}

#[tokio::test]
async fn other_nameservers_are_asked_once_the_file_names_them() {
    // The port is not in the file: its search domain shows that it was read.
    let upstream = Upstream::saying(ResponseCode::NXDomain).await;
    let names = Fixed::new(&[("a.test", &["10.0.0.1"])]);
    let world = World::with(Some(names), [upstream.address], |settings| {
        settings.look_every = Duration::from_millis(5);
    });
    let world = world.await;
    let name = "a.test.other.example.com";
    let before = told(&world.ask(name, RecordType::A).await);
    assert_eq!(before, (ResponseCode::NXDomain, Vec::new()));
    let path = world.folder.path().join("resolv.conf");
    let new = world.folder.path().join("new");
    std::fs::write(&new, "search other.example.com\n").unwrap();
    std::fs::rename(new, path).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while told(&world.ask(name, RecordType::A).await).1.is_empty() {
        assert!(Instant::now() < deadline, "the file is not read again");
    }
}
