//! Tunnels for bytes.

use super::proxy::{client, line, refusals};
use super::*;
use crate::http::tests::origin::{Origin, ok};
use rules::{EgressMode, OutboundProtocol, UnknownPolicy};

const ESTABLISHED: &str = "HTTP/1.1 200 Connection Established\r\n\r\n";

/// Promise 20.
#[tokio::test]
async fn a_tunnel_to_nowhere_is_refused() {
    let (web, db) = (Origin::answering(ok("hello")).await, echo().await);
    let gateway = Proxy::default().http(80, web.address).tcp(db).start().await;
    for (target, reason) in [
        ("other.test:443", "not_in_registry"),
        ("db.test:443", "port_not_in_registry"),
        ("127.0.0.1:5432", "not_in_registry"),
    ] {
        let mut client = client(&gateway).await;
        // What is sent into a tunnel that is not open yet is no request.
        let ahead = connect(target) + &url("shop.test", "/ahead");
        let answer = client.ask(&ahead).await;
        assert_eq!(answer.status(), 403, "{target}");
        assert!(client.is_closed().await, "{target}");
        assert!(answer.body.starts_with(reason), "{}", answer.body);
    }
    assert_eq!(web.hits(), 0);
    let mut client = client(&gateway).await;
    client.send(&connect("db.test:5432")).await;
    assert_eq!(client.bytes(ESTABLISHED.len()).await, ESTABLISHED);
    client.send("hello").await;
    assert_eq!(client.bytes(5).await, "hello");
    drop(client);
    gateway.logs(" block_all not_in_registry ").await;
    let log = gateway.log();
    let refused = r#""CONNECT - HTTP/1.1" 403 - direct_response - "-" 0 "#;
    assert!(log.contains(refused), "{log}");
    assert!(log.contains(r#""other.test:443""#), "{log}");
    assert_eq!(refusals(&gateway, "not_in_registry", "enforce"), 2);
}

/// Promise 22.
#[tokio::test]
async fn a_server_may_speak_first() {
    for protocol in [OutboundProtocol::Tcp, OutboundProtocol::Unspecified] {
        let db = saying("220 ready\r\n").await;
        let gateway = Proxy::default()
            .connections(25, "mail.test", protocol, db)
            .start()
            .await;
        let (answer, mut socket) = ask(&gateway, "mail.test:25").await;
        assert_eq!(answer.head, ESTABLISHED);
        let mut greeting = [0; 11];
        socket.read_exact(&mut greeting).await.unwrap();
        assert_eq!(&greeting, b"220 ready\r\n");
    }
}

#[tokio::test]
async fn a_tunnel_ends_one_way_at_a_time_and_stands_in_log_and_metrics() {
    let db = echo().await;
    let gateway = Proxy::default().tcp(db).start().await;
    let (answer, mut socket) = ask(&gateway, "DB.test.:5432").await;
    assert_eq!(answer.status(), 200);
    let local = socket.local_addr().unwrap();
    socket.write_all(b"hello").await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(rest(&mut socket).await, b"hello");
    let line = line(&gateway).await;
    let (_, line) = line.split_once("] ").unwrap();
    let (start, end) = line.split_once(" 5 5 ").unwrap();
    assert_eq!(start, r#""CONNECT - HTTP/1.1" 200 - - - "-""#);
    let (_duration, end) = end.split_once(' ').unwrap();
    let host = format!(
        r#"- "-" "-" "-" "DB.test.:5432" "{db}" outbound|8000||5432-db.test.default.svc.cluster.local 127"#
    );
    assert!(end.starts_with(&host), "{line}");
    let ends = format!(" {} {local} - - - \"-\"\n", gateway.address);
    assert!(end.ends_with(&ends), "{line}");
    let metrics = gateway.shared.metrics.text();
    let opened = metrics
        .lines()
        .find(|line| line.starts_with("istio_tcp_connections_opened_total{"))
        .unwrap();
    assert!(opened.ends_with(" 1"), "{opened}");
}

/// What came behind the head is in nobody's hands but ours, in whatever pieces.
#[tokio::test]
async fn nothing_that_comes_with_the_head_is_lost() {
    for protocol in [OutboundProtocol::Tcp, OutboundProtocol::Unspecified] {
        let gateway = Proxy::default()
            .connections(5432, "db.test", protocol, echo().await)
            .start()
            .await;
        let ahead = "ahead\r\n\r\nof the answer".repeat(2000);
        let whole = format!("\r\n{}{ahead}", connect("db.test:5432"));
        for first in [whole.len(), 1, 4, 20, 45, 58, 59, 60, 61, 62, 63, 64, 70] {
            let (one, two) = whole.as_bytes().split_at(first);
            let pieces = [one, two];
            let pieces: Vec<&[u8]> = pieces.into_iter().filter(|one| !one.is_empty()).collect();
            let (answer, mut socket) = said(&gateway, &pieces).await;
            assert_eq!(answer.head, ESTABLISHED, "{first}");
            let mut back = vec![0; ahead.len()];
            socket.read_exact(&mut back).await.unwrap();
            assert!(back == ahead.as_bytes(), "{first}");
            assert_eq!(exchange(&mut socket, b"more").await, b"more");
        }
    }
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let gateway = Proxy::default().tcp(echo().await).start().await;
    let whole = format!("{}ahead", connect("db.test:5432"));
    let pieces: Vec<&[u8]> = whole.as_bytes().chunks(1).collect();
    let (answer, mut socket) = said(&gateway, &pieces).await;
    assert_eq!(answer.head, ESTABLISHED);
    let mut back = [0; 5];
    socket.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ahead");
}

/// Pingora keeps what it has read too far: rather no tunnel than one with a hole.
#[tokio::test]
async fn a_tunnel_may_be_asked_for_ahead_as_long_as_nothing_is_lost() {
    let web = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default()
        .http(80, web.address)
        .tcp(echo().await)
        .start()
        .await;
    let post = "POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n";
    let connect = connect("db.test:5432");
    for (body, is_served) in [
        ("\r\n", true),
        ("Content-Length: 1\r\n\r\nx", true),
        (
            "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            false,
        ),
    ] {
        let mut client = client(&gateway).await;
        client.send(&format!("{post}{body}{connect}ahead")).await;
        assert_eq!(client.response().await.status(), 200);
        if is_served {
            assert_eq!(client.bytes(ESTABLISHED.len()).await, ESTABLISHED, "{body}");
            assert_eq!(client.bytes(5).await, "ahead");
        } else {
            assert_eq!(client.response().await.status(), 400, "{body}");
        }
    }
    gateway.logs(" pipelined_connect ").await;
}

#[tokio::test]
async fn what_is_no_target_gets_no_tunnel() {
    let gateway = Proxy::default().tcp(echo().await).start().await;
    for request in [
        "CONNECT db.test HTTP/1.1\r\nHost: db.test\r\n\r\n",
        "CONNECT db.test:0 HTTP/1.1\r\nHost: db.test:0\r\n\r\n",
        "CONNECT db.test:5432 HTTP/1.1\r\nHost: other.test:5432\r\n\r\n",
        "CONNECT user@db.test:5432 HTTP/1.1\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: db.test\r\n\r\n",
        "CONNECT db.test:5432 HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        "CONNECT db.test:5432 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(gateway.ask(request).await.status(), 400, "{request}");
    }
}

#[tokio::test]
async fn an_old_client_gets_its_tunnel() {
    let gateway = Proxy::default().tcp(echo().await).start().await;
    let request = b"CONNECT db.test:5432 HTTP/1.0\r\n\r\n";
    let (answer, mut socket) = said(&gateway, &[request]).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(exchange(&mut socket, b"hello").await, b"hello");
}

/// Promise 1.
#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_told() {
    let nobody = Origin::nobody().await;
    let gateway = Proxy::default().tcp(nobody).start().await;
    let (answer, mut socket) = ask(&gateway, "db.test:5432").await;
    assert_eq!(answer.status(), 503);
    assert!(answer.body.contains("Connection refused"), "{answer:?}");
    assert_eq!(answer.header("server").unwrap(), "istio-envoy");
    assert_eq!(rest(&mut socket).await, b"");
    let line = line(&gateway).await;
    assert!(line.contains(r#""CONNECT - HTTP/1.1" 503 UF "#), "{line}");
    assert!(line.contains(" connect_failure "), "{line}");
}

#[tokio::test]
async fn what_is_not_in_the_registry_passes_where_everything_may() {
    for (policy, reason) in [
        (UnknownPolicy::Passed, " allow_any - "),
        (
            UnknownPolicy::Noted,
            " allow_any would_refuse_not_in_registry ",
        ),
    ] {
        let anything = echo().await;
        let gateway = Proxy::default()
            .with(|proxy| {
                proxy.otherwise = proxy.routes("any", anything);
                proxy.policy = policy;
                proxy.mode = EgressMode::Learn;
            })
            .start()
            .await;
        let (answer, mut socket) = ask(&gateway, "any.test:7").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(exchange(&mut socket, b"\x16\x03\x01hello").await.len(), 8);
        drop(socket);
        let line = line(&gateway).await;
        assert!(line.contains(reason), "{line}");
        let noted = u64::from(policy == UnknownPolicy::Noted);
        assert_eq!(refusals(&gateway, "not_in_registry", "learn"), noted);
    }
}

/// Promise 20.
#[tokio::test]
async fn nobody_is_led_to_the_proxy_itself() {
    let gateway = Proxy::default()
        .with(|proxy| proxy.policy = UnknownPolicy::Passed)
        .start()
        .await;
    let (itself, port) = (gateway.address.to_string(), gateway.address.port());
    for target in [itself.clone(), format!("[::ffff:127.0.0.1]:{port}")] {
        let answer = gateway.ask(&connect(&target)).await;
        assert_eq!(answer.status(), 403, "{target}");
        assert!(answer.body.starts_with("proxy_loop"), "{}", answer.body);
    }
    assert_eq!(gateway.ask(&url(&itself, "/")).await.status(), 502);
}

#[tokio::test]
async fn a_tunnel_ends_with_its_client() {
    let gateway = Proxy::default().tcp(echo().await).start().await;
    let (_, mut socket) = ask(&gateway, "db.test:5432").await;
    assert_eq!(exchange(&mut socket, b"hello").await, b"hello");
    drop(socket);
    let line = line(&gateway).await;
    assert!(line.contains(" 200 - - - \"-\" 5 5 "), "{line}");
    assert_eq!(gateway.listeners.connections(), 0);
}

/// Promise 6.
#[tokio::test]
async fn draining_leaves_tunnels_alone() {
    let gateway = Proxy::default().tcp(echo().await).start().await;
    let (_, mut socket) = ask(&gateway, "db.test:5432").await;
    assert_eq!(gateway.shared.in_use.count(), 1);
    let drained = gateway.listeners.drain();
    tokio::pin!(drained);
    let moment = Duration::from_millis(100);
    assert!(tokio::time::timeout(moment, &mut drained).await.is_err());
    assert_eq!(exchange(&mut socket, b"hello").await, b"hello");
    drop(socket);
    tokio::time::timeout(PATIENCE, drained).await.unwrap();
}
