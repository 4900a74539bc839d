//! What else holds on the way out: rules and policies of the host, who the client is, and modes that refuse nothing.

use crate::egress::{
    HTTP, HTTPS, PORT, PROXY, allow, entry, get, http_server, https_server, proxy, server, tunnel,
};
use e2e::{After, Authority, Mood, Origin, SecureOrigin, World, eventually, run_gateway};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The seed's example, as it is written: the host is allowed, and has three seconds to answer.
#[test]
fn the_seed_s_host_has_three_seconds() {
    let world = World::new();
    world.names.set("httpbin.org", &["198.51.100.10"], 60);
    let origin = world.outside.enter(|| {
        Origin::bound_to(server(0, 80), |exchange| {
            if exchange.request.target() == "/delay/5" {
                std::thread::sleep(Duration::from_secs(5));
            }
            exchange.reply(200, &[], b"httpbin")?;
            Ok(After::Keep)
        })
    });
    let seed = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seed");
        fs::read_to_string(folder.join(name)).expect("the seed's file")
    };
    let gateway = proxy(&world, &seed("12-serviceentry-egress.yaml"))
        .file("timeout.yaml", seed("13-egress-timeout.yaml"))
        .start();
    assert_eq!(get(&world, "http://httpbin.org/get").text(), "httpbin");
    let late = get(&world, "http://httpbin.org/delay/5");
    assert_eq!(
        (late.status, late.text()),
        (504, "upstream request timeout".into())
    );
    let record = gateway.logged_with("reason", "route_timeout");
    assert_eq!(record["upstream_cluster"], "outbound|80||httpbin.org");
    assert_eq!(record["authority"], "httpbin.org");
    assert!(origin.hits() >= 2);
}

/// The DestinationRule begins TLS on the way out, for the host itself and for what a wildcard has.
#[test]
fn tls_begins_at_the_proxy() {
    let world = World::new();
    let (origin, authority) = https_server(&world, 0, "secure.test");
    let wild = authority.issue(&["*.wild.test"]);
    let start = || SecureOrigin::start_at(server(1, 443), "wild", &wild);
    let wild = world.outside.enter(start);
    for name in ["one.wild.test", "two.wild.test"] {
        world.names.set(name, &["198.51.100.20"], 60);
    }
    let port = "{number: 80, name: http, protocol: HTTP, targetPort: 443}";
    let rule = |name: &str, host: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: {name}, namespace: default}}\nspec:\n  host: '{host}'\n  \
             trafficPolicy:\n    tls: {{mode: SIMPLE, caCertificates: outside.pem}}\n"
        )
    };
    let wildcard = entry(
        "default",
        &["*.wild.test"],
        &[port],
        "resolution: DYNAMIC_DNS",
    )
    .replace("name: allowed", "name: wild");
    let rules = [
        entry("default", &["secure.test"], &[port], "resolution: DNS"),
        rule("secure", "secure.test"),
        format!("---\n{wildcard}"),
        rule("wild", "*.wild.test"),
    ];
    let _gateway = proxy(&world, &rules.concat())
        .beside("outside.pem", &authority.pem())
        .start();
    assert_eq!(get(&world, "http://secure.test/").text(), "secure.test");
    assert_eq!(origin.last_visit().sni.as_deref(), Some("secure.test"));
    // Both are at one address, and no connection of one serves for the other.
    for name in ["one.wild.test", "two.wild.test", "one.wild.test"] {
        assert_eq!(get(&world, &format!("http://{name}/")).text(), "wild");
        let told: Vec<_> = wild.visits().into_iter().map(|visit| visit.sni).collect();
        assert!(told.contains(&Some(name.to_owned())), "{told:?}");
    }
}

/// Who the client is stands in its certificate.
#[test]
fn clients_are_told_apart_by_their_certificates() {
    let world = World::new();
    let _origin = http_server(&world, 0, "allowed.test");
    let (servers, clients) = (Authority::new("proxy"), Authority::new("clients"));
    let private = entry(
        "team-a",
        &["allowed.test"],
        &[HTTP],
        "resolution: DNS\nexportTo: [\".\"]",
    );
    let section = "\n[forward-proxy]\ncredential = \"proxy-cert\"\n\
                   [[forward-proxy.clients]]\nnamespace = \"team-a\"\n\
                   principals = [\"spiffe://cluster.local/ns/team-a/*\"]\n\
                   [[forward-proxy.clients]]\nnamespace = \"team-b\"\n\
                   principals = [\"spiffe://cluster.local/ns/team-b/*\"]\n";
    let gateway = proxy(&world, &private)
        .section(section)
        .certificate("proxy-cert", &servers.issue(&["10.77.0.1"]))
        .beside_certificate("proxy-cert", "ca.crt", &clients.pem())
        .start();
    let root = world.file("proxy-ca.pem", &servers.pem());
    let through = format!("https://{}:{PORT}", World::EDGE);
    let status_of = |team: Option<&str>| {
        let mut words = vec!["--proxy", &through, "--proxy-cacert", &root];
        let paths = team.map(|team| {
            let of_team = clients.issue(&[&format!("spiffe://cluster.local/ns/{team}/sa/app")]);
            let chain = world.file(&format!("{team}.pem"), &of_team.chain);
            (chain, world.file(&format!("{team}.key"), &of_team.key))
        });
        if let Some((chain, key)) = &paths {
            words.extend(["--proxy-cert", chain, "--proxy-key", key]);
        }
        words.extend([
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "http://allowed.test/",
        ]);
        world.curl(&words).stdout
    };
    assert_eq!(status_of(Some("team-a")), "200");
    assert_eq!(status_of(Some("team-b")), "502");
    gateway.logged_with("reason", "not_visible");
    assert_eq!(status_of(Some("team-c")), "403");
    gateway.logged_with("reason", "unknown_client");
    assert_eq!(status_of(None), "000");
}

/// In mode `shadow` nothing is refused but addresses of machines themselves, and everything that would be is told.
#[test]
fn a_shadow_refuses_nothing_and_tells_what_it_would() {
    let world = World::new();
    let _plain = http_server(&world, 0, "unknown.test");
    let (_secure, authority) = https_server(&world, 1, "secure.test");
    world.names.set("loop.test", &["127.0.0.1"], 60);
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTP]))
        .section("\n[forward-proxy]\nmode = \"shadow\"\n")
        .start();
    assert_eq!(get(&world, "http://unknown.test/").text(), "unknown.test");
    let record = gateway.logged_with("reason", "would_refuse_not_in_registry");
    assert_eq!(record["route_name"], "allow_any");
    let root = world.file("ca.pem", &authority.pem());
    let ran = world.curl(&["--proxy", PROXY, "--cacert", &root, "https://secure.test/"]);
    assert_eq!(ran.stdout, "secure.test", "{ran:?}");
    assert_eq!(get(&world, "http://loop.test/").status, 502);
    gateway.logged_with("reason", "forbidden_address");
    let count = |mode: &str, reason: &str| {
        let labels = [("mode", mode), ("reason", reason)];
        gateway
            .metrics()
            .sum("tidegate_egress_refusals_total", &labels)
    };
    assert_eq!(count("shadow", "not_in_registry"), 3.0);
    assert_eq!(count("enforce", "forbidden_address"), 1.0);
}

/// What was learnt is proposed, and what is proposed allows it.
#[test]
fn what_is_learnt_can_be_allowed() {
    let world = World::new();
    let _plain = http_server(&world, 0, "plain.test");
    let (_secure, authority) = https_server(&world, 1, "secure.test");
    let root = world.file("ca.pem", &authority.pem());
    let through_tls = ["--proxy", PROXY, "--cacert", &root, "https://secure.test/"];
    let gateway = proxy(&world, "")
        .section("\n[forward-proxy]\nmode = \"learn\"\n")
        .start();
    assert_eq!(get(&world, "http://plain.test/").status, 200);
    assert_eq!(world.curl(&through_tls).stdout, "secure.test");
    eventually("both are learnt", || {
        gateway.admin_json("/egress")["rows"]
            .as_array()
            .map_or(0, Vec::len)
            == 2
    });
    let rows = gateway.admin_json("/egress")["rows"].clone();
    let of = |host: &str| {
        let rows = rows.as_array().expect("rows");
        rows.iter()
            .find(|row| row["host"] == host)
            .expect("its row")
            .clone()
    };
    assert_eq!(
        (&of("plain.test")["protocol"], &of("plain.test")["port"]),
        (&"http".into(), &80.into())
    );
    assert_eq!(
        (&of("secure.test")["protocol"], &of("secure.test")["port"]),
        (&"tls".into(), &443.into())
    );
    assert_eq!(of("secure.test")["clients"][0], "10.77.1.10");
    let folder = gateway.folder().to_path_buf();
    eventually("it is saved", || folder.join(".learned.json").is_file());
    let ran = run_gateway(&folder, &["egress", "propose", "--config", "gateway.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    drop(gateway);
    let _gateway = proxy(&world, &ran.stdout).start();
    assert_eq!(get(&world, "http://plain.test/").status, 200);
    assert_eq!(world.curl(&through_tls).stdout, "secure.test");
    assert_eq!(tunnel(&world, "plain.test:443").0, 403);
}

/// While no name server answers, names that were asked for before go on.
#[test]
fn an_outage_of_name_servers_keeps_known_names() {
    let world = World::new();
    let _origin = http_server(&world, 0, "one.wild.test");
    world.names.set("one.wild.test", &["198.51.100.10"], 0);
    let gateway = proxy(&world, &allow(&["*.wild.test"], &[HTTP])).start();
    assert_eq!(get(&world, "http://one.wild.test/").status, 200);
    world.names.mood(Mood::Failing);
    let before = world.names.queries("one.wild.test");
    // Its time to live is over: it is asked for again, in vain.
    eventually("the name is asked for", || {
        assert_eq!(get(&world, "http://one.wild.test/").status, 200);
        world.names.queries("one.wild.test") > before
    });
    assert_eq!(get(&world, "http://one.wild.test/").status, 200);
    let unknown = get(&world, "http://two.wild.test/");
    assert_eq!(unknown.status, 503);
    let record = gateway.logged_with("reason", "dns_failure");
    assert_eq!(record["response_flags"], "DF");
    world.names.mood(Mood::Well);
    assert_eq!(get(&world, "http://one.wild.test/").status, 200);
}

/// Tunnels that are open outlive a change of the rules that would refuse them, and the end of the process waits.
#[test]
fn open_tunnels_outlive_a_change() {
    let world = World::new();
    let (_origin, authority) = https_server(&world, 0, "allowed.test");
    let gateway = proxy(&world, &allow(&["allowed.test"], &[HTTPS])).start();
    let (status, socket) = tunnel(&world, "allowed.test:443");
    assert_eq!(status, 200);
    let client = e2e::TlsClient::new(&authority, "allowed.test");
    let mut open = client
        .shake_hands(socket.into_stream())
        .expect("a handshake");
    gateway.write("entry.yaml", allow(&["other.test"], &[HTTPS]));
    eventually("the change is in force", || {
        tunnel(&world, "allowed.test:443").0 == 403
    });
    let answer = open.send(&e2e::Request::get("allowed.test", "/"));
    assert_eq!(answer.expect("an answer").status, 200);
}
