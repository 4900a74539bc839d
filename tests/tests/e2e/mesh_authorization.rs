//! Who may do what at a workload.

use crate::mesh_tls::{Secured, peers};
use e2e::{Authority, Pod, Request, Response, ServiceSpec, TcpOrigin, TlsClient, eventually};
use std::net::{Ipv4Addr, SocketAddr};

const HTTP: u16 = 9080;
const TCP: u16 = 7000;

/// An AuthorizationPolicy in `default` for the server, with these fields of its `spec`.
fn policy(name: &str, spec: &str) -> String {
    let mut text = format!(
        "apiVersion: security.istio.io/v1\n\
         kind: AuthorizationPolicy\n\
         metadata: {{name: {name}, namespace: default}}\n\
         spec:\n  selector: {{matchLabels: {{app: server}}}}\n"
    );
    for line in spec.lines() {
        text += &format!("  {line}\n");
    }
    text
}

/// A server that is told who asks, under this policy; and a second client with another account.
fn world(policies: &str) -> (Secured, Pod) {
    let world = Secured::with(&format!("{}---\n{policies}", peers("PERMISSIVE")));
    let other = world
        .mesh
        .pod("other-v1")
        .account("other")
        .identity(&world.authority);
    let other = other.start();
    (world, other)
}

#[track_caller]
fn check_denied(answer: &Response) {
    let text = answer.text();
    assert_eq!((answer.status, &*text), (403, "RBAC: access denied"));
}

#[test]
fn a_principal_is_let_in_and_nobody_else() {
    let (world, other) = world(&policy(
        "clients",
        "rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]\n",
    ));
    let origin = world.echo(HTTP);
    assert_eq!(world.client.get("server:9080/").status, 200);
    check_denied(&other.get("server:9080/"));
    // Who shows nothing is nobody.
    let url = format!("{}:{HTTP}/", world.server.address());
    check_denied(&world.plain.get(&url));
    assert_eq!(origin.hits(), 1);
    let record = world.server.agent().logged_with(
        "response_code_details",
        "rbac_access_denied_matched_policy[none]",
    );
    assert_eq!(record["response_code"], 403, "{record}");
}

#[test]
fn what_is_denied_is_denied_first() {
    let deny =
        "action: DENY\nrules: [{to: [{operation: {methods: [DELETE], paths: [/admin*]}}]}]\n";
    let allow = "rules: [{from: [{source: {namespaces: [default]}}]}]\n";
    let (world, other) = world(&format!(
        "{}---\n{}",
        policy("deny", deny),
        policy("allow", allow)
    ));
    let _origin = world.echo(HTTP);
    for client in [&world.client, &other] {
        assert_eq!(client.get("server:9080/admin/users").status, 200);
        assert_eq!(client.get("server:9080/admin").status, 200);
    }
    let delete = |path: &str| {
        let mut connection = other.connect(other.resolve("server", HTTP));
        let request = Request::new("DELETE", "server:9080", path);
        connection.send(&request).expect("an answer")
    };
    check_denied(&delete("/admin/users"));
    // However the path is written.
    check_denied(&delete("/public/../admin/users"));
    assert_eq!(delete("/users").status, 200);
    let details = "rbac_access_denied_matched_policy[ns[default]-policy[deny]-rule[0]]";
    let record = world
        .server
        .agent()
        .logged_with("response_code_details", details);
    assert_eq!(record["method"], "DELETE", "{record}");
}

/// A header, an address, a host and a port are conditions, too.
#[test]
fn conditions_are_all_to_hold() {
    let rules = "rules:\n\
                 - to: [{operation: {hosts: [\"server:9080\"], ports: [\"9080\"]}}]\n  \
                   when:\n  \
                   - {key: \"request.headers[x-team]\", values: [a, b*]}\n  \
                   - {key: source.principal, values: [\"*\"]}\n";
    let (world, _other) = world(&policy("conditions", rules));
    let _origin = world.echo(HTTP);
    let ask = |team: &str| world.client.get_with("server:9080/", &[("x-team", team)]);
    assert_eq!(ask("a").status, 200);
    assert_eq!(ask("bees").status, 200);
    check_denied(&ask("c"));
    check_denied(&world.client.get("server:9080/"));
    // Who shows nothing meets all conditions but one.
    let request = Request::get("server:9080", "/").header("x-team", "a");
    let mut connection = world.plain.connect((world.server.address(), HTTP));
    check_denied(&connection.send(&request).expect("an answer"));
}

/// Connections of bytes are closed before the application hears of them.
#[test]
fn bytes_are_for_those_who_are_let_in() {
    let (world, other) = world(&policy(
        "bytes",
        "rules:\n\
         - from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]\n  \
           to: [{operation: {ports: [\"7000\"]}}]\n",
    ));
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, TCP));
    let origin = world
        .server
        .enter(|| TcpOrigin::named_at(everywhere, "220 ready"));
    let heard = |pod: &Pod| pod.connect(pod.resolve("server", TCP)).read_to_end();
    assert_eq!(heard(&world.client), b"220 ready");
    assert_eq!(heard(&other), b"");
    // Who says nothing might still begin with the mesh's TLS.
    let mut nobody = world.plain.connect((world.server.address(), TCP));
    nobody.write(b"hello").expect("the bytes are sent");
    assert_eq!(nobody.read_to_end(), b"");
    assert_eq!(origin.connections(), 1);
    // Once each, whatever was thought of them before they showed who they are.
    let metrics = world.server.agent().metrics();
    assert_eq!(metrics.sum("tidegate_authorization_total", &[]), 2.0);
}

#[test]
fn an_address_is_let_in() {
    let (world, other) = world("");
    let _origin = world.echo(HTTP);
    let own = world.plain.address();
    let rules = format!("rules: [{{from: [{{source: {{ipBlocks: [{own}]}}}}]}}]\n");
    world.mesh.write("address.yaml", policy("address", &rules));
    let url = format!("{}:{HTTP}/", world.server.address());
    eventually("the policy holds", || {
        other.get("server:9080/").status == 403
    });
    assert_eq!(world.plain.get(&url).status, 200);
}

/// A policy that is changed holds for the next request, on connections that are there too.
#[test]
fn a_policy_is_changed_at_once() {
    let (world, other) = world("");
    let _origin = world.echo(HTTP);
    let mut connection = other.connect(other.resolve("server", HTTP));
    let request = Request::get("server:9080", "/");
    assert_eq!(connection.send(&request).expect("an answer").status, 200);
    // Nobody is let in where a policy has no rule.
    world
        .mesh
        .write("nobody.yaml", policy("nobody", "action: ALLOW\n"));
    eventually("the policy holds", || {
        connection.send(&request).expect("an answer").status == 403
    });
    world.mesh.remove("nobody.yaml");
    eventually("the policy is gone", || {
        connection.send(&request).expect("an answer").status == 200
    });
}

/// What cannot be obeyed is not taken for leave: nobody is let in whom another authority was to be asked about.
#[test]
fn a_policy_of_another_authority_lets_nobody_in() {
    let custom = "action: CUSTOM\nprovider: {name: ext-authz}\nrules: [{to: [{operation: {paths: [/custom*]}}]}]\n";
    let (world, _other) = world(&policy("custom", custom));
    let _origin = world.echo(HTTP);
    let told = ["AuthorizationPolicy default/custom", "spec.action"];
    world.server.agent().wait_for_log(&told);
    check_denied(&world.client.get("server:9080/custom/1"));
    assert_eq!(world.client.get("server:9080/other").status, 200);
}

/// Other workloads of the namespace are none of its business.
#[test]
fn a_policy_is_of_its_workload() {
    let (world, _other) = world(&policy("nobody", "action: ALLOW\n"));
    world
        .mesh
        .service(ServiceSpec::new("free").port("http", HTTP));
    let free = world.mesh.pod("free-v1").identity(&world.authority).start();
    let _apps = [world.echo(HTTP), {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP));
        free.enter(|| e2e::Origin::echo_at(at))
    }];
    eventually("the other is known", || {
        world.client.get("free:9080/").status == 200
    });
    check_denied(&world.client.get("server:9080/"));
}

/// Whom a Sidecar's own TLS lets in is nobody in the mesh, whatever name another authority has given him.
#[test]
fn a_client_of_another_authority_is_nobody_in_the_mesh() {
    let world = Secured::changed(&peers("DISABLE"), |setup| {
        setup.config("tls", "allow-readable-keys = true")
    });
    let foreign = Authority::new("foreign");
    world
        .mesh
        .write("sidecar.yaml", sidecar_with_tls(&world, &foreign));
    let origin = world.echo(HTTP);
    let claimed = foreign.issue(&["spiffe://cluster.local/ns/default/sa/client"]);
    let connect = || {
        let client = TlsClient::showing_anybody("server", &claimed).alpn(&["http/1.1"]);
        let socket = world.plain.dial(world.at(HTTP))?.into_stream();
        client.shake_hands(socket)
    };
    eventually("its TLS ends at the sidecar", || connect().is_ok());
    let mut connection = connect().expect("TLS");
    let request = Request::get("server", "/")
        .header("x-forwarded-for", "192.0.2.7")
        .header(
            "x-forwarded-client-cert",
            "By=a;URI=spiffe://cluster.local/ns/default/sa/admin",
        )
        .header("x-envoy-attempt-count", "7");
    let mut ask = || connection.send(&request).map(|answer| answer.status);
    assert_eq!(ask().expect("an answer"), 200);
    let told = origin.last_request();
    for name in ["x-forwarded-client-cert", "x-envoy-attempt-count"] {
        assert_eq!(told.header(name), None, "{told:?}");
    }
    let rules = "rules:\n\
                 - from: [{source: {principals: [\"*\"]}}]\n\
                 - from: [{source: {remoteIpBlocks: [192.0.2.7]}}]\n";
    world.mesh.write("policy.yaml", policy("mesh", rules));
    eventually("the policy holds", || ask().expect("an answer") == 403);
    world.mesh.remove("policy.yaml");
    eventually("the policy is gone", || ask().expect("an answer") == 200);
    // Nor is a connection kept that would not be let in any more.
    world.mesh.write("policies.yaml", peers("STRICT"));
    eventually("it is not served", || !matches!(ask(), Ok(200)));
}

/// A Sidecar for the server whose port ends TLS, for clients that this authority vouches for.
fn sidecar_with_tls(world: &Secured, authority: &Authority) -> String {
    let shown = authority.issue(&["server"]);
    let file = |name: &str, content: &str| world.mesh.file(name, content);
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: Sidecar\n\
         metadata: {{name: server, namespace: default}}\n\
         spec:\n  \
           workloadSelector: {{labels: {{app: server}}}}\n  \
           ingress:\n  \
           - port: {{number: {HTTP}, protocol: HTTPS, name: https}}\n    \
             defaultEndpoint: 127.0.0.1:{HTTP}\n    \
             tls:\n      \
               mode: MUTUAL\n      \
               serverCertificate: {}\n      \
               privateKey: {}\n      \
               caCertificates: {}\n",
        file("own.crt", &shown.chain),
        file("own.key", &shown.key),
        file("clients.crt", &authority.pem()),
    )
}
