//! What arrives on a TLS port and is no ClientHello, or never becomes one.

use crate::{SHOP, secure_shop};
use e2e::{Authority, Connection, Gateway, Origin, Request, TlsClient, eventually};
use std::time::Duration;

/// Longer than any handshake may take.
const TOO_LONG: Duration = Duration::from_secs(30);

/// A gateway that is attacked, and a client that is not hurt by it.
struct Stage {
    origin: Origin,
    client: TlsClient,
    gateway: Gateway,
}

impl Stage {
    fn new() -> Self {
        let authority = Authority::new("ca");
        let origin = Origin::named("shop");
        let gateway = secure_shop(&authority, &[origin.port()]);
        let server = e2e::server(80, "http", "HTTP", &["*"], "")
            + &e2e::https_server("https", &[SHOP], "mode: SIMPLE, credentialName: shop-cert");
        let gateway = gateway
            .file("gateway.yaml", e2e::gateway_of("edge", &server))
            .start();
        let client = TlsClient::new(&authority, SHOP);
        Self {
            origin,
            client,
            gateway,
        }
    }

    #[track_caller]
    fn still_serves(&self) {
        let connection = self.client.open(self.gateway.https());
        let mut connection = connection.expect("a handshake");
        let response = connection.send(&Request::get(SHOP, "/"));
        assert_eq!(response.expect("an answer").text(), "shop");
    }

    /// Handshakes that are counted as failed, for this reason if one is named (promise 19).
    fn failures(&self, reason: &[(&str, &str)]) -> f64 {
        let metrics = self.gateway.metrics();
        metrics.sum("tidegate_tls_handshake_failures_total", reason)
    }

    /// Sends bytes and nothing more, without saying so: the gateway has to end it.
    #[track_caller]
    fn is_cut(&self, what: &str, bytes: &[u8]) {
        let mut connection = Connection::open(self.gateway.https());
        // It may be cut in the middle.
        let _ = connection.write(bytes);
        let answer = read_until_cut(&mut connection, what);
        assert!(
            !answer.windows(4).any(|four| four == b"shop"),
            "{what}: {answer:?}"
        );
    }
}

/// At most an alert comes, then the end.
#[track_caller]
fn read_until_cut(connection: &mut Connection, what: &str) -> Vec<u8> {
    use std::io::Read as _;
    let stream = connection.stream_mut();
    stream.set_read_timeout(Some(TOO_LONG)).expect("a limit");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return bytes,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{what}: still open after {TOO_LONG:?}")
            }
            Err(_) => return bytes,
        }
    }
}

/// A record of the handshake protocol.
fn record(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a record's length");
    let mut bytes = vec![0x16, 0x03, 0x01];
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn what_is_no_hello_is_cut() {
    let stage = Stage::new();
    let hello = stage.client.hello();
    let garbage: Vec<u8> = (0..8192_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 17) as u8)
        .collect();
    let mut twisted = hello.clone();
    // Inside the list of extensions.
    let at = twisted.len() - 20;
    twisted[at..].fill(0xff);
    let cases: [(&str, &[u8]); 8] = [
        ("garbage", &garbage),
        ("zeros", &[0; 4096]),
        (
            "another handshake message first",
            &record(&[0x02, 0, 0, 4, 3, 3, 0, 0]),
        ),
        ("application data first", &[0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
        ("a fatal alert", &[0x15, 3, 1, 0, 2, 2, 40]),
        (
            "an SSLv2 hello",
            &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80],
        ),
        ("an empty record", &record(&[])),
        ("nonsense in the extensions", &twisted),
    ];
    for (number, (what, bytes)) in cases.into_iter().enumerate() {
        stage.is_cut(what, bytes);
        stage.still_serves();
        assert_eq!(
            stage.failures(&[]),
            number as f64 + 1.0,
            "{what} is not counted"
        );
    }
}

#[test]
fn an_oversized_hello_is_cut() {
    let stage = Stage::new();
    // A message of 16 MiB is announced, and a megabyte of it comes in whole records.
    let mut endless = record(&[0x01, 0xff, 0xff, 0xff]);
    for _ in 0..64 {
        endless.extend(record(&[0; 16 * 1024]));
    }
    stage.is_cut("an endless hello", &endless);
    let mut oversized = vec![0x16, 0x03, 0x01, 0xff, 0xff];
    oversized.resize(70_000, 0x01);
    stage.is_cut("an oversized record", &oversized);
    stage.still_serves();
}

#[test]
fn a_truncated_hello_is_given_up() {
    let stage = Stage::new();
    let hello = stage.client.hello();
    for length in [0, 1, 4, 5, 6, 40, hello.len() - 1] {
        let mut connection = Connection::open(stage.gateway.https());
        connection
            .write(&hello[..length])
            .expect("the bytes are sent");
        connection.finish().expect("the socket is there");
        read_until_cut(&mut connection, &format!("{length} bytes"));
    }
    stage.still_serves();
    eventually("nothing is left open", || {
        let open = stage.gateway.metrics();
        open.sum("tidegate_downstream_connections", &[]) == 0.0
    });
}

/// Nobody waits for those who do not go on.
#[test]
fn slow_hellos_hold_up_nobody_and_are_cut_in_the_end() {
    let stage = Stage::new();
    let hello = stage.client.hello();
    let mut slow: Vec<Connection> = (0..300)
        .map(|number| {
            let mut connection = Connection::open(stage.gateway.https());
            let part = [0, 1, 7, hello.len() / 2][number % 4];
            connection
                .write(&hello[..part])
                .expect("the bytes are sent");
            connection
        })
        .collect();
    for _ in 0..20 {
        stage.still_serves();
    }
    for (number, connection) in slow.iter_mut().enumerate() {
        read_until_cut(connection, &format!("slow connection {number}"));
    }
    eventually("all of them are counted", || {
        stage.failures(&[("reason", "timeout")]) == 300.0
    });
}

/// A slow network is no attack.
#[test]
fn a_hello_byte_by_byte_is_answered() {
    let stage = Stage::new();
    let mut connection = Connection::open(stage.gateway.https());
    for byte in stage.client.hello() {
        connection.write(&[byte]).expect("a byte is sent");
    }
    let mut answer = [0; 6];
    connection.read_exact(&mut answer).expect("an answer");
    // A ServerHello in a handshake record.
    assert_eq!((answer[0], answer[5]), (0x16, 0x02), "{answer:?}");
}

#[test]
fn plain_http_on_the_https_port_gets_400_and_a_hint() {
    let stage = Stage::new();
    for request in [
        Request::get(SHOP, "/"),
        Request::post(SHOP, "/", "body"),
        Request::new("OPTIONS", SHOP, "*"),
    ] {
        let mut connection = Connection::open(stage.gateway.https());
        let response = connection.send(&request).expect("an answer");
        assert_eq!(response.status, 400, "{response:?}");
        let hint = response.text().to_lowercase();
        assert!(hint.contains("https"), "{hint}");
        assert!(connection.read_to_end().is_empty(), "more than one answer");
    }
    assert_eq!(stage.origin.hits(), 0);
    stage.still_serves();
}

#[test]
fn tls_on_the_http_port_is_cut() {
    let stage = Stage::new();
    let mut connection = Connection::open(stage.gateway.http());
    connection
        .write(&stage.client.hello())
        .expect("the hello is sent");
    let answer = read_until_cut(&mut connection, "TLS in clear");
    assert!(!answer.windows(4).any(|four| four == b"shop"), "{answer:?}");
    assert!(stage.client.open(stage.gateway.http()).is_err());
    assert_eq!(stage.failures(&[("reason", "tls_on_plain_port")]), 2.0);
    assert_eq!(stage.gateway.get(SHOP, "/").text(), "shop");
    assert_eq!(stage.origin.hits(), 1);
}
