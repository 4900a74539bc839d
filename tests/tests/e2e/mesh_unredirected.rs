//! Pods without any privilege: nothing is redirected, and applications go to their sidecar on purpose.

use crate::mesh_bookinfo::versions_of;
use e2e::{After, Mesh, Origin, Pod, Ran, ServiceSpec, TcpOrigin, eventually, seed};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

const PROXY: &str = "http://127.0.0.1:15080";

/// Two versions of the reviews, a server that speaks first, and a client whose sidecar is a proxy and has ports.
struct Unprivileged {
    client: Pod,
    _apps: [Origin; 2],
    _first: TcpOrigin,
    _pods: [Pod; 3],
    mesh: Mesh,
}

impl Unprivileged {
    fn new() -> Self {
        let mesh = Mesh::new();
        mesh.write("versions.yaml", versions_of("reviews", &["v1", "v2"]));
        mesh.write("reviews.yaml", seed("04-default-route-v1.yaml"));
        mesh.service(ServiceSpec::new("reviews").port("http", 9080));
        mesh.service(ServiceSpec::new("mail").port("tcp", 2525));
        let pods = ["reviews-v1", "reviews-v2", "mail-v1"].map(|name| mesh.pod(name).start());
        let [one, two, mail] = &pods;
        let services = r#"{ "127.0.0.1:9080" = "reviews:9080", "127.0.0.1:2525" = "mail:2525" }"#;
        let client = mesh
            .pod("client-v1")
            .without_redirection()
            .config("listen", "forward-proxy = \"127.0.0.1:15080\"")
            .config("capture", &format!("services = {services}"))
            .start();
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 2525));
        Self {
            _apps: [serve(one, "v1"), serve(two, "v2")],
            _first: mail.enter(|| TcpOrigin::named_at(at, "220 ready")),
            _pods: pods,
            client,
            mesh,
        }
    }

    /// `curl` as it is told of proxies by its environment.
    fn curl(&self, arguments: &[&str]) -> Ran {
        let variables = [
            &format!("http_proxy={PROXY}"),
            &format!("https_proxy={PROXY}"),
        ];
        let mut all: Vec<_> = variables.iter().map(|one| one.as_str()).collect();
        all.extend(["curl", "--silent", "--show-error"]);
        all.extend(arguments);
        self.client.machine().run("env", &all)
    }
}

fn serve(pod: &Pod, name: &'static str) -> Origin {
    pod.serve(9080, move |exchange| {
        exchange.reply(200, &[], name.as_bytes())?;
        Ok(After::Keep)
    })
}

/// No rule of netfilter, no capability, no route: and yet the rules hold.
#[test]
fn it_takes_no_privilege() {
    let world = Unprivileged::new();
    for list in ["iptables-save", "ip6tables-save"] {
        let rules = world.client.machine().run(list, &[]).stdout;
        assert!(
            !rules.contains("ISTIO") && !rules.contains("REDIRECT"),
            "{rules}"
        );
    }
    let agent = world.client.agent();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    for line in ["CapEff:\t0000000000000000", "Uid:\t1337\t1337\t1337\t1337"] {
        assert!(status.contains(line), "{status}");
    }
    for port in [15001, 15006, 15053] {
        let dialled = world.client.dial((Ipv4Addr::LOCALHOST, port));
        assert!(dialled.is_err(), "{port}");
    }
}

#[test]
fn programs_use_the_proxy_of_their_environment() {
    let world = Unprivileged::new();
    for url in [
        "http://reviews:9080/",
        "http://reviews.default:9080/",
        "http://reviews.default.svc.cluster.local:9080/",
    ] {
        let ran = world.curl(&[url]);
        assert_eq!(ran.stdout, "v1", "{url}: {ran:?}");
    }
    world.mesh.write("reviews.yaml", seed("07-all-v2.yaml"));
    eventually("the other rule is live", || {
        world.curl(&["http://reviews:9080/"]).stdout == "v2"
    });
    let cluster = "outbound|9080|v2|reviews.default.svc.cluster.local";
    let record = world
        .client
        .agent()
        .logged_with("upstream_cluster", cluster);
    assert_eq!(record["authority"], "reviews:9080", "{record}");
}

/// Promise 20 holds for those who ask on purpose as well.
#[test]
fn the_proxy_lets_nothing_else_out() {
    let world = Unprivileged::new();
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let refused = world.curl(&[&status[..], &["http://outside.test/"]].concat());
    assert_eq!(refused.stdout, "502", "{refused:?}");
    let refused = world.curl(&["https://outside.test/"]);
    assert_eq!(refused.code, 56, "{refused:?}");
    assert!(refused.stderr.contains("403"), "{refused:?}");
}

/// A port of loopback is a service, whatever name its clients have for it.
#[test]
fn a_port_of_loopback_is_a_service() {
    let world = Unprivileged::new();
    let asked_as = |host: &str| {
        let header = format!("Host: {host}");
        let arguments = ["--silent", "--header", &header, "http://127.0.0.1:9080/"];
        world.client.machine().run("curl", &arguments).stdout
    };
    for name in ["127.0.0.1:9080", "reviews:9080", "anything.test"] {
        assert_eq!(asked_as(name), "v1", "{name}");
    }
    let mut mail = world.client.connect((Ipv4Addr::LOCALHOST, 2525));
    assert_eq!(mail.read_to_end(), b"220 ready");
    world.mesh.write("reviews.yaml", seed("07-all-v2.yaml"));
    eventually("the other rule is live", || asked_as("reviews") == "v2");
}
