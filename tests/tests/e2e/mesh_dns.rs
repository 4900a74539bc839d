//! DNS of pods, answered by their sidecars.

use crate::egress::entry;
use e2e::{After, Mesh, Origin, Outside, Pod, ServiceSpec, TcpOrigin, World, eventually, look_up};
use std::net::{Ipv4Addr, SocketAddr};

/// No error, and no such name.
const OK: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// A pod whose DNS is captured, and the DNS server that it means to ask.
struct Captured {
    client: Pod,
    outside: Outside,
    resolv_conf: String,
    mesh: Mesh,
}

impl Captured {
    fn new() -> Self {
        Self::with("")
    }

    /// With a file of resources.
    fn with(resources: &str) -> Self {
        let mesh = Mesh::new();
        let outside = mesh.outside();
        let text = format!(
            "nameserver {}\n\
             search default.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5\n",
            World::NAME_SERVER
        );
        let resolv_conf = mesh.file("resolv.conf", &text);
        mesh.write("entries.yaml", resources);
        let names = SocketAddr::from((World::NAME_SERVER, 53));
        let client = mesh
            .pod("client-v1")
            .redirection(&["--redirect-dns", "--resolv-conf", &resolv_conf])
            .config("dns", &format!("servers = [\"{names}\"]"))
            .start();
        Self {
            client,
            outside,
            resolv_conf,
            mesh,
        }
    }

    /// What the pod's application hears when it asks its DNS server.
    fn look_up(&self, name: &str) -> (u8, Vec<Ipv4Addr>) {
        let server = (World::NAME_SERVER, 53).into();
        let heard = self.client.enter(|| look_up(server, name));
        heard.unwrap_or_else(|| panic!("no answer about {name}"))
    }

    /// Runs a program whose resolver is that of the pod.
    fn run(&self, program: &[&str]) -> e2e::Ran {
        let script = r#"mount --bind "$0" /etc/resolv.conf && exec "$@""#;
        let mut arguments = vec!["--mount", "sh", "-c", script, &self.resolv_conf];
        arguments.extend(program);
        self.client.machine().run("unshare", &arguments)
    }
}

fn serve(pod: &Pod, name: &'static str) -> Origin {
    pod.serve(9080, move |exchange| {
        exchange.reply(200, &[], name.as_bytes())?;
        Ok(After::Keep)
    })
}

#[test]
fn services_are_found_by_all_their_names() {
    let world = Captured::new();
    let address = world
        .mesh
        .service(ServiceSpec::new("reviews").port("http", 9080));
    let other = ServiceSpec::new("other")
        .namespace("elsewhere")
        .port("http", 9080);
    let elsewhere = world.mesh.service(other);
    eventually("the Services are known", || {
        world.look_up("other.elsewhere").1 == [elsewhere]
    });
    for name in [
        "reviews",
        "reviews.default",
        "reviews.default.svc",
        "reviews.default.svc.cluster.local",
        "REVIEWS.default.svc.cluster.local",
    ] {
        assert_eq!(world.look_up(name), (OK, vec![address]), "{name}");
    }
    // The short name is one of its own namespace.
    assert_eq!(world.look_up("other"), (NO_SUCH_NAME, vec![]));
    assert_eq!(
        world
            .outside
            .names
            .queries("reviews.default.svc.cluster.local"),
        0
    );
}

#[test]
fn a_headless_service_has_the_addresses_of_its_pods() {
    let world = Captured::new();
    world
        .mesh
        .headless(ServiceSpec::new("db").port("tcp", 7000));
    let pods = ["db-v1", "db-v2"].map(|name| world.mesh.pod(name).alone());
    let mut addresses = pods.each_ref().map(|pod| pod.address());
    addresses.sort();
    eventually("both pods are there", || {
        let (code, mut found) = world.look_up("db.default.svc.cluster.local");
        found.sort();
        code == OK && found == addresses
    });
}

/// What the sidecar does not know it does not answer itself.
#[test]
fn everything_else_is_asked_of_whom_it_was_asked() {
    let world = Captured::new();
    let server = World::SERVERS[0];
    world
        .outside
        .names
        .set("outside.test", &[&server.to_string()], 60);
    assert_eq!(world.look_up("outside.test"), (OK, vec![server]));
    assert_eq!(world.look_up("nowhere.test"), (NO_SUCH_NAME, vec![]));
    assert_eq!(world.outside.names.queries("nowhere.test"), 1);
    // Another DNS server than the pod's own is none of the sidecar's business.
    let own = (Ipv4Addr::LOCALHOST, 53).into();
    assert_eq!(world.client.enter(|| look_up(own, "outside.test")), None);
}

/// Entries without addresses get one each, so that bytes for the same port are told apart.
#[test]
fn entries_on_one_port_are_told_apart() {
    let tcp = "{number: 7000, name: tcp, protocol: TCP}";
    let at = |name: &str, server: Ipv4Addr| {
        let fixed = format!("resolution: STATIC\nendpoints: [{{address: {server}}}]");
        let host = format!("{name}.test");
        entry("default", &[&host], &[tcp], &fixed)
            .replace("name: allowed", &format!("name: {name}"))
    };
    let [first, second, _] = World::SERVERS;
    let world = Captured::with(&format!("{}---\n{}", at("one", first), at("two", second)));
    let machine = &world.outside.machine;
    let _one = machine.enter(|| TcpOrigin::named_at((first, 7000).into(), "one"));
    let _two = machine.enter(|| TcpOrigin::named_at((second, 7000).into(), "two"));
    let mut seen = Vec::new();
    for name in ["one", "two"] {
        let (code, addresses) = world.look_up(&format!("{name}.test"));
        assert_eq!((code, addresses.len()), (OK, 1), "{name}");
        let address = addresses[0];
        assert!(address.octets().starts_with(&[240, 240]), "{address}");
        let said = world.client.connect((address, 7000)).read_to_end();
        assert_eq!(said, name.as_bytes());
        seen.push(address);
    }
    assert_ne!(seen[0], seen[1]);
}

/// A program that knows nothing but a name: its resolver, its connection and its request are all redirected.
#[test]
fn curl_finds_a_service_by_its_name() {
    let world = Captured::new();
    world
        .mesh
        .service(ServiceSpec::new("reviews").port("http", 9080));
    let reviews = world.mesh.pod("reviews-v1").start();
    let _app = serve(&reviews, "reviews");
    let curl = |url: &str| world.run(&["curl", "--silent", "--show-error", url]);
    eventually("the Service is known", || world.look_up("reviews").0 == OK);
    for url in [
        "http://reviews:9080/",
        "http://reviews.default.svc.cluster.local:9080/",
    ] {
        let ran = curl(url);
        assert_eq!(ran.stdout, "reviews", "{url}: {ran:?}");
    }
    let ran = curl("http://nobody:9080/");
    assert_eq!(ran.code, 6, "{ran:?}");
    let found = world.run(&["getent", "ahostsv4", "reviews"]);
    assert!(found.stdout.starts_with("10.96."), "{found:?}");
}

/// The sidecar's own questions go where they should, rather than to itself.
#[test]
fn the_sidecar_asks_by_itself() {
    let http = "{number: 80, name: http, protocol: HTTP}";
    let entry = entry("default", &["outside.test"], &[http], "resolution: DNS");
    let world = Captured::with(&entry);
    let server = World::SERVERS[0];
    world
        .outside
        .names
        .set("outside.test", &[&server.to_string()], 60);
    let at = (server, 80).into();
    let _origin = world
        .outside
        .machine
        .enter(|| Origin::named_at(at, "outside"));
    eventually("the name is resolved", || {
        let ran = world.run(&["curl", "--silent", "http://outside.test/"]);
        ran.stdout == "outside"
    });
    assert!(world.outside.names.queries("outside.test") > 0);
}
