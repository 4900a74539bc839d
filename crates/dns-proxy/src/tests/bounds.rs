//! What there may be at most.

use super::upstream::{Upstream, address};
use super::world::{Fixed, PATIENCE, World, check, query, receive};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

fn names() -> Option<Fixed> {
    Some(Fixed::new(&[("a.test", &["10.0.0.1"])]))
}

/// A nameserver that answers when it is asked to.
async fn held() -> (UdpSocket, SocketAddr) {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    (server, address)
}

#[tokio::test]
async fn more_than_may_be_asked_on_fail_at_once_and_known_names_do_not_wait() {
    let (server, at) = held().await;
    let world = World::with(names(), [at], |settings| settings.max_in_flight = 2).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let client = world.client().await;
        let asked = query("www.example.com", RecordType::A);
        client.send(&asked.to_vec().unwrap()).await.unwrap();
        let mut buffer = [0; 512];
        let (length, from) = server.recv_from(&mut buffer).await.unwrap();
        waiting.push((client, buffer[..length].to_vec(), from));
    }
    let refused = world.ask("www.example.com", RecordType::A).await;
    check(&refused, ResponseCode::ServFail, &[]);
    let over_tcp = world.tcp(&query("www.example.com", RecordType::A)).await;
    check(&over_tcp, ResponseCode::ServFail, &[]);
    assert_eq!(world.stats().overflowed, 2);
    let known = world.ask("a.test", RecordType::A).await;
    check(&known, ResponseCode::NoError, &["a.test. 30 10.0.0.1"]);
    for (client, query, from) in waiting {
        server
            .send_to(&address(&query, [192, 0, 2, 53]), from)
            .await
            .unwrap();
        let answer = Message::from_vec(&receive(&client).await).unwrap();
        check(
            &answer,
            ResponseCode::NoError,
            &["www.example.com. 77 192.0.2.53"],
        );
    }
}

#[tokio::test]
async fn places_are_free_again_when_nobody_answered() {
    let (_server, at) = held().await;
    let world = World::with(names(), [at], |settings| {
        settings.max_in_flight = 1;
        settings.patience = Duration::from_millis(20);
    });
    let world = world.await;
    for _ in 0..3 {
        let failed = world.ask("www.example.com", RecordType::A).await;
        check(&failed, ResponseCode::ServFail, &[]);
    }
    let stats = world.stats();
    assert_eq!((stats.failed, stats.overflowed), (3, 0));
}

/// Whether the server closes a connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
    matches!(read, Ok(0) | Err(_))
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed() {
    let world = World::with(names(), [], |settings| settings.max_connections = 1).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    let packet = query("a.test", RecordType::A).to_vec().unwrap();
    crate::tcp::write_message(&mut first, &packet)
        .await
        .unwrap();
    crate::tcp::read_message(&mut first, 512).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    assert!(is_closed(&mut second).await);
    assert_eq!(world.stats().refused_connections, 1);
    // The first one is as it was.
    crate::tcp::write_message(&mut first, &packet)
        .await
        .unwrap();
    crate::tcp::read_message(&mut first, 512).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_too_little_is_closed() {
    let world = World::with(names(), [], |settings| {
        settings.idle_timeout = Duration::from_millis(30);
    });
    let world = world.await;
    for beginning in [&b""[..], b"\0", b"\0\x20half of a query"] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        assert!(is_closed(&mut stream).await, "{beginning:?}");
    }
}

#[tokio::test]
async fn a_connection_that_announces_what_no_query_is_is_closed() {
    let world = World::with(names(), [], |_| {}).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(&4097u16.to_be_bytes()).await.unwrap();
    assert!(is_closed(&mut stream).await);
    assert_eq!(world.stats().malformed, 1);
}

#[tokio::test]
async fn a_client_that_goes_takes_nothing_with_it() {
    let upstream = Upstream::knowing_all().await;
    let world = World::start(&[("a.test", &["10.0.0.1"])], &upstream).await;
    for _ in 0..50 {
        let client = world.client().await;
        let asked = query("www.example.com", RecordType::A);
        client.send(&asked.to_vec().unwrap()).await.unwrap();
        drop(client);
        drop(TcpStream::connect(world.address).await.unwrap());
    }
    let known = world.ask("a.test", RecordType::A).await;
    check(&known, ResponseCode::NoError, &["a.test. 30 10.0.0.1"]);
}
