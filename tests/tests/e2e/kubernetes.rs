//! Resources of an API server, which is the tests' own.

use crate::SHOP;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::{
    Authority, Certificate, Connection, Gateway, LoneAgent, Origin, Request, Setup, TlsClient,
    eventually,
};
use fake_kubernetes::{ApiServer, Stopped};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::runtime::{Builder, Runtime};

/// An API server that may be away.
struct Cluster {
    server: Option<ApiServer>,
    stopped: Option<Stopped>,
    kubeconfig: NamedTempFile,
    runtime: Runtime,
}

impl Cluster {
    fn new() -> Self {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let server = runtime.block_on(ApiServer::start());
        Self {
            kubeconfig: server.kubeconfig(),
            server: Some(server),
            stopped: None,
            runtime,
        }
    }

    fn server(&self) -> &ApiServer {
        self.server.as_ref().expect("it is not away")
    }

    fn leave(&mut self) {
        let server = self.server.take().expect("it is not away");
        self.stopped = Some(self.runtime.block_on(server.stop()));
    }

    fn return_again(&mut self) {
        let stopped = self.stopped.take().expect("it is away");
        self.server = Some(self.runtime.block_on(stopped.again()));
    }

    /// Adds an object to a namespace.
    fn put(&self, plural: &str, namespace: &str, name: &str, spec: &Value) {
        let object = json!({"metadata": {"namespace": namespace}, "spec": spec});
        self.server().put(plural, name, &object);
    }

    /// A Service on port 80, which is this origin.
    fn service(&self, namespace: &str, name: &str, origin: &Origin) {
        let spec = json!({"ports": [{"name": "http", "port": 80}]});
        self.put("services", namespace, name, &spec);
        let slice = json!({
            "metadata": {
                "namespace": namespace,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": origin.port()}],
            "endpoints": [{"addresses": ["127.0.0.1"]}],
        });
        self.server().put("endpointslices", name, &slice);
    }

    /// `[kubernetes]` of a bootstrap file.
    fn section(&self) -> String {
        format!("[kubernetes]\nkubeconfig = {:?}\n", self.kubeconfig.path())
    }

    /// Without a resource in files.
    fn setup(&self) -> Setup {
        Setup::new().section(&self.section())
    }
}

fn gateway(servers: &Value) -> Value {
    json!({"selector": {"istio": "ingressgateway"}, "servers": servers})
}

fn http() -> Value {
    json!([{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}])
}

fn https(credentials: &[(u16, &str, &str)]) -> Value {
    let servers = credentials.iter().map(|(port, host, credential)| {
        json!({
            "port": {"number": port, "name": format!("https-{credential}"), "protocol": "HTTPS"},
            "hosts": [host], "tls": {"mode": "SIMPLE", "credentialName": credential},
        })
    });
    Value::Array(servers.collect())
}

fn rules(host: &str, rule: &Value) -> Value {
    json!({"hosts": [host], "gateways": ["istio-system/edge"], "http": [rule]})
}

fn route(to: &str) -> Value {
    json!({"route": [{"destination": {"host": to}}]})
}

/// `shop.test` leads to a service, which is this origin.
fn shop(cluster: &Cluster, origin: &Origin) {
    cluster.put("gateways", "istio-system", "edge", &gateway(&http()));
    cluster.service("shop", "cart", origin);
    let rules = rules(SHOP, &route("cart"));
    cluster.put("virtualservices", "shop", "cart", &rules);
}

fn answer(cluster: &Cluster, status: u16) {
    let rules = rules(SHOP, &json!({"directResponse": {"status": status}}));
    cluster.put("virtualservices", "shop", "cart", &rules);
}

/// Promise: an API server that goes away takes nothing away, over a restart either.
#[test]
fn what_an_api_server_said_is_served_also_while_it_is_away() {
    let mut cluster = Cluster::new();
    let origin = Origin::named("cart");
    shop(&cluster, &origin);
    let mut gateway = cluster.setup().start();
    assert_eq!(gateway.get(SHOP, "/").text(), "cart");
    answer(&cluster, 418);
    gateway.wait_for(SHOP, "/", 418, "");
    let rules = rules(SHOP, &route("cart"));
    cluster.put("virtualservices", "shop", "cart", &rules);
    gateway.wait_for(SHOP, "/", 200, "cart");

    cluster.leave();
    gateway.wait_for_log(&["Service of v1 cannot be followed", "cannot be asked"]);
    assert_eq!(gateway.get(SHOP, "/").text(), "cart");
    gateway.restart();
    assert_eq!(gateway.get(SHOP, "/").text(), "cart");

    cluster.return_again();
    answer(&cluster, 204);
    gateway.wait_for(SHOP, "/", 204, "");
    eventually("nothing is wrong", || {
        let errors = [("severity", "error")];
        gateway
            .metrics()
            .sum("tidegate_config_diagnostics", &errors)
            == 0.0
    });
    cluster
        .server()
        .delete("virtualservices", Some("shop"), "cart");
    gateway.wait_for(SHOP, "/", 404, "");
}

/// Promise: a permission that lacks costs one kind, and is told.
#[test]
fn a_kind_that_must_not_be_read_leaves_the_others() {
    let cluster = Cluster::new();
    let origin = Origin::named("cart");
    shop(&cluster, &origin);
    cluster.server().refuse("destinationrules", 403);
    let gateway = cluster.setup().start();
    assert_eq!(gateway.get(SHOP, "/").text(), "cart");
    gateway.wait_for_log(&[
        "kubernetes:DestinationRule",
        "DestinationRule of networking.istio.io cannot be followed",
    ]);
    answer(&cluster, 418);
    gateway.wait_for(SHOP, "/", 418, "");
    let policy = json!({"host": "cart", "trafficPolicy": {"connectionPool": {"http": {"http1MaxPendingRequests": 7}}}});
    cluster.put("destinationrules", "shop", "cart", &policy);
    cluster.server().refuse("destinationrules", 200);
    gateway.wait_for_log(&["DestinationRule shop/cart added"]);
}

/// Clocks of others: only their order counts, of what says when it was made.
#[test]
fn times_of_another_clock_make_no_difference() {
    let cluster = Cluster::new();
    cluster.server().says_it_is("Fri, 31 Dec 1999 23:59:59 GMT");
    let origins = [Origin::named("old"), Origin::named("new")];
    cluster.put("gateways", "istio-system", "edge", &gateway(&http()));
    for (origin, (name, made)) in origins.iter().zip([
        ("zz-old", "1970-01-01T00:00:01Z"),
        ("aa-new", "2999-12-31T23:59:59Z"),
    ]) {
        cluster.service("shop", name, origin);
        let object = json!({
            "metadata": {"namespace": "shop", "creationTimestamp": made},
            "spec": rules(SHOP, &route(name)),
        });
        cluster.server().put("virtualservices", name, &object);
    }
    let gateway = cluster.setup().start();
    assert_eq!(gateway.get(SHOP, "/").text(), "old");
    cluster
        .server()
        .delete("virtualservices", Some("shop"), "zz-old");
    gateway.wait_for(SHOP, "/", 200, "new");
}

fn put_certificate(cluster: &Cluster, name: &str, certificate: &Certificate) {
    let secret = json!({
        "metadata": {"namespace": "istio-system"}, "type": "kubernetes.io/tls",
        "data": {
            "tls.crt": STANDARD.encode(&certificate.chain),
            "tls.key": STANDARD.encode(&certificate.key),
        },
    });
    cluster.server().put("secrets", name, &secret);
}

/// Handshakes for a name are made with this certificate.
fn serves(gateway: &Gateway, client: &TlsClient, port: u16, certificate: &Certificate) -> bool {
    let connection = client.open(gateway.bound(port));
    connection.is_ok_and(|connection| connection.is_of(certificate))
}

/// Promise 9: there is no moment without a certificate that is there, and no Secret is read that nobody names.
#[test]
fn secrets_are_read_that_are_named_and_before_anybody_comes() {
    let cluster = Cluster::new();
    let authority = Authority::new("shop");
    let certificates = [SHOP, SHOP, "late.test"].map(|name| authority.issue(&[name]));
    let [first, second, late] = &certificates;
    put_certificate(&cluster, "shop-cert", first);
    put_certificate(&cluster, "unnamed", first);
    let servers = https(&[(443, SHOP, "shop-cert")]);
    cluster.put("gateways", "istio-system", "edge", &gateway(&servers));
    let gateway_of = cluster.setup().port(443).port(444).start();
    let client = TlsClient::new(&authority, SHOP);
    assert!(serves(&gateway_of, &client, 443, first));

    put_certificate(&cluster, "shop-cert", second);
    eventually("the next certificate is served", || {
        serves(&gateway_of, &client, 443, second)
    });
    put_certificate(&cluster, "late-cert", late);
    let servers = https(&[(443, SHOP, "shop-cert"), (444, "late.test", "late-cert")]);
    cluster.put("gateways", "istio-system", "edge", &gateway(&servers));
    let client = TlsClient::new(&authority, "late.test");
    eventually("the new server has its certificate", || {
        // Nobody is there, or nobody fails.
        let Ok(connection) = client.open(gateway_of.bound(444)) else {
            return false;
        };
        assert!(connection.is_of(late));
        true
    });
    assert_eq!(cluster.server().asked("unnamed"), 0);
    let without_name = |asked: &fake_kubernetes::Asked| {
        asked.plural == "secrets" && !asked.query.contains_key("fieldSelector")
    };
    assert_eq!(cluster.server().asked_when(without_name), 0);
}

/// What a workload gets for `GET /` from a service.
fn get(agent: &LoneAgent, service: &str) -> Option<(u16, String)> {
    let mut connection = Connection::try_open(agent.port_of(service)).ok()?;
    let answer = connection.send(&Request::get(service, "/")).ok()?;
    Some((answer.status, answer.text()))
}

fn sidecar(cluster: &Cluster, hosts: &[&str]) {
    let spec = json!({"egress": [{"hosts": hosts}]});
    cluster.put("sidecars", "shop", "default", &spec);
}

const OWN: &str = "cart.shop:80";
const OTHER: &str = "ledger.bank:80";

/// Promise: a sidecar asks for what its workload sees, follows changes of that, and starts without an API server.
#[test]
fn a_sidecar_asks_for_what_its_workload_sees() {
    let mut cluster = Cluster::new();
    let origins = [Origin::named("cart"), Origin::named("ledger")];
    cluster.service("shop", "cart", &origins[0]);
    cluster.service("bank", "ledger", &origins[1]);
    sidecar(&cluster, &["./*"]);
    let mut agent = LoneAgent::start_for(&[OWN, OTHER], &cluster.section());
    let seen = |name: &str| Some((200, name.to_owned()));
    assert_eq!(get(&agent, OWN), seen("cart"));
    assert_ne!(get(&agent, OTHER), seen("ledger"));
    assert_eq!(cluster.server().asked("/namespaces/bank/"), 0);
    let everywhere = |asked: &fake_kubernetes::Asked| asked.namespace.is_none();
    assert_eq!(cluster.server().asked_when(everywhere), 0);

    sidecar(&cluster, &["./*", "bank/*"]);
    eventually("the other is seen", || get(&agent, OTHER) == seen("ledger"));
    assert_eq!(get(&agent, OWN), seen("cart"));
    assert_eq!(cluster.server().asked_when(everywhere), 0);

    cluster.leave();
    agent.restart();
    assert_eq!(get(&agent, OWN), seen("cart"));
    assert_eq!(get(&agent, OTHER), seen("ledger"));

    cluster.return_again();
    cluster.server().delete("sidecars", Some("shop"), "default");
    eventually("all is asked for", || {
        cluster.server().asked_when(everywhere) > 0
    });
    assert_eq!(get(&agent, OTHER), seen("ledger"));
    sidecar(&cluster, &["./*"]);
    eventually("the other is hidden", || {
        get(&agent, OTHER) != seen("ledger")
    });
    assert_eq!(get(&agent, OWN), seen("cart"));

    // Without a Sidecar it is not known at first what is to be asked for, nor to be remembered.
    cluster.server().delete("sidecars", Some("shop"), "default");
    eventually("the other is seen again", || {
        get(&agent, OTHER) == seen("ledger")
    });
    cluster.leave();
    agent.restart();
    assert_eq!(get(&agent, OWN), seen("cart"));
    assert_eq!(get(&agent, OTHER), seen("ledger"));
}
