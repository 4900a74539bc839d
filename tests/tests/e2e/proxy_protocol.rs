//! The PROXY protocol: a balancer before the gateway says who the client is.

use crate::{SHOP, TO_SHOP, secure_shop, shop};
use e2e::{
    Authority, Connection, Gateway, Message, Origin, Request, Setup, TcpOrigin, TlsClient,
    eventually, gateway_of, l4_virtual_service, server, service_of,
};

/// The sources that tests connect from are named, or others are.
const NAMED: &str = "\n[topology]\nproxy-protocol-from = [\"127.0.0.0/8\"]\n";
const UNNAMED: &str = "\n[topology]\nproxy-protocol-from = [\"10.0.0.0/8\"]\n";

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n";

/// Version 2: signature, command and family, length, addresses, ports, and an extension to be skipped.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x13".to_vec();
    header.extend([203, 0, 113, 7, 192, 0, 2, 1]);
    header.extend([0xdc, 0x04, 0x01, 0xbb]);
    header.extend([0x04, 0x00, 0x04, 1, 2, 3, 4]);
    header
}

/// Sends a header and a request in one go.
fn get_after(gateway: &Gateway, header: &[u8]) -> std::io::Result<e2e::Response> {
    get_path_after(gateway, header, "/")
}

fn get_path_after(gateway: &Gateway, header: &[u8], path: &str) -> std::io::Result<e2e::Response> {
    let mut connection = Connection::open(gateway.http());
    connection.write(&[header, &Request::get(SHOP, path).bytes()].concat())?;
    connection.read_response("GET")
}

fn forwarded_for(request: &Message) -> String {
    request.values("x-forwarded-for").join(",")
}

fn setup(origin: &Origin, topology: &str) -> Setup {
    shop(TO_SHOP, &[("shop", &[origin.port()])]).section(topology)
}

#[test]
fn a_named_source_says_who_the_client_is() {
    let origin = Origin::echo();
    let gateway = setup(&origin, NAMED).start();
    let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
    let cases: [(&str, &[u8], &str); 5] = [
        ("version 1", V1, "203.0.113.7"),
        ("version 2", &v2(), "203.0.113.7"),
        ("version 1 with IPv6", v6, "2001:db8::7"),
        (
            "a health check of version 1",
            b"PROXY UNKNOWN\r\n",
            "127.0.0.1",
        ),
        (
            "a health check of version 2",
            b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
            "127.0.0.1",
        ),
    ];
    for (index, (what, header, client)) in cases.into_iter().enumerate() {
        // One path for each, by which its own record is waited for.
        let path = format!("/{index}");
        let response = get_path_after(&gateway, header, &path)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(response.status, 200, "{what}");
        assert_eq!(forwarded_for(&origin.last_request()), client, "{what}");
        let record = gateway.logged(&path);
        assert_eq!(record["x_forwarded_for"], client, "{what}: {record}");
    }
}

#[test]
fn a_header_in_pieces_is_understood() {
    let origin = Origin::echo();
    let gateway = setup(&origin, NAMED).start();
    for header in [V1.to_vec(), v2()] {
        let mut connection = Connection::open(gateway.http());
        for byte in &header {
            connection.write(&[*byte]).expect("a byte is sent");
        }
        let response = connection.send(&Request::get(SHOP, "/"));
        assert_eq!(response.expect("an answer").status, 200);
        assert_eq!(forwarded_for(&origin.last_request()), "203.0.113.7");
    }
}

/// Nobody can claim to be somebody else.
#[test]
fn a_header_from_an_unnamed_source_is_refused() {
    let origin = Origin::echo();
    let gateway = setup(&origin, UNNAMED).start();
    for header in [V1.to_vec(), v2()] {
        let answer = get_after(&gateway, &header);
        assert!(
            answer
                .as_ref()
                .map_or(true, |response| response.status == 400),
            "{answer:?}"
        );
    }
    assert_eq!(origin.hits(), 0);
    assert_eq!(gateway.get(SHOP, "/").status, 200);
}

#[test]
fn a_named_source_without_a_good_header_is_cut() {
    let origin = Origin::echo();
    let gateway = setup(&origin, NAMED).start();
    let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 300]].concat();
    let cases: [(&str, &[u8]); 6] = [
        ("none", b""),
        ("no addresses", b"PROXY TCP4\r\n"),
        (
            "no such address",
            b"PROXY TCP4 203.0.113.777 192.0.2.1 1 2\r\n",
        ),
        ("a line without end", &long),
        (
            "an unknown version",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00",
        ),
        (
            "addresses cut short",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\x01\x02\x03\x04",
        ),
    ];
    for (what, header) in cases {
        let answer = get_after(&gateway, header);
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    assert_eq!(origin.hits(), 0);
    assert_eq!(get_after(&gateway, V1).expect("an answer").status, 200);
}

/// It comes before TLS.
#[test]
fn the_header_comes_before_the_client_hello() {
    let origin = Origin::echo();
    let authority = Authority::new("ca");
    let gateway = secure_shop(&authority, &[origin.port()])
        .section(NAMED)
        .start();
    let client = TlsClient::new(&authority, SHOP);
    for header in [V1.to_vec(), v2()] {
        let mut connection = client
            .open_after(gateway.https(), &header)
            .expect("a handshake");
        let response = connection.send(&Request::get(SHOP, "/"));
        assert_eq!(response.expect("an answer").status, 200);
        assert_eq!(forwarded_for(&origin.last_request()), "203.0.113.7");
    }
    assert!(client.open(gateway.https()).is_err(), "without a header");
}

#[test]
fn the_log_of_tcp_names_the_client() {
    let origin = TcpOrigin::named("hello");
    let rules = "- route: [{destination: {host: tcp, port: {number: 7000}}}]\n";
    let gateway = Setup::new()
        .file(
            "gateway.yaml",
            gateway_of("edge", &server(9000, "tcp", "TCP", &["*"], "")),
        )
        .file("tcp.yaml", l4_virtual_service("tcp", &["*"], "tcp", rules))
        .file(
            "service.yaml",
            service_of("tcp", "tcp", 7000, &[origin.port()]),
        )
        .port(9000)
        .section(NAMED)
        .start();
    let mut connection = Connection::open(gateway.bound(9000));
    connection.write(V1).expect("the header is sent");
    assert_eq!(connection.read_to_end(), b"hello");
    drop(connection);
    eventually("it is logged", || !gateway.access_log().is_empty());
    let record = &gateway.access_log()[0];
    assert_eq!(
        record["downstream_remote_address"], "203.0.113.7:56324",
        "{record}"
    );
}
