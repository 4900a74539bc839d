//! Requests within tunnels.

use super::proxy::refusals;
use super::*;
use crate::http::tests::client::{Client, get};
use crate::http::tests::origin::{Origin, ok};

async fn open(origin: &Origin, port: u16) -> (crate::http::tests::gateway::Gateway, Client) {
    let gateway = Proxy::default().http(port, origin.address).start().await;
    let (answer, socket) = ask(&gateway, &format!("shop.test:{port}")).await;
    assert_eq!(answer.status(), 200);
    (gateway, Client::on(socket))
}

/// Promise 20.
#[tokio::test]
async fn requests_in_a_tunnel_are_for_what_it_was_opened_for() {
    let origin = Origin::answering(ok("hello")).await;
    let (gateway, mut client) = open(&origin, 80).await;
    assert_eq!(client.ask(&get("/one")).await.body, "hello");
    let other = "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n";
    let answer = client.ask(other).await;
    assert_eq!(answer.status(), 421);
    assert!(answer.body.starts_with("host_mismatch"), "{}", answer.body);
    assert_eq!(client.ask(&get("/two")).await.body, "hello");
    assert_eq!(client.ask(&url("shop.test", "/three")).await.body, "hello");
    let seen: Vec<_> = (0..3)
        .map(|number| origin.request(number).start_line().to_owned())
        .collect();
    let want = [
        "GET /one HTTP/1.1",
        "GET /two HTTP/1.1",
        "GET /three HTTP/1.1",
    ];
    assert_eq!(seen, want);
    assert_eq!(origin.request(0).header("x-forwarded-for"), None);
    assert_eq!(refusals(&gateway, "host_mismatch", "enforce"), 1);
    drop(client);
    gateway.logs(r#""CONNECT - HTTP/1.1" 200 - - - "-" "#).await;
    gateway.logs(r#""GET /two HTTP/1.1" 200 "#).await;
}

#[tokio::test]
async fn no_tunnel_is_made_in_a_tunnel() {
    let origin = Origin::answering(ok("hello")).await;
    let (_gateway, mut client) = open(&origin, 80).await;
    let answer = client.ask(&connect("shop.test:80")).await;
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn a_port_of_its_own_need_not_be_repeated() {
    let origin = Origin::answering(ok("hello")).await;
    let (_gateway, mut client) = open(&origin, 8080).await;
    for host in ["shop.test:8080", "shop.test"] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(client.ask(&request).await.status(), 200, "{host}");
    }
    let request = "GET / HTTP/1.1\r\nHost: shop.test:80\r\n\r\n";
    assert_eq!(client.ask(request).await.status(), 421);
}

#[tokio::test]
async fn a_request_may_come_with_the_head_of_the_tunnel() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default().http(80, origin.address).start().await;
    let body = "x".repeat(3000);
    let post = format!(
        "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3000\r\n\r\n{body}{}",
        get("/")
    );
    let whole = format!("{}{post}", connect("shop.test:80"));
    let (_, socket) = said(&gateway, &[whole.as_bytes()]).await;
    let mut client = Client::on(socket);
    assert_eq!(client.response().await.body, "hello");
    assert_eq!(client.response().await.body, "hello");
    assert_eq!(origin.request(0).body, body);
}

/// Promise 20.
#[tokio::test]
async fn tls_in_a_tunnel_for_requests_is_refused_in_its_language() {
    let origin = Origin::answering(ok("hello")).await;
    let (gateway, client) = open(&origin, 80).await;
    let mut socket = client.socket;
    socket
        .write_all(b"\x16\x03\x01\x00\x05hello")
        .await
        .unwrap();
    assert_eq!(rest(&mut socket).await, [21, 3, 3, 0, 2, 2, 40]);
    gateway.logs(r#""CONNECT - HTTP/1.1" 200 "#).await;
}

#[tokio::test]
async fn http2_goes_through_a_tunnel() {
    let origin = Origin::answering(ok("hello")).await;
    let (_gateway, client) = open(&origin, 80).await;
    let (mut sender, connection) = h2::client::handshake(client.socket).await.unwrap();
    tokio::spawn(connection);
    for (uri, want) in [("http://shop.test/", 200), ("http://other.test/", 400)] {
        let request = http::Request::get(uri).version(http::Version::HTTP_2);
        let (answer, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        let status = answer.unwrap().status();
        assert!(status == want || status == 421, "{uri}: {status}");
    }
}

#[tokio::test]
async fn draining_ends_a_tunnel_that_waits_for_requests() {
    let origin = Origin::answering(ok("hello")).await;
    let (gateway, mut client) = open(&origin, 80).await;
    assert_eq!(client.ask(&get("/")).await.status(), 200);
    let unused = gateway.shared.in_use.emptied();
    tokio::time::timeout(PATIENCE, unused).await.unwrap();
    let drained = gateway.listeners.drain();
    tokio::time::timeout(PATIENCE, drained).await.unwrap();
    assert!(client.is_closed().await);
}
