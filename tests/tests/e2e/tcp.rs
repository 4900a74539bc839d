//! Connections whose bytes are nobody's business, in clear and out of TLS.

use e2e::{
    Authority, Connection, Gateway, Setup, TcpOrigin, TlsClient, eventually, gateway_of,
    l4_virtual_service, server, service_of,
};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

/// A TCP server on port 9000, and Services on port 7000.
fn plain(services: &[(&str, &[u16])], rules: &str) -> Setup {
    with_server(server(9000, "tcp", "TCP", &["*"], ""), services, rules)
}

fn with_server(server: String, services: &[(&str, &[u16])], rules: &str) -> Setup {
    let setup = Setup::new()
        .file("gateway.yaml", gateway_of("edge", &server))
        .file("tcp.yaml", l4_virtual_service("tcp", &["*"], "tcp", rules))
        .port(9000);
    services.iter().fold(setup, |setup, (name, endpoints)| {
        let text = service_of(name, "tcp", 7000, endpoints);
        setup.file(&format!("{name}-service.yaml"), text)
    })
}

fn to(service: &str) -> String {
    format!("- route: [{{destination: {{host: {service}, port: {{number: 7000}}}}}}]\n")
}

/// Everything a server says that speaks first.
#[track_caller]
fn name_at(gateway: &Gateway) -> String {
    let bytes = Connection::open(gateway.bound(9000)).read_to_end();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn bytes_go_both_ways() {
    let origin = TcpOrigin::echo();
    let gateway = plain(&[("echo", &[origin.port()])], &to("echo")).start();
    let mut connection = Connection::open(gateway.bound(9000));
    for text in ["one", "two", "three"] {
        let back = connection.echo(text.as_bytes());
        assert_eq!(back.expect("an echo"), text.as_bytes());
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn sixty_four_mebibytes_arrive_whole() {
    const TOTAL: usize = 64 << 20;
    let origin = TcpOrigin::echo();
    let gateway = plain(&[("echo", &[origin.port()])], &to("echo")).start();
    let mut connection = Connection::open(gateway.bound(9000));
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

/// Promise 22.
#[test]
fn a_server_may_speak_first() {
    let origin = TcpOrigin::named("220 ready");
    let gateway = plain(&[("smtp", &[origin.port()])], &to("smtp")).start();
    assert_eq!(name_at(&gateway), "220 ready");
}

/// The client says that it is done and still gets its answer.
#[test]
fn a_half_closed_connection_still_carries_the_answer() {
    let origin = TcpOrigin::serving(|mut stream| {
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        write!(stream, "{} bytes", text.len())
    });
    let gateway = plain(&[("count", &[origin.port()])], &to("count")).start();
    let mut connection = Connection::open(gateway.bound(9000));
    connection.write(b"12345").expect("the bytes are sent");
    connection.finish().expect("the socket is there");
    assert_eq!(connection.read_to_end(), b"5 bytes");
    eventually("the end has arrived", || origin.open_connections() == 0);
}

/// The other way round: the server is done, and still listens.
#[test]
fn a_server_may_be_done_first() {
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let origin = TcpOrigin::serving(move |mut stream| {
        stream.write_all(b"bye")?;
        stream.shutdown(Shutdown::Write)?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let told = told.lock().map_err(|_| io::ErrorKind::Other)?;
        told.send(text).map_err(io::Error::other)
    });
    let gateway = plain(&[("done", &[origin.port()])], &to("done")).start();
    let mut connection = Connection::open(gateway.bound(9000));
    assert_eq!(connection.read_to_end(), b"bye");
    connection
        .write(b"but I am not")
        .expect("the bytes are sent");
    connection.finish().expect("the socket is there");
    let text = heard.recv_timeout(e2e::PATIENCE);
    assert_eq!(text.as_deref(), Ok("but I am not"));
}

#[test]
fn weights_share_out_connections() {
    let [one, two] = ["1", "2"].map(TcpOrigin::named);
    let rules = "\
- route:
  - {destination: {host: one, port: {number: 7000}}, weight: 90}
  - {destination: {host: two, port: {number: 7000}}, weight: 10}
";
    let gateway = plain(&[("one", &[one.port()]), ("two", &[two.port()])], rules).start();
    let names: Vec<String> = (0..1000).map(|_| name_at(&gateway)).collect();
    let second = names.iter().filter(|name| *name == "2").count();
    assert!(
        names.iter().all(|name| name == "1" || name == "2"),
        "{names:?}"
    );
    // Six standard deviations are 57 around 100.
    assert!((43..=157).contains(&second), "{second} of 1000");
}

#[test]
fn rules_match_by_addresses_and_port_and_the_first_counts() {
    let [one, two] = ["1", "2"].map(TcpOrigin::named);
    let services: [(&str, &[u16]); 2] = [("one", &[one.port()]), ("two", &[two.port()])];
    let cases = [
        ("{port: 9000}", "1"),
        ("{port: 9001}", "2"),
        ("{destinationSubnets: [127.0.0.0/8]}", "1"),
        ("{destinationSubnets: [10.0.0.0/8]}", "2"),
        ("{sourceSubnet: 127.0.0.1/32}", "1"),
        ("{sourceSubnet: 10.0.0.0/8}", "2"),
        ("{sourceSubnet: 10.0.0.0/8}, {port: 9000}", "1"),
    ];
    for (criteria, name) in cases {
        let first = to("one").replace("- route:", &format!("- match: [{criteria}]\n  route:"));
        let gateway = plain(&services, &(first + &to("two"))).start();
        assert_eq!(name_at(&gateway), name, "{criteria}");
    }
}

/// Protocols that Istio treats as bytes unless told otherwise.
#[test]
fn databases_are_bytes() {
    let origin = TcpOrigin::named("mysql");
    for protocol in ["MONGO", "MYSQL", "REDIS"] {
        let server = server(9000, "db", protocol, &["*"], "");
        let gateway = with_server(server, &[("db", &[origin.port()])], &to("db")).start();
        assert_eq!(name_at(&gateway), "mysql", "{protocol}");
    }
}

#[test]
fn tls_can_end_here_and_bytes_go_on() {
    let origin = TcpOrigin::echo();
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let cases = [
        ("SIMPLE", None),
        ("MUTUAL", Some(clients.issue(&["client.test"]))),
    ];
    for (mode, shown) in cases {
        let tls = format!("mode: {mode}, credentialName: db");
        let server = server(9000, "db", "TLS", &["db.test"], &tls);
        let certificate = authority.issue(&["db.test"]);
        let gateway = with_server(server, &[("echo", &[origin.port()])], &to("echo"))
            .certificate("db", &certificate)
            .beside_certificate("db", "ca.crt", &clients.pem())
            .start();
        let client = match &shown {
            Some(shown) => TlsClient::showing(&authority, "db.test", shown),
            None => TlsClient::new(&authority, "db.test"),
        };
        let mut connection = client.open(gateway.bound(9000)).expect("a handshake");
        assert!(connection.is_of(&certificate), "{mode}");
        let back = connection.echo(b"select 1").expect("an echo");
        assert_eq!(back, b"select 1", "{mode}");
        connection.say_goodbye().expect("the socket is there");
        assert!(connection.read_to_end().is_empty());
        let before = origin.connections();
        let nobody = TlsClient::new(&authority, "db.test").open(gateway.bound(9000));
        let echoed = nobody.and_then(|mut connection| connection.echo(b"x"));
        assert_eq!(echoed.is_ok(), mode == "SIMPLE", "{mode}: {echoed:?}");
        let reached = origin.connections() - before;
        assert_eq!(reached, usize::from(mode == "SIMPLE"), "{mode}");
    }
}

/// Promise 6.
#[test]
fn a_connection_outlives_rule_and_listener() {
    let origin = TcpOrigin::echo();
    let gateway = plain(&[("echo", &[origin.port()])], &to("echo")).start();
    let mut connection = Connection::open(gateway.bound(9000));
    let mut echo = |text: &[u8; 4]| {
        assert_eq!(connection.echo(text).expect("an echo"), text);
    };
    echo(b"one ");
    gateway.remove("tcp.yaml");
    eventually("the rule is gone", || {
        let mut new = Connection::open(gateway.bound(9000));
        let sent = new.write(b"x").and_then(|()| new.finish());
        sent.is_err() || new.read_to_end().is_empty()
    });
    echo(b"two ");
    gateway.remove("gateway.yaml");
    eventually("the listener is gone", || {
        Connection::try_open(gateway.bound(9000)).is_err()
    });
    echo(b"last");
}

#[test]
fn a_connection_on_which_nothing_moves_is_closed_in_the_end() {
    let origin = TcpOrigin::echo();
    let gateway = plain(&[("echo", &[origin.port()])], &to("echo"))
        .section("\n[limits]\ntcp-idle-timeout = \"3s\"\n")
        .start();
    let mut connection = Connection::open(gateway.bound(9000));
    let opened = Instant::now();
    // Longer than the limit, with pauses that are so much shorter that a busy machine keeps within it.
    while opened.elapsed() < Duration::from_secs(4) {
        connection.echo(b"x").expect("the connection is open");
        thread::sleep(Duration::from_millis(250));
    }
    assert!(connection.is_closed_within(e2e::PATIENCE), "still open");
    eventually("the origin sees the end", || origin.open_connections() == 0);
}

#[test]
fn istio_s_metrics_count_connections_and_bytes() {
    let origin = TcpOrigin::echo();
    let gateway = plain(&[("echo", &[origin.port()])], &to("echo")).start();
    let labels = [
        ("reporter", "source"),
        ("destination_service", "echo.default.svc.cluster.local"),
        ("request_protocol", "tcp"),
    ];
    let count = |name: &str| {
        gateway
            .metrics()
            .sum(&format!("istio_tcp_{name}_total"), &labels)
    };
    for round in 1..=3 {
        let mut connection = Connection::open(gateway.bound(9000));
        connection.echo(b"12345").expect("an echo");
        eventually("it is counted", || {
            count("connections_opened") == f64::from(round)
        });
    }
    eventually("all is counted", || count("connections_closed") == 3.0);
    assert_eq!(count("sent_bytes"), 15.0);
    assert_eq!(count("received_bytes"), 15.0);
    eventually("it is logged", || gateway.access_log().len() == 3);
    let record = &gateway.access_log()[0];
    assert_eq!(
        record["upstream_cluster"], "outbound|7000||echo.default.svc.cluster.local",
        "{record}"
    );
    assert_eq!(
        (&record["bytes_received"], &record["bytes_sent"]),
        (&5.into(), &5.into()),
        "{record}"
    );
}

/// Promise 1: also what is no request ends for a reason.
#[test]
fn nothing_to_connect_to_is_logged_with_a_reason() {
    let closed = e2e::Port::reserve();
    let gateway = plain(&[("down", &[closed.number()])], &to("down")).start();
    assert_eq!(name_at(&gateway), "");
    eventually("it is logged", || !gateway.access_log().is_empty());
    let record = &gateway.access_log()[0];
    let flags = record["response_flags"].as_str().unwrap_or_default();
    assert!(flags.contains("UF"), "{record}");
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{record}"
    );
}
