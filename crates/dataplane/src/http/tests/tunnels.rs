//! Connections that stop being HTTP.

use super::gateway::{Rules, retries};
use super::origin::{Act, Origin};
use std::time::Duration;

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
