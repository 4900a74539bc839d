//! Sockets that stand for connections.

use super::super::bridge;
use super::*;

/// A bridge over TLS, and the endpoint's side of it.
async fn bridged() -> (
    pingora_core::protocols::l4::stream::Stream,
    tokio_rustls::server::TlsStream<TcpStream>,
) {
    let authority = Authority::new();
    let shown = authority.server(&["service.test"]);
    let acceptor = TlsAcceptor::from(Setup::of(&shown).config());
    let (listener, address) = listener().await;
    let dialer = dialer(address, &cluster(Some(simple())), &trusting(&authority));
    let asked = Dial {
        alpn: Alpn::Http2,
        ..dial(None)
    };
    let (io, server) = tokio::join!(dialer.connect(asked), async {
        let (socket, _) = listener.accept().await.unwrap();
        acceptor.accept(socket).await.unwrap()
    });
    (bridge(io.unwrap()).unwrap().0, server)
}

#[tokio::test]
async fn bytes_cross_a_bridge_both_ways() {
    let (mut near, mut server) = bridged().await;
    near.write_all(b"question").await.unwrap();
    near.flush().await.unwrap();
    expect(&mut server, b"question").await;
    server.write_all(b"answer").await.unwrap();
    expect(&mut near, b"answer").await;
}

#[tokio::test]
async fn the_end_of_one_side_crosses_and_the_other_goes_on() {
    let (mut near, mut server) = bridged().await;
    near.write_all(b"last").await.unwrap();
    AsyncWriteExt::shutdown(&mut near).await.unwrap();
    assert_eq!(rest(&mut server).await, b"last");
    server.write_all(b"answer").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut near).await, b"answer");
}

#[tokio::test]
async fn a_bridge_ends_with_the_server() {
    let (mut near, server) = bridged().await;
    drop(server);
    assert_eq!(rest(&mut near).await, b"");
}
