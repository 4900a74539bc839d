//! What is redirected to a sidecar and what is not, as `mesh-agent iptables` is told.

use e2e::{
    Mesh, Origin, Outside, Pod, PodSetup, Ran, Request, ServiceSpec, TcpOrigin, World,
    mesh_agent_binary,
};
use std::net::{Ipv4Addr, SocketAddr};

/// A port of servers outside of the mesh.
const PORT: u16 = 7000;

/// A client with a sidecar that lets nothing out, and two servers outside.
struct Captured {
    client: Pod,
    _servers: [TcpOrigin; 2],
    _outside: Outside,
    _mesh: Mesh,
}

impl Captured {
    fn with(flags: &[&str]) -> Self {
        let mesh = Mesh::new();
        let outside = mesh.outside();
        let [one, two, _] = World::SERVERS;
        let serve = |at: Ipv4Addr| {
            let at = SocketAddr::from((at, PORT));
            outside.machine.enter(|| TcpOrigin::named_at(at, "outside"))
        };
        Self {
            client: mesh
                .pod("client-v1")
                .redirection(flags)
                .config("mesh", "protocol-detection-timeout = \"100ms\"")
                .start(),
            _servers: [one, two].map(serve),
            _outside: outside,
            _mesh: mesh,
        }
    }

    /// What the first and the second server say to the client: nothing, where its sidecar has been asked.
    fn heard(&self) -> [bool; 2] {
        let [one, two, _] = World::SERVERS;
        [one, two].map(|at| self.client.connect((at, PORT)).read_to_end() == b"outside")
    }
}

#[test]
fn all_that_a_pod_sends_is_captured() {
    assert_eq!(Captured::with(&[]).heard(), [false, false]);
}

#[test]
fn what_is_excluded_is_not_captured() {
    let one = World::SERVERS[0].to_string();
    for (flags, heard) in [
        (["-o", "7000"], [true, true]),
        (["-o", "7001"], [false, false]),
        (["-x", &one], [true, false]),
        (["-i", &one], [false, true]),
        // Root's, as everything of a test is.
        (["-u", "1337,0"], [true, true]),
    ] {
        assert_eq!(Captured::with(&flags).heard(), heard, "{flags:?}");
    }
}

/// The network as the original page has it, whose address is one in it.
#[test]
fn only_the_networks_of_services_are_captured() {
    let world = Captured::with(&["-i", "10.0.0.1/8"]);
    assert_eq!(world.heard(), [true, true]);
    let client = &world.client;
    let refused = client.connect((Ipv4Addr::new(10, 96, 0, 9), 80));
    let mut refused = refused;
    let answer = refused.send(&Request::get("nobody.test", "/"));
    assert_eq!(answer.expect("an answer").status, 502);
}

/// A server and a client, whose sidecars are told of each other.
fn pair(mesh: &Mesh, flags: &[&str]) -> (Pod, Pod) {
    let made = |setup: PodSetup<'_>| setup.redirection(flags).start();
    let server = made(mesh.pod("server-v1"));
    (server, made(mesh.pod("client-v1")))
}

#[test]
fn nftables_capture_the_same() {
    let mesh = Mesh::new();
    mesh.service(ServiceSpec::new("server").port("http", 9080));
    let (server, client) = pair(&mesh, &["--native-nftables"]);
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9080));
    let _app = server.enter(|| Origin::named_at(at, "here"));
    assert_eq!(client.get("server:9080/").text(), "here");
    for pod in [&server, &client] {
        assert_eq!(pod.agent().logged("/")["authority"], "server:9080");
    }
    let saved = client.machine().run("iptables-save", &[]);
    assert!(!saved.stdout.contains("ISTIO"), "{saved:?}");
}

/// Ports of what is received: those that are named, or all but some.
#[test]
fn ports_of_what_is_received_are_captured_as_told() {
    for (flags, captured) in [
        (["-b", "9080"], [true, false]),
        (["-d", "7000"], [true, false]),
        (["-b", ""], [false, false]),
    ] {
        let mesh = Mesh::new();
        let server = mesh.pod("server-v1").redirection(&flags).start();
        let plain = mesh.pod("plain").alone();
        let peers = [9080, PORT].map(|port| {
            let _app = server.serve(port, |exchange| {
                let peer = exchange.stream().get_ref().peer_addr()?.ip();
                exchange.reply(200, &[], peer.to_canonical().to_string().as_bytes())?;
                Ok(e2e::After::Keep)
            });
            plain.get(&format!("{}:{port}/", server.address())).text() == "127.0.0.6"
        });
        assert_eq!(peers, captured, "{flags:?}");
    }
}

/// Twice is as once, and what is removed is only what was installed.
#[test]
fn rules_are_installed_once_and_removed() {
    let mesh = Mesh::new();
    let pod = mesh.pod("client-v1").alone();
    let machine = pod.machine();
    let iptables = |flags: &[&str]| {
        let all = [&["iptables"][..], flags].concat();
        let ran = machine.run(mesh_agent_binary(), &all);
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    let saved = || {
        let rules = |ran: Ran| {
            let lines = ran.stdout.lines().filter(|line| line.starts_with("-A"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        [
            rules(machine.run("iptables-save", &[])),
            rules(machine.run("ip6tables-save", &[])),
        ]
    };
    let own = [
        "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "9", "-j", "RETURN",
    ];
    assert_eq!(machine.run("iptables", &own).code, 0);
    let before = saved();
    iptables(&[]);
    let once = saved();
    assert!(once[0].len() > before[0].len() && once[1].len() > before[1].len());
    iptables(&[]);
    assert_eq!(saved(), once);
    iptables(&["--clean"]);
    assert_eq!(saved(), before);
}
