//! Connections between pods whose bytes are nobody's business.

use e2e::{
    Authority, Connection, Mesh, PATIENCE, Pod, PodSetup, ServiceSpec, TcpOrigin, TlsClient,
    eventually,
};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// The port of the Service, at its pods as well.
const PORT: u16 = 7000;

/// A sidecar that would not tell within a test that nothing comes from a client.
const PATIENT: &str = "protocol-detection-timeout = \"60s\"";

/// A client and a server, each with a sidecar, and a Service between them.
struct Two {
    client: Pod,
    server: Pod,
    /// The Service at its virtual address.
    service: SocketAddr,
    mesh: Mesh,
}

impl Two {
    /// With a port of this name; nobody's first bytes are waited for in vain.
    fn on_port(name: &str) -> Self {
        Self::with(name, |setup| setup.config("mesh", PATIENT))
    }

    fn with(name: &str, change: impl for<'m> Fn(PodSetup<'m>) -> PodSetup<'m>) -> Self {
        let mesh = Mesh::new();
        let virtual_ip = mesh.service(ServiceSpec::new("server").port(name, PORT));
        let server = change(mesh.pod("server-v1")).start();
        let client = change(mesh.pod("client-v1")).start();
        Self {
            client,
            server,
            service: (virtual_ip, PORT).into(),
            mesh,
        }
    }

    /// An application of the server's that does this with each connection.
    fn serving<F>(&self, handler: F) -> TcpOrigin
    where
        F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        self.server.enter(|| TcpOrigin::serving_at(at, handler))
    }

    fn echo(&self) -> TcpOrigin {
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        self.server.enter(|| TcpOrigin::echo_at(at))
    }

    fn connect(&self) -> Connection {
        self.client.connect(self.service)
    }
}

/// An application that speaks first: says this, and ends.
fn greet(pod: &Pod, text: &'static str) -> TcpOrigin {
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    pod.enter(|| TcpOrigin::named_at(at, text))
}

#[test]
fn bytes_go_both_ways() {
    let two = Two::on_port("tcp");
    let origin = two.echo();
    let mut connection = two.connect();
    for text in ["one", "two", "three"] {
        let back = connection.echo(text.as_bytes());
        assert_eq!(back.expect("an echo"), text.as_bytes());
    }
    drop(connection);
    assert_eq!(origin.connections(), 1);
    let cluster = "outbound|7000||server.default.svc.cluster.local";
    let sent = two.client.agent().logged_with("upstream_cluster", cluster);
    assert_eq!(sent["bytes_received"], 11, "{sent}");
    let upstream = format!("{}:{PORT}", two.server.address());
    assert_eq!(sent["upstream_host"], *upstream, "{sent}");
    let received = two
        .server
        .agent()
        .logged_with("upstream_cluster", "inbound|7000||");
    assert_eq!(received["bytes_sent"], 11, "{received}");
    let peer = received["downstream_remote_address"].as_str();
    let peer = peer.unwrap_or_default().to_owned();
    assert!(
        peer.starts_with(&format!("{}:", two.client.address())),
        "{received}"
    );
}

#[test]
fn thirty_two_mebibytes_arrive_whole() {
    const TOTAL: usize = 32 << 20;
    let two = Two::on_port("tcp");
    let _origin = two.echo();
    let mut connection = two.connect();
    let mut writer = connection.stream().try_clone().expect("a second handle");
    let block: Vec<u8> = (0..251_u8).cycle().take(1 << 20).collect();
    let sent = block.clone();
    let writing = thread::spawn(move || -> io::Result<()> {
        for _ in 0..TOTAL / sent.len() {
            writer.write_all(&sent)?;
        }
        writer.shutdown(Shutdown::Write)
    });
    let mut back = vec![0; block.len()];
    for _ in 0..TOTAL / block.len() {
        connection.read_exact(&mut back).expect("an echo");
        assert!(back == block, "the bytes differ");
    }
    writing.join().expect("the thread").expect("all is sent");
    assert!(
        connection.read_to_end().is_empty(),
        "more came than was sent"
    );
}

/// Promise 22: nobody waits for a client where bytes are declared, though the client might begin with TLS.
#[test]
fn a_server_may_speak_first() {
    let two = Two::on_port("tcp-greeting");
    let _origin = greet(&two.server, "220 ready");
    assert_eq!(two.connect().read_to_end(), b"220 ready");
}

/// Promise 22: where nothing is declared, each sidecar waits for a client as long as it is told, and no longer.
#[test]
fn a_server_may_speak_first_on_a_port_that_declares_nothing() {
    let two = Two::with("greeting", |setup| {
        setup.config("mesh", "protocol-detection-timeout = \"100ms\"")
    });
    let _origin = greet(&two.server, "220 ready");
    assert_eq!(two.connect().read_to_end(), b"220 ready");
}

/// MySQL's port needs no declaration.
#[test]
fn a_port_of_a_server_first_protocol_is_known() {
    let mesh = Mesh::new();
    let service = ServiceSpec::new("server").port_to("db", 3306, 3306);
    let virtual_ip = mesh.service(service);
    let server = mesh.pod("server-v1").config("mesh", PATIENT).start();
    let client = mesh.pod("client-v1").config("mesh", PATIENT).start();
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3306));
    let _origin = server.enter(|| {
        TcpOrigin::serving_at(at, |mut stream| {
            stream.write_all(b"8.0.36")?;
            stream.shutdown(Shutdown::Write)
        })
    });
    assert_eq!(client.connect((virtual_ip, 3306)).read_to_end(), b"8.0.36");
}

/// The client says that it is done and still gets its answer.
#[test]
fn a_client_may_be_done_first() {
    let two = Two::on_port("tcp");
    let origin = two.serving(|mut stream| {
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        write!(stream, "{} bytes", text.len())
    });
    let mut connection = two.connect();
    connection.write(b"12345").expect("the bytes are sent");
    connection.finish().expect("the socket is there");
    assert_eq!(connection.read_to_end(), b"5 bytes");
    eventually("the end has arrived", || origin.open_connections() == 0);
}

/// The other way round: the server is done, and still listens.
#[test]
fn a_server_may_be_done_first() {
    let (told, heard) = mpsc::channel();
    let told = Mutex::new(told);
    let two = Two::on_port("tcp");
    let _origin = two.serving(move |mut stream| {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let told = told.lock().map_err(|_| io::ErrorKind::Other)?;
        told.send(text).map_err(io::Error::other)
    });
    let mut connection = two.connect();
    assert_eq!(connection.read_to_end(), b"bye");
    connection
        .write(b"but I am not")
        .expect("the bytes are sent");
    connection.finish().expect("the socket is there");
    assert_eq!(heard.recv_timeout(PATIENCE).as_deref(), Ok("but I am not"));
}

/// What ends a read of the other side, after it got a first byte.
fn end_of(mut stream: &TcpStream) -> io::ErrorKind {
    match stream.read(&mut [0]) {
        Ok(0) => io::ErrorKind::UnexpectedEof,
        Ok(_) => io::ErrorKind::Other,
        Err(error) => error.kind(),
    }
}

#[test]
fn a_reset_of_the_server_reaches_the_client() {
    let two = Two::on_port("tcp");
    let _origin = two.serving(|mut stream| {
        stream.write_all(b"!")?;
        stream.read_exact(&mut [0])?;
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        Ok(())
    });
    let mut connection = two.connect();
    connection.read_exact(&mut [0]).expect("a greeting");
    connection.write(b"?").expect("the bytes are sent");
    assert_eq!(end_of(connection.stream()), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_of_the_client_reaches_the_server() {
    let (told, heard) = mpsc::channel();
    let told = Mutex::new(told);
    let two = Two::on_port("tcp");
    let _origin = two.serving(move |mut stream| {
        stream.write_all(b"!")?;
        let told = told.lock().map_err(|_| io::ErrorKind::Other)?;
        told.send(end_of(&stream)).map_err(io::Error::other)
    });
    let mut connection = two.connect();
    connection.read_exact(&mut [0]).expect("a greeting");
    let socket = connection.into_stream();
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("a socket");
    drop(socket);
    let end = heard.recv_timeout(PATIENCE);
    assert_eq!(end, Ok(io::ErrorKind::ConnectionReset));
}

/// A VirtualService in `default` for the Service, with these entries of its `tcp` list.
fn tcp_rule(entries: &str) -> String {
    let mut text = "apiVersion: networking.istio.io/v1\n\
                    kind: VirtualService\n\
                    metadata: {name: server, namespace: default}\n\
                    spec:\n  hosts: [server]\n  tcp:\n"
        .to_owned();
    for line in entries.lines() {
        text += &format!("  {line}\n");
    }
    text
}

fn to(service: &str) -> String {
    tcp_rule(&format!(
        "- route: [{{destination: {{host: {service}}}}}]\n"
    ))
}

/// Promise 6: a connection stays where it is, and the next one goes where the rules say now.
#[test]
fn connections_outlive_changes() {
    let two = Two::on_port("tcp");
    two.mesh
        .service(ServiceSpec::new("other").port("tcp", PORT));
    let other = two.mesh.pod("other-v1").start();
    let _origin = two.echo();
    let _other = greet(&other, "other");
    let mut connection = two.connect();
    assert_eq!(connection.echo(b"before").expect("an echo"), b"before");

    two.mesh.write("server.yaml", to("other"));
    eventually("the rule is live", || {
        let mut next = two.connect();
        let _ = next.finish();
        next.read_to_end() == b"other"
    });
    assert_eq!(connection.echo(b"after").expect("an echo"), b"after");

    two.mesh.remove("server.yaml");
    eventually("the rule is gone", || {
        let mut next = two.connect();
        let _ = next.write(b"echo");
        let _ = next.finish();
        next.read_to_end() == b"echo"
    });
    assert_eq!(connection.echo(b"still").expect("an echo"), b"still");
}

/// A pod that goes away takes nobody's connection along, as long as it is there.
#[test]
fn connections_outlive_their_endpoints() {
    let two = Two::on_port("tcp");
    let _origin = two.echo();
    let mut connection = two.connect();
    assert_eq!(connection.echo(b"before").expect("an echo"), b"before");
    two.mesh.retire(&two.server);
    eventually("nobody is there for the next", || {
        two.connect().echo(b"next").is_err()
    });
    assert_eq!(connection.echo(b"after").expect("an echo"), b"after");
}

#[test]
fn rules_choose_by_source_and_port() {
    let two = Two::on_port("tcp");
    let name = |name| ServiceSpec::new(name).port("tcp", PORT);
    two.mesh.service(name("other"));
    let other = two.mesh.pod("other-v1").start();
    let second = two.mesh.pod("client-v2").start();
    let _origins = [greet(&two.server, "server"), greet(&other, "other")];
    two.mesh.write(
        "server.yaml",
        tcp_rule(
            "- match: [{sourceLabels: {app: client, version: v2}, port: 7000}]\n  \
               route: [{destination: {host: other}}]\n\
             - match: [{port: 7001}]\n  \
               route: [{destination: {host: other}}]\n\
             - route: [{destination: {host: server}}]\n",
        ),
    );
    eventually("the rule is live", || {
        second.connect(two.service).read_to_end() == b"other"
    });
    assert_eq!(two.connect().read_to_end(), b"server");
}

/// A Service without endpoints: flag UH.
#[test]
fn nobody_is_there() {
    let mesh = Mesh::new();
    let nobody = mesh.service(ServiceSpec::new("nobody").port("tcp", PORT));
    let client = mesh.pod("client-v1").start();
    assert!(client.connect((nobody, PORT)).read_to_end().is_empty());
    let record = client.agent().logged_with("response_flags", "UH");
    let cluster = "outbound|7000||nobody.default.svc.cluster.local";
    assert_eq!(record["upstream_cluster"], cluster, "{record}");
}

/// TLS that is the applications' own goes through, and its name chooses where to.
#[test]
fn tls_of_applications_is_routed_by_its_name() {
    let authority = Authority::new("applications");
    let two = Two::on_port("tls");
    two.mesh
        .service(ServiceSpec::new("other").port("tls", PORT));
    let other = two.mesh.pod("other-v1").start();
    let serve = |pod: &Pod, name: &'static str| {
        let certificate = authority.issue(&["server.default.svc.cluster.local", "b.server.test"]);
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        pod.enter(|| TcpOrigin::tls_named_at(at, &certificate, name))
    };
    let _origins = [serve(&two.server, "server"), serve(&other, "other")];
    two.mesh.write(
        "server.yaml",
        "apiVersion: networking.istio.io/v1\n\
         kind: VirtualService\n\
         metadata: {name: server, namespace: default}\n\
         spec:\n  \
           hosts: [server.default.svc.cluster.local]\n  \
           tls:\n  \
           - match: [{sniHosts: [server.default.svc.cluster.local]}]\n    \
             route: [{destination: {host: other}}]\n",
    );
    let ask = |name: &str| {
        let client = TlsClient::new(&authority, name);
        let socket = two.connect().into_stream();
        client.shake_hands(socket).map(|mut tls| tls.read_to_end())
    };
    eventually("the rule is live", || {
        ask("server.default.svc.cluster.local").is_ok_and(|said| said == b"other")
    });
    // What no rule is for is the service's at that address.
    assert_eq!(ask("b.server.test").expect("TLS"), b"server");
}
