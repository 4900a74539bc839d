use super::*;
use crate::connection::Side;
use rules::ListenerKey;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

async fn connected() -> (TcpStream, DownstreamIo) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let client = TcpStream::connect(local).await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let info = ConnectionInfo {
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
    };
    info.state.request_started(None);
    let limits = Limits::default();
    let io = DownstreamIo::new(
        Transport::plain(socket),
        Bytes::new(),
        Protocol::Http1,
        info,
        &limits,
    )
    .unwrap();
    (client, io)
}

/// Pingora closes by the end of writing.
#[tokio::test]
async fn a_client_that_still_sends_when_it_is_answered_is_not_reset() {
    let (mut client, mut io) = connected().await;
    client.write_all(b"unread").await.unwrap();
    io.write_all(b"answer").await.unwrap();
    AsyncWriteExt::shutdown(&mut io).await.unwrap();
    drop(io);
    client.write_all(b"more").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
}

#[tokio::test]
async fn a_tunnel_that_is_closed_does_not_reset_its_client() {
    let (mut client, mut io) = connected().await;
    io.become_tunnel();
    client.write_all(b"unread").await.unwrap();
    io.write_all(b"bye").await.unwrap();
    Shutdown::shutdown(&mut io).await;
    drop(io);
    client.write_all(b"more").await.unwrap();
    let mut bye = String::new();
    client.read_to_string(&mut bye).await.unwrap();
    assert_eq!(bye, "bye");
}
