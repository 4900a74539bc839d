//! Istio's egress gateway: clients of the mesh reach the outside through a Gateway of its own.
//!
//! A first gateway stands for the mesh: its clients use it as forward proxy, so that it obeys the rules of `mesh`. The
//! second one is the egress gateway. Both have the same resources, as Istio's task writes them.

use e2e::{
    Authority, Connection, Gateway, NameServer, Origin, Port, Request, Response, SecureOrigin,
    Setup, TlsClient,
};
use std::io;

const EDITION: &str = "edition.test";

/// What both gateways have: where the egress gateway is, as a Service with an endpoint for each of these ports.
fn egress_service(ports: &[(u16, u16)]) -> String {
    let mut text = "apiVersion: v1\nkind: Service\n\
                    metadata: {name: istio-egressgateway, namespace: istio-system}\nspec:\n  ports:\n"
        .to_owned();
    for (number, _) in ports {
        text += &format!("  - {{name: {}, port: {number}}}\n", named(*number));
    }
    text += "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata:\n  name: egress\n  namespace: istio-system\n  \
             labels: {kubernetes.io/service-name: istio-egressgateway}\n\
             addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]\nports:\n";
    for (number, bound) in ports {
        text += &format!("- {{name: {}, port: {bound}}}\n", named(*number));
    }
    text
}

/// As Istio's chart names its ports.
fn named(port: u16) -> &'static str {
    match port {
        80 => "http2",
        _ => "https",
    }
}

/// A name server that sends these names to loopback, and the section that asks it.
fn names(names: &[&str]) -> (NameServer, String) {
    let server = NameServer::start();
    for name in names {
        server.set(name, &["127.0.0.1"], 60);
    }
    // Everything of this test is on one machine.
    let section = format!(
        "\n[dns]\nservers = [\"{}\"]\nforbidden-networks = []\n",
        server.address()
    );
    (server, section)
}

/// The two gateways with the same resources.
struct Mesh {
    proxy: Port,
    _first: Gateway,
    egress: Gateway,
}

impl Mesh {
    fn start(dns: &str, resources: &str, dress: impl Fn(Setup) -> Setup) -> Self {
        let egress = Setup::new().port(443);
        let service = egress_service(&[(80, egress.bound(80)), (443, egress.bound(443))]);
        let proxy = Port::reserve();
        let of_both = |setup: Setup| {
            dress(
                setup
                    .section(dns)
                    .file("egress-gateway.yaml", &service)
                    .file("rules.yaml", resources),
            )
        };
        let listens = format!("\"127.0.0.1:{}\"", proxy.number());
        // The DestinationRules are of the clients' namespace, as in Istio's task.
        let first = Setup::new()
            .port(443)
            .listen("forward-proxy", &listens)
            .section("\n[forward-proxy]\nclient-namespace = \"default\"\n");
        Self {
            _first: of_both(first).start(),
            egress: of_both(egress).start(),
            proxy,
        }
    }

    /// A tunnel through the first one.
    fn tunnel(&self, target: &str) -> io::Result<Connection> {
        let mut connection = Connection::try_open(self.proxy.number())?;
        connection
            .write(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())?;
        let answer = connection.read_head()?;
        match answer.status {
            200 => Ok(connection),
            status => Err(io::Error::other(format!("{status}"))),
        }
    }

    /// A request in TLS through both.
    fn get(&self, authority: &Authority, host: &str) -> io::Result<Response> {
        let tunnel = self.tunnel(&format!("{host}:443"))?;
        let client = TlsClient::new(authority, host);
        let mut connection = client.shake_hands(tunnel.into_stream())?;
        connection.send(&Request::get(host, "/"))
    }
}

/// The rules of Istio's task for TLS that goes through.
fn through(hosts: &str, to: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\n\
         metadata: {{name: istio-egressgateway}}\nspec:\n  selector: {{istio: ingressgateway}}\n  servers:\n  \
         - port: {{number: 443, name: tls, protocol: TLS}}\n    hosts: ['{hosts}']\n    \
         tls: {{mode: PASSTHROUGH}}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: egressgateway}}\nspec:\n  \
         host: istio-egressgateway.istio-system.svc.cluster.local\n  subsets: [{{name: edition}}]\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: through}}\nspec:\n  hosts: ['{hosts}']\n  \
         gateways: [mesh, istio-egressgateway]\n  tls:\n  \
         - match: [{{gateways: [mesh], port: 443, sniHosts: ['{hosts}']}}]\n    route:\n    \
         - destination: {{host: istio-egressgateway.istio-system.svc.cluster.local, subset: edition, port: {{number: 443}}}}\n  \
         - match: [{{gateways: [istio-egressgateway], port: 443, sniHosts: ['{hosts}']}}]\n    route:\n    \
         - destination: {{host: '{to}', port: {{number: 443}}}}\n      weight: 100\n"
    )
}

fn entry(host: &str, resolution: &str, ports: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: outside}}\nspec:\n  hosts: ['{host}']\n  resolution: {resolution}\n  \
         location: MESH_EXTERNAL\n  ports: [{ports}]\n"
    )
}

/// A port of the outside that is another on this machine.
fn port(number: u16, protocol: &str, target: u16) -> String {
    let name = protocol.to_lowercase();
    format!(
        "{{number: {number}, name: {name}-{number}, protocol: {protocol}, targetPort: {target}}}"
    )
}

#[test]
fn tls_goes_through_the_egress_gateway() {
    let authority = Authority::new("outside");
    let origin = SecureOrigin::start("edition", &authority.issue(&[EDITION]));
    let (_names, dns) = names(&[EDITION]);
    let rules =
        through(EDITION, EDITION) + &entry(EDITION, "DNS", &port(443, "TLS", origin.port()));
    let mesh = Mesh::start(&dns, &rules, |setup| setup);
    let answer = mesh.get(&authority, EDITION).expect("an answer");
    assert_eq!((answer.status, answer.text()), (200, "edition".into()));
    let record = mesh.egress.logged_with("requested_server_name", EDITION);
    assert_eq!(record["upstream_cluster"], "outbound|443||edition.test");
    // What no entry allows is refused at the first, and unknown to the second.
    assert_eq!(
        mesh.tunnel("other.test:443")
            .map_err(|error| error.to_string())
            .err(),
        Some("403".into())
    );
    let client = TlsClient::new(&authority, "other.test");
    assert!(client.open(mesh.egress.https()).is_err());
}

/// Promise 20.
#[test]
fn wildcard_hosts_are_dialled_by_the_name_in_sni() {
    let authority = Authority::new("outside");
    let origin = SecureOrigin::start("wild", &authority.issue(&["*.wild.test"]));
    let (names, dns) = names(&["one.wild.test", "two.wild.test"]);
    for resolution in ["DYNAMIC_DNS", "NONE"] {
        let entry = entry("*.wild.test", resolution, &port(443, "TLS", origin.port()));
        let rules = through("*.wild.test", "*.wild.test") + &entry;
        let mesh = Mesh::start(&dns, &rules, |setup| setup);
        for name in ["one.wild.test", "two.wild.test", "ONE.wild.TEST"] {
            let answer = mesh.get(&authority, name).expect("an answer");
            assert_eq!(answer.status, 200, "{resolution} {name}");
        }
        assert!(mesh.get(&authority, "gone.wild.test").is_err());
        assert_eq!(origin.last_visit().sni.as_deref(), Some("one.wild.test"));
        mesh.egress.logged_with("reason", "dns_no_such_name");
    }
    assert!(names.queries("two.wild.test") > 0);
}

/// Istio's task for requests in clear that leave in TLS, and in the mesh's own TLS between the two gateways.
#[test]
fn requests_leave_in_tls_that_the_egress_gateway_begins() {
    let (outside, mesh_authority) = (Authority::new("outside"), Authority::new("mesh"));
    let origin = SecureOrigin::start("edition", &outside.issue(&[EDITION]));
    let (_names, dns) = names(&[EDITION]);
    let rules = "apiVersion: networking.istio.io/v1\nkind: Gateway\n\
         metadata: {name: istio-egressgateway}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n  \
         - port: {number: 443, name: https, protocol: HTTPS}\n    hosts: [edition.test]\n    \
         tls: {mode: ISTIO_MUTUAL}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {name: egressgateway}\nspec:\n  \
         host: istio-egressgateway.istio-system.svc.cluster.local\n  subsets:\n  - name: edition\n    \
         trafficPolicy:\n      portLevelSettings:\n      - port: {number: 443}\n        \
         tls: {mode: ISTIO_MUTUAL, sni: edition.test, subjectAltNames: ['spiffe://cluster.local/ns/istio-system/sa/egress']}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {name: through}\nspec:\n  hosts: [edition.test]\n  \
         gateways: [mesh, istio-egressgateway]\n  http:\n  \
         - match: [{gateways: [mesh], port: 80}]\n    route:\n    \
         - destination: {host: istio-egressgateway.istio-system.svc.cluster.local, subset: edition, port: {number: 443}}\n  \
         - match: [{gateways: [istio-egressgateway], port: 443}]\n    route:\n    \
         - destination: {host: edition.test, port: {number: 443}}\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {name: edition}\nspec:\n  host: edition.test\n  trafficPolicy:\n    portLevelSettings:\n    \
         - port: {number: 443}\n      tls: {mode: SIMPLE, sni: edition.test, caCertificates: outside.pem}\n";
    let target = origin.port();
    let ports = [port(80, "HTTP", target), port(443, "HTTPS", target)].join(", ");
    let rules = rules.to_owned() + &entry(EDITION, "DNS", &ports);
    let identity = mesh_authority.issue(&["spiffe://cluster.local/ns/istio-system/sa/egress"]);
    let mesh = Mesh::start(&dns, &rules, |setup| {
        std::fs::create_dir(setup.folder().join("identity")).expect("the folder is made");
        setup
            .tls("identity", r#""identity""#)
            .beside("identity/cert-chain.pem", &identity.chain)
            .beside("identity/key.pem", &identity.key)
            .beside("identity/root-cert.pem", &mesh_authority.pem())
            .beside("outside.pem", &outside.pem())
    });
    let mut client = Connection::open(mesh.proxy.number());
    let answer = client.send(&Request::get(EDITION, "http://edition.test/politics"));
    let answer = answer.expect("an answer");
    assert_eq!((answer.status, answer.text()), (200, "edition".into()));
    assert_eq!(origin.last_visit().sni.as_deref(), Some(EDITION));
    let record = mesh.egress.logged_with("path", "/politics");
    assert_eq!(record["upstream_cluster"], "outbound|443||edition.test");
    assert_eq!(record["requested_server_name"], EDITION);
}

/// Requests in clear to a host that only the egress gateway leads to.
#[test]
fn requests_in_clear_go_through_the_egress_gateway() {
    let origin = Origin::echo();
    let (_names, dns) = names(&[EDITION]);
    let rules = "apiVersion: networking.istio.io/v1\nkind: Gateway\n\
         metadata: {name: istio-egressgateway}\nspec:\n  selector: {istio: ingressgateway}\n  servers:\n  \
         - port: {number: 80, name: http, protocol: HTTP}\n    hosts: [edition.test]\n\
         ---\n\
         apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {name: through}\nspec:\n  hosts: [edition.test]\n  \
         gateways: [mesh, istio-egressgateway]\n  http:\n  \
         - match: [{gateways: [mesh], port: 80}]\n    timeout: 3s\n    route:\n    \
         - destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 80}}\n  \
         - match: [{gateways: [istio-egressgateway], port: 80}]\n    route:\n    \
         - destination: {host: edition.test, port: {number: 80}}\n";
    let rules = rules.to_owned() + &entry(EDITION, "NONE", &port(80, "HTTP", origin.port()));
    let mesh = Mesh::start(&dns, &rules, |setup| setup);
    let mut client = Connection::open(mesh.proxy.number());
    let answer = client.send(&Request::get(EDITION, "http://edition.test/clear"));
    assert_eq!(answer.expect("an answer").status, 200);
    assert_eq!(origin.last_request().header("host"), Some(EDITION));
    mesh.egress.logged_with("path", "/clear");
}
