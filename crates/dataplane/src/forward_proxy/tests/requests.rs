//! Requests for whole URLs.

use super::proxy::{client, line, refusals};
use super::*;
use crate::http::tests::origin::{Act, Origin, ok, respond};
use rules::{EgressMode, OutboundProtocol, UnknownPolicy};

/// Promise 20. Out there everything is as its client sent it, and here as its origin did.
#[tokio::test]
async fn what_is_in_the_registry_is_forwarded_as_it_was_sent() {
    let headers = "Server: theirs\r\nX-Own: 1\r\n";
    let origin = Origin::answering(respond(200, headers, "hello")).await;
    let gateway = Proxy::default().http(80, origin.address).start().await;
    let request = "GET http://shop.test/a?b HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 1.2.3.4\r\n\
        X-Request-Id: mine\r\nX-Envoy-Internal: true\r\nProxy-Authorization: secret\r\n\
        Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\n";
    let answer = gateway.ask(request).await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "hello"));
    assert_eq!(answer.header("server").unwrap(), "theirs");
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
    let seen = origin.request(0);
    assert_eq!(seen.start_line(), "GET /a?b HTTP/1.1");
    let mut names: Vec<_> = seen
        .head
        .lines()
        .skip(1)
        .filter_map(|line| Some(line.split_once(": ")?.0.to_ascii_lowercase()))
        .filter(|name| name != "connection")
        .collect();
    names.sort();
    let sent = [
        "host",
        "x-envoy-internal",
        "x-forwarded-for",
        "x-request-id",
    ];
    assert_eq!(names, sent, "{}", seen.head);
    assert_eq!(seen.header("x-forwarded-for").unwrap(), "1.2.3.4");
    let line = line(&gateway).await;
    let start = r#""GET /a?b HTTP/1.1" 200 - via_upstream - "-" 0 5 "#;
    assert!(line.contains(start), "{line}");
    assert!(line.contains(r#""shop.test""#), "{line}");
    assert!(line.contains("route-0"), "{line}");
}

/// Promise 20.
#[tokio::test]
async fn what_is_not_in_the_registry_is_refused() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default()
        .http(80, origin.address)
        .tcp(origin.address)
        .start()
        .await;
    let mut client = client(&gateway).await;
    for (authority, reason) in [
        ("other.test", "not_in_registry"),
        ("shop.test.evil.test", "not_in_registry"),
        ("shop.test:8080", "port_not_in_registry"),
        ("db.test:5432", "protocol_not_in_registry"),
    ] {
        let answer = client.ask(&url(authority, "/")).await;
        assert_eq!(answer.status(), 502, "{authority}");
        assert!(answer.body.starts_with(reason), "{}", answer.body);
        assert_eq!(answer.header("server").unwrap(), "istio-envoy");
        assert_eq!(answer.header("content-type").unwrap(), "text/plain");
    }
    assert_eq!(client.ask(&url("shop.test", "/")).await.status(), 200);
    assert_eq!(refusals(&gateway, "not_in_registry", "enforce"), 2);
    assert_eq!(refusals(&gateway, "port_not_in_registry", "enforce"), 1);
    assert_eq!(origin.hits(), 1);
    gateway.logs(" block_all port_not_in_registry ").await;
}

/// Promise 20.
#[tokio::test]
async fn grpc_is_refused_in_its_own_shape() {
    let gateway = Proxy::default().start().await;
    let request = "POST http://a.test/b HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\n\
        Content-Length: 0\r\n\r\n";
    let answer = gateway.ask(request).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("grpc-status").unwrap(), "14");
    let message = answer.header("grpc-message").unwrap();
    assert!(message.starts_with("not_in_registry"), "{message}");
}

#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_told_how_to_be_one() {
    let gateway = Proxy::default().start().await;
    let answer = gateway.get("/").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.body.contains("CONNECT example.org:443"));
    gateway.logs(" not_a_proxy_request ").await;
}

/// Promise 20.
#[tokio::test]
async fn what_does_not_agree_with_itself_is_refused() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default().http(80, origin.address).start().await;
    for (target, host) in [
        ("http://shop.test/", "other.test"),
        ("http://shop.test/", "shop.test:81"),
        ("http://user@shop.test/", "shop.test"),
        ("http://other.test@shop.test/", "other.test@shop.test"),
        ("ftp://shop.test/", "shop.test"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = gateway.ask(&request).await;
        assert_eq!(answer.status(), 400, "{target} {host}");
    }
    gateway.logs(" unsupported_scheme ").await;
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn a_port_that_is_that_of_the_scheme_need_not_be_named() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default().http(80, origin.address).start().await;
    for authority in ["shop.test:80", "SHOP.test", "shop.test."] {
        let answer = gateway.ask(&url(authority, "/")).await;
        assert_eq!(answer.status(), 200, "{authority}");
    }
}

/// What is meant to be secret does not leave in clear.
#[tokio::test]
async fn https_is_not_served_where_nothing_begins_tls() {
    let origin = Origin::answering(ok("hello")).await;
    let request = "GET https://shop.test/a HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    for policy in [UnknownPolicy::Refused, UnknownPolicy::Passed] {
        let gateway = Proxy::default()
            .http(443, origin.address)
            .with(|proxy| proxy.policy = policy)
            .start()
            .await;
        let answer = gateway.ask(request).await;
        assert_eq!(answer.status(), 502);
        assert!(answer.body.contains("CONNECT"), "{}", answer.body);
    }
    assert_eq!(origin.hits(), 0);
}

/// Promise 20: nothing is enforced yet, and what would be is known.
#[tokio::test]
async fn in_shadow_mode_requests_pass_and_are_noted() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default()
        .http(8080, origin.address)
        .with(|proxy| {
            proxy.policy = UnknownPolicy::Noted;
            proxy.mode = EgressMode::Shadow;
        })
        .start()
        .await;
    let answer = gateway.ask(&url("shop.test", "/")).await;
    assert_eq!(answer.status(), 200);
    gateway.logs(" 200 - via_upstream ").await;
    gateway.logs(" would_refuse_port_not_in_registry ").await;
    assert_eq!(refusals(&gateway, "port_not_in_registry", "shadow"), 1);
}

#[tokio::test]
async fn who_is_nobody_that_is_served_gets_nowhere() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default()
        .http(80, origin.address)
        .tcp(origin.address)
        .with(|proxy| proxy.networks = vec!["10.0.0.0/8".parse().unwrap()])
        .start()
        .await;
    let mut client = client(&gateway).await;
    for request in [url("shop.test", "/"), connect("db.test:5432")] {
        let answer = client.ask(&request).await;
        assert_eq!(answer.status(), 403);
        assert!(answer.body.starts_with("unknown_client"), "{}", answer.body);
    }
    assert_eq!(refusals(&gateway, "unknown_client", "enforce"), 2);
    assert_eq!(origin.hits(), 0);
}

#[tokio::test]
async fn who_comes_from_a_known_network_is_served() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default()
        .http(80, origin.address)
        .with(|proxy| proxy.networks = vec!["127.0.0.0/8".parse().unwrap()])
        .start()
        .await;
    assert_eq!(gateway.ask(&url("shop.test", "/")).await.status(), 200);
}

/// Promise 15.
#[tokio::test]
async fn a_websocket_goes_through() {
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let origin = Origin::answering(Act::Echo(switching.into())).await;
    let gateway = Proxy::default().http(80, origin.address).start().await;
    let mut client = client(&gateway).await;
    let request = "GET http://shop.test/ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\nahead";
    assert_eq!(client.ask(request).await.status(), 101);
    assert_eq!(client.bytes(5).await, "ahead");
    client.send("hello").await;
    assert_eq!(client.bytes(5).await, "hello");
    assert_eq!(origin.request(0).start_line(), "GET /ws HTTP/1.1");
}

#[tokio::test]
async fn http2_names_what_it_asks_for_too() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Proxy::default()
        .http(80, origin.address)
        .connections(9, "db.test", OutboundProtocol::Tcp, origin.address)
        .start()
        .await;
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    for (uri, want) in [
        ("http://shop.test/", 200),
        ("http://other.test/", 502),
        ("http://shop.test:81/", 502),
        ("ftp://shop.test/", 400),
    ] {
        let request = http::Request::get(uri).version(http::Version::HTTP_2);
        let (answer, _) = sender
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        assert_eq!(answer.unwrap().status(), want, "{uri}");
    }
}

/// What is sent ahead is of the next request, in pieces of any size.
#[tokio::test]
async fn requests_may_be_sent_ahead() {
    let origin = Origin::start(|number| ok(&number.to_string())).await;
    let gateway = Proxy::default().http(80, origin.address).start().await;
    let mut client = client(&gateway).await;
    let post =
        "POST http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello";
    let one = url("shop.test", "/");
    client.send(&format!("{one}{post}\r\n{one}{one}")).await;
    for number in ["0", "1", "2", "3"] {
        assert_eq!(client.response().await.body, number);
    }
    assert_eq!(origin.request(1).body, "hello");
}
