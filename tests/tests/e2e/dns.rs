//! Endpoints that are names.

use crate::{SHOP, TO_SHOP};
use e2e::{
    Gateway, Load, Mood, NameServer, Origin, Port, Request, Setup, eventually, virtual_service,
};
use std::net::IpAddr;

/// What `shop.test` is sent to.
const API: &str = "api.example.com";

/// Two addresses of loopback, told apart by what answers there.
const ONE: &str = "127.0.0.2";
const OTHER: &str = "127.0.0.3";

/// A DNS server, and an origin at each of [`ONE`] and [`OTHER`], on the same port.
struct World {
    names: NameServer,
    one: Origin,
    other: Origin,
    port: Port,
}

impl World {
    fn new() -> Self {
        let port = Port::reserve();
        let at = |address: &str| {
            let address: IpAddr = address.parse().expect("an address");
            (address, port.number()).into()
        };
        Self {
            names: NameServer::start(),
            one: Origin::named_at(at(ONE), "one"),
            other: Origin::named_at(at(OTHER), "other"),
            port,
        }
    }

    /// A gateway that sends `shop.test` to a ServiceEntry with this `spec` beside its ports.
    fn gateway(&self, host: &str, spec: &str) -> Gateway {
        self.setup(host)
            .file("entry.yaml", self.entry(host, spec))
            .start()
    }

    fn setup(&self, host: &str) -> Setup {
        let servers = format!(
            "\n[dns]\nservers = [\"{}\"]\nrefresh-min = \"50ms\"\nrefresh-max = \"1s\"\ntimeout = \"500ms\"\nforbidden-networks = []\n",
            self.names.address()
        );
        let rules = TO_SHOP.replace("{host: shop}", &format!("{{host: {host}}}"));
        Setup::new()
            .section(&servers)
            .file("gateway.yaml", e2e::gateway("edge", &["*"]))
            .file("shop.yaml", virtual_service("shop", SHOP, &rules))
    }

    fn entry(&self, host: &str, spec: &str) -> String {
        let port = self.port.number();
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: api}}\nspec:\n  \
             hosts: ['{host}']\n  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {port}}}]\n  {spec}\n"
        )
    }
}

fn body(gateway: &Gateway) -> String {
    gateway.get(SHOP, "/").text()
}

#[track_caller]
fn check_only(gateway: &Gateway, want: &str) {
    for _ in 0..8 {
        assert_eq!(body(gateway), want);
    }
}

/// The first request is answered already: nobody fails for want of an answer that is on its way.
#[test]
fn every_address_of_a_name_serves() {
    let world = World::new();
    world.names.set(API, &[ONE, OTHER], 60);
    let gateway = world.gateway(API, "resolution: DNS");
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    eventually("both addresses are used", || {
        body(&gateway);
        world.one.hits() > 0 && world.other.hits() > 0
    });
}

/// A gateway has no original destination: the name that is allowed is the one that is dialled.
#[test]
fn a_host_without_resolution_is_resolved() {
    let world = World::new();
    world.names.set(API, &[OTHER], 60);
    let gateway = world.gateway(API, "resolution: NONE");
    check_only(&gateway, "other");
}

#[test]
fn logical_dns_uses_one_address_as_long_as_it_is_there() {
    let world = World::new();
    world.names.set(API, &[ONE, OTHER], 0);
    let spec = format!("resolution: DNS_ROUND_ROBIN\n  endpoints: [{{address: {API}}}]");
    let gateway = world.gateway("shop.example.com", &spec);
    check_only(&gateway, "one");
    let asked = world.names.queries(API);
    world.names.set(API, &[OTHER, ONE], 0);
    eventually("the other order is seen", || {
        world.names.queries(API) > asked + 2
    });
    check_only(&gateway, "one");
    world.names.set(API, &[OTHER], 0);
    eventually("the other address is used", || body(&gateway) == "other");
}

#[test]
fn an_external_name_is_resolved() {
    let world = World::new();
    world.names.set(API, &[ONE], 60);
    let port = world.port.number();
    let service = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: alias}}\nspec:\n  type: ExternalName\n  \
         externalName: {API}\n  ports: [{{name: http, port: {port}}}]\n"
    );
    let gateway = world.setup("alias").file("alias.yaml", service).start();
    check_only(&gateway, "one");
}

#[test]
fn an_answer_that_has_lived_its_time_is_replaced() {
    let world = World::new();
    world.names.set(API, &[ONE], 0);
    let gateway = world.gateway(API, "resolution: DNS");
    check_only(&gateway, "one");
    world.names.set(API, &[OTHER], 0);
    eventually("traffic moves", || body(&gateway) == "other");
    check_only(&gateway, "other");
    // No route was compiled for it.
    let generation = gateway.metrics().sum("tidegate_config_generation", &[]);
    assert!((generation - 1.0).abs() < f64::EPSILON, "{generation}");
}

#[test]
fn failures_keep_the_last_answer_and_are_told() {
    let world = World::new();
    world.names.set(API, &[ONE], 0);
    let gateway = world.gateway(API, "resolution: DNS");
    check_only(&gateway, "one");
    for (mood, why) in [
        (Mood::Failing, "the server answered Server Failure"),
        (Mood::Silent, "no answer in time"),
    ] {
        world.names.mood(mood);
        gateway.wait_for_log(&["default/api", why, "its last addresses stay in use"]);
        check_only(&gateway, "one");
    }
    world.names.mood(Mood::Well);
    world.names.set(API, &[OTHER], 0);
    eventually("it is looked up again", || body(&gateway) == "other");
    let told = || gateway.admin("GET", "/diagnostics").text();
    eventually("the warning goes", || {
        !told().contains("cannot be resolved")
    });
}

/// As Envoy's strict DNS: that there is nothing is an answer.
#[test]
fn a_name_that_is_no_more_has_no_endpoints() {
    let world = World::new();
    world.names.set(API, &[ONE], 0);
    let gateway = world.gateway(API, "resolution: DNS");
    check_only(&gateway, "one");
    world.names.remove(API);
    eventually("nothing is left", || gateway.get(SHOP, "/").status == 503);
    gateway.wait_for_log(&["default/api", "there is no such name"]);
    world.names.set(API, &[ONE], 0);
    eventually("it is back", || body(&gateway) == "one");
}

#[test]
fn a_name_that_cannot_be_resolved_does_not_keep_the_gateway_from_serving() {
    let world = World::new();
    world.names.mood(Mood::Silent);
    let gateway = world.gateway(API, "resolution: DNS");
    let response = gateway.get(SHOP, "/");
    assert_eq!(
        (response.status, response.text().as_str()),
        (503, "no healthy upstream")
    );
    world.names.mood(Mood::Well);
    world.names.set(API, &[ONE], 60);
    eventually("it is resolved after all", || body(&gateway) == "one");
}

#[test]
fn names_and_answers_change_thirty_times_without_a_failed_request() {
    let world = World::new();
    world.names.set("a.example.com", &[ONE], 0);
    world.names.set("b.example.com", &[OTHER], 0);
    let spec = |name: &str| format!("resolution: DNS\n  endpoints: [{{address: {name}}}]");
    let gateway = world.gateway(API, &spec("a.example.com"));
    let load = Load::start(gateway.http(), 3, &Request::get(SHOP, "/"), |response| {
        response.status == 200 && matches!(response.text().as_str(), "one" | "other")
    });
    let moved_to = |origin: &Origin, who: &str| {
        let before = origin.hits();
        eventually(&format!("{who} is used"), || origin.hits() > before);
    };
    for _ in 0..5 {
        // The object names another host, whose addresses are not known yet.
        gateway.write("entry.yaml", world.entry(API, &spec("b.example.com")));
        moved_to(&world.other, "other");
        gateway.write("entry.yaml", world.entry(API, &spec("a.example.com")));
        moved_to(&world.one, "one");
        // The host has other addresses.
        for (addresses, origin, who) in [
            (&[OTHER][..], &world.other, "other"),
            (&[ONE], &world.one, "one"),
            (&[ONE, OTHER], &world.other, "other"),
            (&[ONE], &world.one, "one"),
        ] {
            world.names.set("a.example.com", addresses, 0);
            moved_to(origin, who);
        }
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
}

#[test]
fn what_only_reads_asks_nobody() {
    let world = World::new();
    world.names.set(API, &[ONE], 60);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bootstrap = format!(
        "[resources]\nfiles = [\"entry.yaml\", \"rules.yaml\"]\nlast-good = \"\"\n[dns]\nservers = [\"{}\"]\n",
        world.names.address()
    );
    let rules = TO_SHOP.replace("{host: shop}", &format!("{{host: {API}}}"));
    let rules = e2e::gateway("edge", &["*"]) + "---\n" + &virtual_service("shop", SHOP, &rules);
    let files = [
        ("gateway.toml", bootstrap),
        ("entry.yaml", world.entry(API, "resolution: DNS")),
        ("rules.yaml", rules),
    ];
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("the folder can be written");
    }
    let check = e2e::run_gateway(folder.path(), &["check", "--config", "gateway.toml"]);
    assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains("0 warnings"), "{}", check.stdout);
    let url = format!("http://{SHOP}/");
    let explain = ["explain", "--config", "gateway.toml", &url];
    let explained = e2e::run_gateway(folder.path(), &explain);
    assert!(
        explained
            .stdout
            .contains("the addresses of api.example.com (not resolved here)"),
        "{}{}",
        explained.stdout,
        explained.stderr
    );
    assert_eq!(world.names.queries(API), 0);
}
