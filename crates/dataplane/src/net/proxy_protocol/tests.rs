//! Headers as load balancers send them, and as nobody should.

use super::*;
use crate::connection::Side;
use crate::net::ConnectionState;
use proptest::prelude::*;
use rules::ListenerKey;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// What a header says.
fn said(bytes: &[u8]) -> Result<Option<String>, Broken> {
    let header = parse(bytes)?;
    Ok(header.map(|header| {
        let left = bytes.len() - header.length;
        match header.addresses {
            Some(addresses) => format!("{} to {}, {left} left", addresses.peer, addresses.local),
            None => format!("own, {left} left"),
        }
    }))
}

fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, content].concat()
}

const TCP4: &[u8] = &[192, 0, 2, 1, 10, 0, 0, 1, 0xd9, 0x03, 0x01, 0xbb];

fn tcp6() -> Vec<u8> {
    let (mut peer, mut local) = ([0; 16], [0; 16]);
    (peer[15], local[15]) = (1, 2);
    [&peer[..], &local, &[0, 80, 1, 0xbb]].concat()
}

#[track_caller]
fn check(bytes: &[u8], want: &str) {
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(said(bytes), Ok(Some(want.to_owned())), "{text}");
}

#[test]
fn lines_of_version_1() {
    let cases: &[(&[u8], &str)] = &[
        (
            b"PROXY TCP4 192.0.2.1 10.0.0.1 55555 443\r\n",
            "192.0.2.1:55555 to 10.0.0.1:443, 0 left",
        ),
        (
            b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\nGET /",
            "[2001:db8::1]:1 to [::1]:65535, 5 left",
        ),
        (b"PROXY UNKNOWN\r\n", "own, 0 left"),
        (b"PROXY UNKNOWN ::1 ::1 anything else\r\n.", "own, 1 left"),
    ];
    for (bytes, want) in cases {
        check(bytes, want);
    }
}

#[test]
fn headers_of_version_2() {
    let checksum = [0x03, 0, 4, 1, 2, 3, 4];
    check(
        &binary(0x21, 0x11, TCP4),
        "192.0.2.1:55555 to 10.0.0.1:443, 0 left",
    );
    check(
        &binary(0x21, 0x11, &[TCP4, &checksum].concat()),
        "192.0.2.1:55555 to 10.0.0.1:443, 0 left",
    );
    check(
        &[&binary(0x21, 0x21, &tcp6())[..], b"GET"].concat(),
        "[::1]:80 to [::2]:443, 3 left",
    );
    // The sender's own connection, whatever it says besides.
    check(&binary(0x20, 0x11, TCP4), "own, 0 left");
    check(&binary(0x20, 0x00, b""), "own, 0 left");
    check(&binary(0x21, 0x00, b""), "own, 0 left");
    check(&binary(0x21, 0x31, &[b'/'; 216]), "own, 0 left");
}

#[test]
fn what_is_no_header_is_refused() {
    let longest = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    let huge = binary(0x21, 0x11, &vec![0; LONGEST]);
    let cases: &[(&[u8], Broken)] = &[
        (b"GET / HTTP/1.1\r\n", Broken::Missing),
        (b"\x16\x03\x01", Broken::Missing),
        (b"PROXX ", Broken::Missing),
        (b"\r\n\r\n\0\r\nQUIT\r", Broken::Missing),
        (b"PROXY\tTCP4", Broken::Missing),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n", Broken::Malformed),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n", Broken::Malformed),
        (
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            Broken::Malformed,
        ),
        (b"PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n", Broken::Malformed),
        (b"PROXY TCP4 ::1 ::1 1 2\r\n", Broken::Malformed),
        (b"PROXY TCP6 10.0.0.1 10.0.0.1 1 2\r\n", Broken::Malformed),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n", Broken::Malformed),
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n", Broken::Malformed),
        (
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            Broken::Malformed,
        ),
        (b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", Broken::Malformed),
        (b"PROXY \xff\r\n", Broken::Malformed),
        (&longest, Broken::TooLong),
        (&huge, Broken::TooLong),
        (&binary(0x11, 0x11, TCP4), Broken::Malformed),
        (&binary(0x22, 0x11, TCP4), Broken::Malformed),
        (&binary(0x21, 0x41, TCP4), Broken::Malformed),
        (&binary(0x21, 0x11, &TCP4[1..]), Broken::Malformed),
        (&binary(0x21, 0x21, TCP4), Broken::Malformed),
    ];
    for (bytes, want) in cases {
        assert_eq!(
            said(bytes),
            Err(*want),
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"PROXY TCP4 192.0.2.1 10.0.0.1 55555 443\r\n".to_vec()),
        Just(b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec()),
        Just(b"PROXY UNKNOWN\r\n".to_vec()),
        Just(binary(0x21, 0x11, TCP4)),
        Just(binary(0x21, 0x21, &tcp6())),
        Just(binary(0x20, 0x00, b"")),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(|extension| binary(
            0x21,
            0x11,
            &[TCP4, &extension].concat()
        )),
    ]
}

proptest! {
    #[test]
    fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(&bytes);
        let _ = parse(&[&SIGNATURE[..], &bytes].concat());
        let _ = parse(&[&TEXT[..], &bytes].concat());
    }

    /// Every beginning of a header waits for more, and what follows does not matter.
    #[test]
    fn a_header_may_come_in_any_pieces(header in headers(), rest in prop::collection::vec(any::<u8>(), 0..32)) {
        let whole = parse(&header).unwrap().unwrap();
        prop_assert_eq!(whole.length, header.len());
        for end in 0..header.len() {
            prop_assert_eq!(parse(&header[..end]), Ok(None));
        }
        prop_assert_eq!(parse(&[header, rest].concat()), Ok(Some(whole)));
    }
}

struct Introduced {
    client: TcpStream,
    socket: TcpStream,
    info: ConnectionInfo,
}

impl Introduced {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let client = TcpStream::connect(local).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        Self {
            client,
            socket,
            info: ConnectionInfo {
                listener: ListenerKey {
                    bind: None,
                    port: 80,
                },
                local,
                peer,
                state: Arc::new(ConnectionState::new(1, peer)),
                tls: None,
                side: Side::Gateway,
                proxied: None,
            },
        }
    }

    async fn read(&mut self) -> Result<(), Broken> {
        read_into(&mut self.info, &mut self.socket, Duration::from_secs(10)).await
    }
}

#[tokio::test]
async fn not_a_byte_after_the_header_is_taken() {
    for header in [
        b"PROXY TCP4 192.0.2.1 10.0.0.1 55555 443\r\n".to_vec(),
        binary(0x21, 0x11, &[TCP4, &[0; 3 * LOOK]].concat()),
    ] {
        let mut introduced = Introduced::new().await;
        let Introduced { client, .. } = &mut introduced;
        client.write_all(&header).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        introduced.read().await.unwrap();
        assert_eq!(introduced.info.peer, "192.0.2.1:55555".parse().unwrap());
        assert_eq!(introduced.info.local, "10.0.0.1:443".parse().unwrap());
        let mut hello = [0; 5];
        introduced.socket.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello");
    }
}

#[tokio::test]
async fn a_header_in_pieces_is_waited_for() {
    let mut introduced = Introduced::new().await;
    let mut client = introduced.client;
    let sending = tokio::spawn(async move {
        for byte in binary(0x21, 0x11, TCP4) {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client
    });
    let read = read_into(
        &mut introduced.info,
        &mut introduced.socket,
        Duration::from_secs(10),
    );
    read.await.unwrap();
    assert_eq!(introduced.info.peer.ip(), IpAddr::from([192, 0, 2, 1]));
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn a_connection_without_a_whole_header_is_of_no_use() {
    let mut cut = Introduced::new().await;
    cut.client.write_all(b"PROXY TCP4 192.").await.unwrap();
    cut.client.shutdown().await.unwrap();
    assert_eq!(cut.read().await, Err(Broken::CutOff));
    let mut check = Introduced::new().await;
    check.client.shutdown().await.unwrap();
    assert_eq!(check.read().await, Err(Broken::Unused));
    let mut draining = Introduced::new().await;
    draining.info.state.close_when_idle();
    assert_eq!(draining.read().await, Err(Broken::Unused));
}

#[tokio::test(start_paused = true)]
async fn a_slow_header_is_not_waited_for_for_ever() {
    let mut slow = Introduced::new().await;
    slow.client.write_all(b"PROXY TC").await.unwrap();
    assert_eq!(slow.read().await, Err(Broken::TooSlow));
}
