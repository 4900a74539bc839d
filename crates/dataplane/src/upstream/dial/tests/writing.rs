//! When what is written leaves.

use super::*;
use std::io::ErrorKind;

/// Whether nothing has arrived. What was written to a socket of the same machine would have.
fn is_silent(socket: &TcpStream) -> bool {
    let read = socket2::SockRef::from(socket).peek(&mut [std::mem::MaybeUninit::uninit()]);
    matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[tokio::test]
async fn a_head_and_a_small_body_leave_together() {
    let (mut io, mut server) = connected(Alpn::Http1).await;
    io.write_all(b"head").await.unwrap();
    io.write_all(b"body").await.unwrap();
    assert!(is_silent(&server));
    io.flush().await.unwrap();
    let mut got = [0; 64];
    let length = server.read(&mut got).await.unwrap();
    assert_eq!(&got[..length], b"headbody");
}

#[tokio::test]
async fn what_was_gathered_leaves_when_the_reader_has_to_wait() {
    let (mut io, mut server) = connected(Alpn::Http1).await;
    io.write_all(b"question").await.unwrap();
    let mut answer = [0; 6];
    let (read, ()) = tokio::join!(io.read_exact(&mut answer), async {
        expect(&mut server, b"question").await;
        server.write_all(b"answer").await.unwrap();
    });
    read.unwrap();
    assert_eq!(&answer, b"answer");
}

#[tokio::test]
async fn what_is_not_http_1_leaves_at_once() {
    for alpn in [Alpn::None, Alpn::Http2] {
        let (mut io, mut server) = connected(alpn).await;
        io.write_all(b"bytes").await.unwrap();
        expect(&mut server, b"bytes").await;
    }
}

#[tokio::test]
async fn what_was_gathered_leaves_before_the_end() {
    let (mut io, mut server) = connected(Alpn::Http1).await;
    io.write_all(b"bytes").await.unwrap();
    pingora_core::protocols::Shutdown::shutdown(&mut io).await;
    assert_eq!(rest(&mut server).await, b"bytes");
}

#[tokio::test]
async fn a_large_body_follows_its_head_in_order() {
    let (mut io, mut server) = connected(Alpn::Http1).await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let want = [b"head", body.as_slice()].concat();
    let reading = tokio::spawn(async move { rest(&mut server).await });
    io.write_all(b"head").await.unwrap();
    for piece in body.chunks(50_000) {
        io.write_all(piece).await.unwrap();
    }
    AsyncWriteExt::shutdown(&mut io).await.unwrap();
    assert!(reading.await.unwrap() == want);
}

#[tokio::test]
async fn a_head_and_a_small_body_are_one_record_of_tls() {
    let authority = Authority::new();
    let shown = authority.server(&["service.test"]);
    let acceptor = TlsAcceptor::from(Setup::of(&shown).config());
    let (listener, address) = listener().await;
    let dialer = dialer(address, &cluster(Some(simple())), &trusting(&authority));
    let (io, stream) = tokio::join!(dialer.connect(dial(None)), async {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await.unwrap()
    });
    let (mut io, (mut socket, _)) = (io.unwrap(), stream.into_inner());
    io.write_all(&[b'h'; 200]).await.unwrap();
    io.write_all(&[b'b'; 1000]).await.unwrap();
    io.flush().await.unwrap();
    let mut record = [0; 5];
    socket.read_exact(&mut record).await.unwrap();
    let [kind, _, _, high, low] = record;
    // Application data; content, its kind and the tag.
    assert_eq!((kind, u16::from_be_bytes([high, low])), (23, 1200 + 1 + 16));
}
