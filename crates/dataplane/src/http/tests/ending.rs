//! How the end of the process is told to clients, and what it waits for.

use super::client::get;
use super::eventually;
use super::gateway::{Gateway, Rules};
use super::http2::{self, Answer};
use super::origin::{Act, Origin, ok};
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

fn in_use(gateway: &Gateway) -> usize {
    gateway.shared.in_use.count()
}

/// Promise 21. Also behind a body whose end nobody knew before.
#[tokio::test]
async fn a_request_is_in_use_and_a_connection_that_waits_for_one_is_not() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Origin::gated(gate.clone(), ok("late")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut client = gateway.client().await;
    let chunked = "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    for request in [get("/").as_str(), chunked] {
        client.send(request).await;
        eventually("it is in use", || in_use(&gateway) == 1).await;
        gate.add_permits(1);
        assert_eq!(client.response().await.status(), 200);
        let emptied = gateway.shared.in_use.emptied();
        tokio::time::timeout(Duration::from_secs(5), emptied)
            .await
            .unwrap();
        assert_eq!(gateway.listeners.connections(), 1);
    }
}

#[tokio::test]
async fn requests_on_one_connection_are_counted_one_by_one() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Origin::gated(gate.clone(), ok("late")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let sender = http2::connect(&gateway).await;
    let ask = || http2::ask(&sender, Method::GET, "/", "");
    let both = async { tokio::join!(ask(), ask()) };
    tokio::pin!(both);
    tokio::select! {
        _ = &mut both => panic!("answered"),
        () = eventually("both are in use", || in_use(&gateway) == 2) => {}
    }
    gate.add_permits(2);
    both.await;
    eventually("none is in use", || in_use(&gateway) == 0).await;
}

/// What is upgraded goes on as long as it likes.
#[tokio::test]
async fn a_websocket_is_in_use() {
    let switch = "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::answering(Act::Echo(switch.into())).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut client = gateway.client().await;
    let upgrade =
        "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.status(), 101);
    assert_eq!(in_use(&gateway), 1);
    drop(client);
    eventually("it ends", || in_use(&gateway) == 0).await;
}

/// A client that is told to go before it has asked anything would come again, and be told again.
#[tokio::test]
async fn an_http2_connection_made_during_the_drain_is_for_a_request() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    gateway.listeners.announce_end();
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, mut connection) = h2::client::handshake(socket).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    // Whatever the server says at once has come before.
    ping.ping(h2::Ping::opaque()).await.unwrap();
    let answer: Answer = http2::ask(&sender, Method::GET, "/", "").await;
    assert_eq!(answer.head.status(), 200);
    // The request was the last: the server ends the connection.
    tokio::time::timeout(Duration::from_secs(5), connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
