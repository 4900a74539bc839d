//! Connections that stop being HTTP.

use super::client::{Client, Message};
use super::gateway::{Gateway, Rules, retries};
use super::origin::{Act, Origin};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Promise 15: timeouts of the route do not cut a tunnel.
#[tokio::test]
async fn a_websocket_outlives_the_timeouts_of_its_route() {
    let origin = Origin::answering(Act::Echo(SWITCHING.into())).await;
    let timeout = Duration::from_millis(80);
    let rules = Rules::to_with(&[origin.address], |action| {
        action.timeout = Some(timeout);
        action.retry = retries(1, "5xx");
        action.retry.per_try_timeout = Some(timeout / 2);
    });
    let gateway = rules.start().await;
    let mut client = gateway.client().await;
    let response = client.ask(UPGRADE).await;
    assert_eq!(response.status(), 101);
    assert_eq!(response.header("upgrade").unwrap(), "websocket");
    // The subject is that this much time changes nothing.
    tokio::time::sleep(timeout + crate::http::attempt::LATEST_CUT + timeout).await;
    for text in ["hello", "again"] {
        client.send(text).await;
        assert_eq!(client.bytes(5).await, text);
    }
    drop(client);
    gateway.logs(" 101 - via_upstream ").await;
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let origin = Origin::answering(super::origin::respond(403, "", "no")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let response = gateway.ask(UPGRADE).await;
    assert_eq!((response.status(), response.body.as_str()), (403, "no"));
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_a_protocol_error() {
    let origin = Origin::answering(Act::Echo(SWITCHING.into())).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    assert_eq!(gateway.get("/").await.status(), 502);
    gateway.logs(" 502 UPE ").await;
}

/// The end of the handshake's empty body is not the end of the tunnel.
#[tokio::test]
async fn tunnels_that_are_silent_at_first_stay_open() {
    let origin = Origin::answering(Act::Echo(SWITCHING.into())).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    for _ in 0..50 {
        let mut client = gateway.client().await;
        assert_eq!(client.ask(UPGRADE).await.status(), 101);
        client.send("hello").await;
        assert_eq!(client.bytes(5).await, "hello");
    }
}

/// Longer than any piece of bytes takes on its way over loopback.
const STILL: Duration = Duration::from_millis(500);

/// Both ends of an open tunnel. `ahead`: what each sends together with its head.
async fn open(ahead: &str) -> (Gateway, Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Rules::to(&[listener.local_addr().unwrap()]).start().await;
    let mut client = gateway.client().await;
    client.send(&format!("{UPGRADE}{ahead}")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut beyond = Vec::new();
    Message::read(&mut upstream, &mut beyond, false)
        .await
        .unwrap();
    assert_eq!(beyond, b"", "bytes of the tunnel before it is open");
    upstream
        .write_all(format!("{SWITCHING}{ahead}").as_bytes())
        .await
        .unwrap();
    assert_eq!(client.response().await.status(), 101);
    (gateway, client, upstream)
}

/// Sends until nothing more is taken: every buffer on the way is full.
async fn fill(socket: &mut TcpStream) {
    let piece = [b'x'; 64 * 1024];
    while let Ok(sent) = tokio::time::timeout(STILL, socket.write(&piece)).await {
        sent.unwrap();
    }
}

async fn hear(socket: &mut TcpStream, want: &str) {
    let mut heard = vec![0; want.len()];
    tokio::time::timeout(Duration::from_secs(10), socket.read_exact(&mut heard))
        .await
        .expect("to be heard")
        .unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), want);
}

async fn hear_the_end(socket: &mut TcpStream) {
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), socket.read(&mut byte)).await;
    assert_eq!(read.expect("the end in time").unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_heard() {
    let (_gateway, mut client, mut upstream) = open("").await;
    fill(&mut upstream).await;
    client.send("hello").await;
    hear(&mut upstream, "hello").await;
}

#[tokio::test]
async fn an_upstream_that_does_not_read_is_heard() {
    let (_gateway, mut client, mut upstream) = open("").await;
    fill(&mut client.socket).await;
    upstream.write_all(b"hello").await.unwrap();
    assert_eq!(client.bytes(5).await, "hello");
}

#[tokio::test]
async fn a_client_may_send_after_the_upstream_has_ended() {
    let (gateway, mut client, mut upstream) = open("").await;
    upstream.write_all(b"bye").await.unwrap();
    upstream.shutdown().await.unwrap();
    assert_eq!(client.bytes(3).await, "bye");
    assert!(client.is_closed().await);
    client.send("more").await;
    hear(&mut upstream, "more").await;
    client.socket.shutdown().await.unwrap();
    hear_the_end(&mut upstream).await;
    gateway.logs(r#" 101 - via_upstream - "-" 4 3 "#).await;
}

#[tokio::test]
async fn an_upstream_may_send_after_the_client_has_ended() {
    let (gateway, mut client, mut upstream) = open("").await;
    client.send("bye").await;
    client.socket.shutdown().await.unwrap();
    hear(&mut upstream, "bye").await;
    hear_the_end(&mut upstream).await;
    upstream.write_all(b"more").await.unwrap();
    assert_eq!(client.bytes(4).await, "more");
    drop(upstream);
    assert!(client.is_closed().await);
    gateway.logs(r#" 101 - via_upstream - "-" 3 4 "#).await;
}

/// What comes in one piece with a head belongs to the tunnel.
#[tokio::test]
async fn bytes_sent_ahead_are_the_first_of_the_tunnel() {
    let (gateway, mut client, mut upstream) = open("ahead").await;
    assert_eq!(client.bytes(5).await, "ahead");
    hear(&mut upstream, "ahead").await;
    client.send("hello").await;
    hear(&mut upstream, "hello").await;
    drop(client);
    hear_the_end(&mut upstream).await;
    drop(upstream);
    gateway.logs(r#" 101 - via_upstream - "-" 10 5 "#).await;
}

/// A tunnel that its client breaks off has ended as well as any other.
#[tokio::test]
async fn a_client_that_is_gone_ends_the_tunnel() {
    let (gateway, client, mut upstream) = open("").await;
    // What the client never reads makes its end a reset.
    fill(&mut upstream).await;
    drop(client);
    while upstream.write(&[0; 4096]).await.is_ok() {}
    gateway.logs(r#" 101 - via_upstream - "-" 0 "#).await;
}
