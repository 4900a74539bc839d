//! A small internet: servers, clients that cannot reach them, and the gateway's machine between them.

use crate::authority::put_secret;
use crate::client::Connection;
use crate::dns::NameServer;
use crate::namespace::{Lease, Namespace};
use crate::poll::eventually;
use crate::programs::Ran;
use crate::setup::Setup;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;
use tempfile::TempDir;

/// Three machines of a test's own, and the wires between them:
///
/// ```text
/// inside: CLIENTS  <-->  EDGE :edge: EDGE_OUTSIDE  <-->  outside: SERVERS, NAME_SERVER, ...
/// ```
///
/// Clients reach the edge and nothing else; the edge reaches everything and forwards no packets. All of it is gone
/// on drop: what runs in it is to be dropped before.
#[derive(Debug)]
pub struct World {
    /// Where clients are.
    pub inside: Namespace,
    /// Where the gateway is.
    pub edge: Namespace,
    /// Where servers are.
    pub outside: Namespace,
    /// Whom the edge asks for names, at [`World::NAME_SERVER`]. It knows none yet.
    pub names: NameServer,
    _lease: Lease<3>,
    folder: TempDir,
}

impl World {
    /// Where clients find the gateway.
    pub const EDGE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// Where its connections to servers come from.
    pub const EDGE_OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// Where clients are: two teams, `10.77.1.0/24` and `10.77.2.0/24`.
    pub const CLIENTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 1, 10), Ipv4Addr::new(10, 77, 2, 10)];
    /// Public addresses for servers.
    pub const SERVERS: [Ipv4Addr; 3] = [
        Ipv4Addr::new(198, 51, 100, 10),
        Ipv4Addr::new(198, 51, 100, 20),
        Ipv4Addr::new(198, 51, 100, 30),
    ];
    /// One more.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x10);
    /// The DNS server, on port 53.
    pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);
    /// Where clouds tell machines their secrets. The edge can reach it: who must not has to be kept from it.
    pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
    /// A private address beyond the edge, likewise.
    pub const INTRANET: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 10);

    /// A new one, apart from all others.
    ///
    /// # Panics
    ///
    /// When it cannot be made: root can, with iproute2.
    #[track_caller]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lease = Lease::new(["inside", "edge", "outside"], folder.path());
        let [inside, edge, outside] = lease.namespaces.clone();
        wire(&inside, &edge, &outside);
        let address = (Self::NAME_SERVER, 53).into();
        let names = outside.enter(|| NameServer::start_at(address));
        edge.enter(|| wait_for_answer(address));
        Self {
            inside,
            edge,
            outside,
            names,
            _lease: lease,
            folder,
        }
    }

    /// A gateway on the edge, which asks the world's DNS server. The ports of its Gateway servers are bound as they are.
    pub fn setup(&self) -> Setup {
        let names = SocketAddr::from((Self::NAME_SERVER, 53));
        Setup::within(&self.edge, Self::EDGE.into()).section(&format!(
            "\n[dns]\nservers = [\"{names}\"]\nrefresh-min = \"50ms\"\ntimeout = \"500ms\"\n"
        ))
    }

    /// `curl` on the client at the first address, without progress or settings of the user's.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[track_caller]
    pub fn curl(&self, arguments: &[&str]) -> Ran {
        self.curl_from(Self::CLIENTS[0], arguments)
    }

    /// As [`World::curl`], on the client at this address.
    ///
    /// # Panics
    ///
    /// When it is not there.
    #[track_caller]
    pub fn curl_from(&self, client: Ipv4Addr, arguments: &[&str]) -> Ran {
        let client = client.to_string();
        let mut all = vec!["--silent", "--show-error", "--interface", &client];
        all.extend(arguments);
        self.inside.run("curl", &all)
    }

    /// A client's connection to a port of the edge, for sending whatever one likes.
    ///
    /// # Errors
    ///
    /// When nothing accepts there.
    pub fn connect(&self, client: Ipv4Addr, port: u16) -> io::Result<Connection> {
        let edge = SocketAddrV4::new(Self::EDGE, port);
        self.inside.enter(|| Connection::open_from(client, edge))
    }

    /// The path of a file for programs, such as the certificate of an authority.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        put_secret(&path, content);
        path.to_str().expect("a path of UTF-8").to_owned()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// One wire from the inside to the edge, one from there to the outside; addresses; and the way from the edge to all
/// that is outside. The inside has no such way.
#[track_caller]
fn wire(inside: &Namespace, edge: &Namespace, outside: &Namespace) {
    edge.switch("net/ipv4/ip_forward", "0");
    for namespace in [inside, edge, outside] {
        namespace.with_ipv6();
    }
    edge.connect("inside", inside, "edge");
    edge.connect("outside", outside, "edge");
    inside.ip(&addresses(
        "edge",
        &World::CLIENTS.map(|at| format!("{at}/16")),
    ));
    outside.ip(&outer_addresses());
    edge.ip(&edge_addresses());
}

/// A link that was just put up may lose its first packets, and a name server is not asked twice.
pub(crate) fn wait_for_answer(name_server: SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    let limit = Some(Duration::from_millis(100));
    socket.set_read_timeout(limit).expect("a limit");
    // A request that somebody recurse, with one question: the root's addresses.
    let question = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01";
    eventually("the name server answers", || {
        let _ = socket.send_to(question, name_server);
        socket.recv(&mut [0; 512]).is_ok()
    });
}

fn edge_addresses() -> String {
    let (inside, outside) = (World::EDGE, World::EDGE_OUTSIDE);
    let (router, router_v6) = (World::SERVERS[0], World::SERVER_V6);
    let mut commands = addresses("inside", &[format!("{inside}/16")]);
    let outside = [format!("{outside}/24"), "2001:db8:51::1/64".to_owned()];
    commands += &addresses("outside", &outside);
    // The first of the servers stands for the rest of the internet.
    let _ = writeln!(commands, "route add 0.0.0.0/0 via {router}");
    let _ = writeln!(commands, "route add ::/0 via {router_v6}");
    commands
}

fn outer_addresses() -> String {
    let public = World::SERVERS.iter().chain([&World::NAME_SERVER]);
    let mut public: Vec<_> = public.map(|at| format!("{at}/24")).collect();
    public.push(format!("{}/64", World::SERVER_V6));
    let elsewhere = [World::METADATA, World::INTRANET].map(|at| format!("{at}/32"));
    addresses("edge", &public) + &addresses("lo", &elsewhere)
}

/// The commands of `ip` that give a device these addresses and turn it on.
pub(crate) fn addresses(device: &str, all: &[String]) -> String {
    let mut commands = format!("link set {device} up\n");
    for address in all {
        // An IPv6 address is looked for elsewhere first, which takes a second, unless it is said to be unique.
        let unique = if address.contains(':') { " nodad" } else { "" };
        let _ = writeln!(commands, "address add {address} dev {device}{unique}");
    }
    commands
}
