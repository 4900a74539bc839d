//! Mutual TLS between sidecars, and who is kept out by it.

use e2e::{
    After, Authority, Certificate, Connection, GrpcOrigin, Load, Mesh, Origin, PATIENCE, Pod,
    PodSetup, Request, ServiceSpec, TcpOrigin, TlsClient, WebSocket, call_grpc_at, eventually,
    websocket_echo,
};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;

/// The ports of the Service: of requests, of bytes, and of nobody knows what.
pub(crate) const HTTP: u16 = 9080;
pub(crate) const TCP: u16 = 7000;
const UNDECLARED: u16 = 8081;
/// A port that no Service has.
const UNKNOWN: u16 = 8082;

/// Who the client is.
pub(crate) const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";

/// A client and a server with sidecars and identities, and a pod that has neither.
pub(crate) struct Secured {
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) plain: Pod,
    pub(crate) authority: Authority,
    pub(crate) mesh: Mesh,
    pub(crate) service: Ipv4Addr,
}

/// A PeerAuthentication of the whole mesh.
pub(crate) fn peers(mode: &str) -> String {
    peer_authentication("istio-system", &format!("mtls: {{mode: {mode}}}\n"))
}

fn peer_authentication(namespace: &str, spec: &str) -> String {
    let mut text = format!(
        "apiVersion: security.istio.io/v1\n\
         kind: PeerAuthentication\n\
         metadata: {{name: default, namespace: {namespace}}}\n\
         spec:\n"
    );
    for line in spec.lines() {
        text += &format!("  {line}\n");
    }
    text
}

impl Secured {
    /// With a file of resources.
    pub(crate) fn with(resources: &str) -> Self {
        Self::changed(resources, |setup| setup)
    }

    /// With another sidecar of the server.
    pub(crate) fn changed(
        resources: &str,
        change_server: impl for<'m> Fn(PodSetup<'m>) -> PodSetup<'m>,
    ) -> Self {
        let mesh = Mesh::new();
        let authority = Authority::new("mesh");
        mesh.write("policies.yaml", resources);
        let ports = ServiceSpec::new("server").port("http", HTTP);
        let service = mesh.service(ports.port("tcp", TCP).port("undeclared", UNDECLARED));
        let server = mesh.pod("server-v1").account("server").identity(&authority);
        let client = mesh.pod("client-v1").account("client").identity(&authority);
        Self {
            server: change_server(server).start(),
            client: client.start(),
            plain: mesh.pod("plain").alone(),
            authority,
            mesh,
            service,
        }
    }

    /// An application on a port of the server.
    pub(crate) fn echo(&self, port: u16) -> Origin {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        self.server.enter(|| Origin::echo_at(at))
    }

    /// A port of the server, for clients without a sidecar.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.server.address(), port).into()
    }

    /// A request from the pod without a sidecar, in clear.
    pub(crate) fn ask_in_clear(&self, port: u16) -> io::Result<u16> {
        let answer = self.plain.dial(self.at(port))?;
        status(answer)
    }

    /// A request from the pod without a sidecar, which speaks the mesh's TLS and shows this.
    pub(crate) fn ask_in_tls(&self, port: u16, shown: Option<&Certificate>) -> io::Result<u16> {
        let name = format!("outbound_.{port}_._.server.default.svc.cluster.local");
        let client = match shown {
            Some(certificate) => TlsClient::showing_anybody(&name, certificate),
            None => TlsClient::trusting_anybody(&name),
        };
        let client = client.alpn(&["istio-http/1.1", "istio"]);
        let socket = self.plain.dial(self.at(port))?.into_stream();
        status(client.shake_hands(socket)?)
    }
}

fn status<S: io::Read + io::Write>(mut connection: Connection<S>) -> io::Result<u16> {
    let answer = connection.send(&Request::get("server", "/"))?;
    Ok(answer.status)
}

#[test]
fn two_sidecars_know_each_other() {
    let world = Secured::with(&peers("STRICT"));
    let origin = world.echo(HTTP);
    let answer = world.client.get("server:9080/");
    assert_eq!(
        (answer.status, answer.header("server")),
        (200, Some("envoy"))
    );
    let request = origin.last_request();
    let told = request
        .header("x-forwarded-client-cert")
        .unwrap_or_default();
    let by = format!("By={}", world.server.spiffe_id());
    for part in [&*by, "Hash=", "Subject=", &format!("URI={CLIENT}")] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    // What a sidecar of the mesh says is believed.
    assert_eq!(request.header("x-envoy-attempt-count"), Some("1"));
    let record = world.server.agent().logged("/");
    let name = "outbound_.9080_._.server.default.svc.cluster.local";
    assert_eq!(record["requested_server_name"], name, "{record}");
}

/// What a client says about itself is not believed beside its certificate.
#[test]
fn a_client_cannot_say_who_it_is() {
    let world = Secured::with(&peers("PERMISSIVE"));
    let origin = world.echo(HTTP);
    let forged = [(
        "x-forwarded-client-cert",
        "By=a;URI=spiffe://cluster.local/ns/default/sa/admin",
    )];
    world.client.get_with("server:9080/", &forged);
    let told = origin.last_request();
    let told = told.values("x-forwarded-client-cert");
    assert!(!told.join(",").contains("sa/admin"), "{told:?}");
    let url = format!("{}:{HTTP}/", world.server.address());
    world.plain.get_with(&url, &forged);
    let told = origin.last_request();
    assert_eq!(told.header("x-forwarded-client-cert"), None, "{told:?}");
}

/// Whatever is spoken inside: requests, bytes, servers that speak first, HTTP/2, WebSockets.
#[test]
fn everything_goes_through_mutual_tls() {
    let world = Secured::with(&peers("STRICT"));
    let everywhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let at = |port| SocketAddr::from((world.service, port));
    let greeting = world
        .server
        .enter(|| TcpOrigin::named_at(everywhere(TCP), "220 ready"));
    assert_eq!(world.client.connect(at(TCP)).read_to_end(), b"220 ready");
    drop(greeting);
    let _echo = world.server.enter(|| TcpOrigin::echo_at(everywhere(TCP)));
    let mut connection = world.client.connect(at(TCP));
    let block: Vec<u8> = (0..251_u8).cycle().take(1 << 20).collect();
    for _ in 0..4 {
        // What is larger than the buffers on the way would wait for itself.
        for piece in block.chunks(16 << 10) {
            assert!(connection.echo(piece).expect("an echo") == piece);
        }
    }
    connection.finish().expect("the socket is there");
    assert!(connection.read_to_end().is_empty());
    let grpc = world
        .server
        .enter(|| GrpcOrigin::start_at(everywhere(UNDECLARED)));
    let call = || call_grpc_at(at(UNDECLARED), "server:8081", "/a.B/C", b"hello");
    let reply = world.client.enter(call);
    assert_eq!(reply.grpc_status(), Some("0"), "{reply:?}");
    drop(grpc);
    let _chat = world.server.serve(HTTP, websocket_echo);
    let mut socket = WebSocket::over(world.client.connect(at(HTTP)), "server:9080", "/room");
    assert_eq!(socket.echo("hello").expect("an echo"), "hello");
}

/// Nobody who is not of the mesh is heard on any port, whatever he shows or says.
#[test]
fn an_intruder_is_kept_out() {
    let world = Secured::with(&peers("STRICT"));
    let foreign = Authority::new("foreign");
    let ports = [HTTP, TCP, UNDECLARED, UNKNOWN];
    let origins = ports.map(|port| world.echo(port));
    let shown = [
        ("nothing", None),
        ("of another authority", Some(foreign.issue(&[CLIENT]))),
        ("expired", Some(world.authority.issue_expired(&[CLIENT]))),
        (
            "of another trust domain",
            Some(
                world
                    .authority
                    .issue(&["spiffe://evil.test/ns/default/sa/client"]),
            ),
        ),
        ("no identity", Some(world.authority.issue(&["client.test"]))),
        (
            "two identities",
            Some(
                world
                    .authority
                    .issue(&[CLIENT, "spiffe://cluster.local/ns/default/sa/admin"]),
            ),
        ),
    ];
    for port in ports {
        let clear = world.ask_in_clear(port);
        assert!(clear.is_err(), "{port}: in clear: {clear:?}");
        for (what, certificate) in &shown {
            let asked = world.ask_in_tls(port, certificate.as_ref());
            assert!(asked.is_err(), "{port}: {what}: {asked:?}");
        }
    }
    assert_eq!(origins.each_ref().map(Origin::connections), [0; 4]);
    let inside = world.authority.issue(&[CLIENT]);
    for port in ports {
        assert_eq!(
            world.ask_in_tls(port, Some(&inside)).expect("an answer"),
            200,
            "{port}"
        );
    }
}

/// A connection in clear is reset where nobody may speak in clear.
#[test]
fn strict_resets_what_is_in_clear() {
    let world = Secured::with(&peers("STRICT"));
    let _origin = world.echo(HTTP);
    let reset = world.ask_in_clear(HTTP).expect_err("no answer");
    assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset, "{reset}");
}

#[test]
fn permissive_hears_both() {
    let world = Secured::with(&peers("PERMISSIVE"));
    let origins = [HTTP, UNDECLARED, UNKNOWN].map(|port| world.echo(port));
    let inside = world.authority.issue(&[CLIENT]);
    for port in [HTTP, UNDECLARED, UNKNOWN] {
        assert_eq!(world.ask_in_clear(port).expect("an answer"), 200, "{port}");
        assert_eq!(
            world.ask_in_tls(port, Some(&inside)).expect("an answer"),
            200,
            "{port}"
        );
        assert!(world.ask_in_tls(port, None).is_err(), "{port}");
    }
    // Sidecars speak TLS with each other all the same.
    let before = origins[0].hits();
    assert_eq!(world.client.get("server:9080/").status, 200);
    assert_eq!(origins[0].hits(), before + 1);
    assert!(
        origins[0]
            .last_request()
            .header("x-forwarded-client-cert")
            .is_some()
    );
}

/// Promise 22: where either may come, a server that speaks first is heard in clear and through two sidecars.
#[test]
fn permissive_does_not_wait_for_a_client_of_bytes() {
    let world = Secured::changed(&peers("PERMISSIVE"), |setup| {
        setup.config("mesh", "protocol-detection-timeout = \"60s\"")
    });
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, TCP));
    let _origin = world
        .server
        .enter(|| TcpOrigin::named_at(everywhere, "220 ready"));
    // Of whom nothing is known nothing is expected.
    world
        .server
        .agent()
        .wait_for_log(&["Pod default/client-v1 added"]);
    assert_eq!(
        world.plain.connect(world.at(TCP)).read_to_end(),
        b"220 ready"
    );
    let service = SocketAddr::from((world.service, TCP));
    assert_eq!(world.client.connect(service).read_to_end(), b"220 ready");
}

/// Promise 22: an application is nearer to its sidecar than a client of the mesh, whose TLS is waited for, and not for ever.
#[test]
fn permissive_waits_for_the_tls_of_a_client_of_the_mesh() {
    let world = Secured::changed(&peers("PERMISSIVE"), |setup| {
        setup.config("mesh", "protocol-detection-timeout = \"2s\"")
    });
    let (told, heard) = mpsc::channel();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, TCP));
    let speak = move |mut stream: TcpStream| {
        stream.write_all(b"220 ready")?;
        stream.shutdown(Shutdown::Write)?;
        told.send(()).map_err(io::Error::other)
    };
    let _origin = world
        .server
        .enter(|| TcpOrigin::serving_at(everywhere, speak));
    let setup = world.mesh.pod("slow-v1").account("client");
    let slow = setup.label("security.istio.io/tlsMode", "istio").alone();
    world
        .server
        .agent()
        .wait_for_log(&["Pod default/slow-v1 added"]);
    let inside = world.authority.issue(&[CLIENT]);
    let client = TlsClient::showing_anybody("server", &inside).alpn(&["istio"]);
    let socket = slow.connect(world.at(TCP)).into_stream();
    heard
        .recv_timeout(PATIENCE)
        .expect("the application has spoken");
    let said = client.shake_hands(socket).map(|mut tls| tls.read_to_end());
    assert_eq!(said.expect("TLS"), b"220 ready");
    // A DestinationRule may have told it to speak in clear.
    assert_eq!(slow.connect(world.at(TCP)).read_to_end(), b"220 ready");
}

/// What a port speaks is not declared, and nothing was said for as long as anybody waits: the mesh's TLS may come all the same.
#[test]
fn permissive_takes_tls_that_begins_late() {
    let world = Secured::changed(&peers("PERMISSIVE"), |setup| {
        setup.config("mesh", "protocol-detection-timeout = \"100ms\"")
    });
    let (told, heard) = mpsc::channel();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, UNDECLARED));
    let listen = move |mut stream: TcpStream| {
        told.send(()).map_err(io::Error::other)?;
        let mut said = [0; 4];
        stream.read_exact(&mut said)?;
        stream.write_all(&said)
    };
    let _origin = world
        .server
        .enter(|| TcpOrigin::serving_at(everywhere, listen));
    let inside = world.authority.issue(&[CLIENT]);
    let client = TlsClient::showing_anybody("server", &inside).alpn(&["istio"]);
    let socket = world.plain.connect(world.at(UNDECLARED)).into_stream();
    heard
        .recv_timeout(PATIENCE)
        .expect("the application is reached");
    let mut tls = client.shake_hands(socket).expect("TLS");
    tls.write(b"late").expect("bytes are sent");
    assert_eq!(tls.read_to_end(), b"late");
}

#[test]
fn a_port_has_a_mode_of_its_own() {
    let own = "selector: {matchLabels: {app: server}}\n\
               mtls: {mode: STRICT}\n\
               portLevelMtls: {9080: {mode: PERMISSIVE}, 8081: {mode: DISABLE}}\n";
    let world = Secured::with(&peer_authentication("default", own));
    let _origins = [HTTP, TCP, UNDECLARED].map(|port| world.echo(port));
    assert_eq!(world.ask_in_clear(HTTP).expect("an answer"), 200);
    assert_eq!(world.ask_in_clear(UNDECLARED).expect("an answer"), 200);
    assert!(world.ask_in_clear(TCP).is_err());
    assert_eq!(world.client.get("server:9080/").status, 200);
}

/// A mode is changed while pods talk: those of the mesh do not notice, all others do.
#[test]
fn a_mode_is_changed_at_once() {
    let world = Secured::with(&peers("PERMISSIVE"));
    let _origin = world.echo(HTTP);
    assert_eq!(world.ask_in_clear(HTTP).expect("an answer"), 200);
    let load = Load::dialling(
        dial(&world),
        2,
        &Request::get("server:9080", "/"),
        |answer| answer.status == 200,
    );
    world.mesh.write("policies.yaml", peers("STRICT"));
    eventually("nobody is heard in clear", || {
        world.ask_in_clear(HTTP).is_err()
    });
    world.mesh.write("policies.yaml", peers("PERMISSIVE"));
    eventually("everybody is heard again", || {
        world.ask_in_clear(HTTP).is_ok()
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:?}", report.failures);
    assert!(report.served > 0);
}

/// How the client's application opens connections to the server.
pub(crate) fn dial(world: &Secured) -> impl Fn() -> io::Result<Connection> + Send + Sync + use<> {
    let machine = world.client.machine().clone();
    let service = SocketAddr::from((world.service, HTTP));
    move || machine.enter(|| Connection::open_at(service))
}

/// A sidecar without an identity speaks in clear, and is told so.
#[test]
fn a_client_without_an_identity_is_kept_out() {
    let world = Secured::with(&peers("STRICT"));
    let _origin = world.echo(HTTP);
    let nobody = world.mesh.pod("nobody-v1").start();
    let answer = nobody.get("server:9080/");
    assert_eq!(answer.status, 503, "{}", answer.text());
}

/// A pod without a sidecar is spoken to in clear.
#[test]
fn a_server_without_a_sidecar_is_reached_in_clear() {
    let world = Secured::with(&peers("STRICT"));
    world
        .mesh
        .service(ServiceSpec::new("old").port("http", HTTP));
    let old = world.mesh.pod("old-v1").alone();
    let _app = old.serve(HTTP, |exchange| {
        exchange.reply(200, &[], b"old")?;
        Ok(After::Keep)
    });
    eventually("it is known", || {
        world.client.get("old:9080/").text() == "old"
    });
}

/// A DestinationRule has the last word.
#[test]
fn a_destination_rule_turns_it_off() {
    let rule = e2e::destination_rule("server", "trafficPolicy: {tls: {mode: DISABLE}}\n");
    let world = Secured::with(&format!("{rule}---\n{}", peers("PERMISSIVE")));
    let origin = world.echo(HTTP);
    assert_eq!(world.client.get("server:9080/").status, 200);
    let told = origin.last_request();
    assert_eq!(told.header("x-forwarded-client-cert"), None, "{told:?}");
    world
        .mesh
        .write("policies.yaml", format!("{rule}---\n{}", peers("STRICT")));
    eventually("it is kept out", || {
        world.client.get("server:9080/").status == 503
    });
}
