//! What goes upstream and comes back, when all is well.

use super::client::{get, post};
use super::gateway::{Rules, set, value};
use super::origin::{Act, Origin, ok, respond};
use crate::Settings;
use rules::{HeaderOps, PathRewrite};

#[tokio::test]
async fn a_request_is_forwarded_and_its_answer_returned() {
    let origin = Origin::answering(ok("hello")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        let response = client.ask(&get("/a?b=c")).await;
        assert_eq!((response.status(), response.body.as_str()), (200, "hello"));
        assert_eq!(response.header("server").unwrap(), "istio-envoy");
        let service_time = response.header("x-envoy-upstream-service-time").unwrap();
        assert!(service_time.parse::<u32>().is_ok(), "{service_time}");
        assert!(response.header("date").is_some());
    }
    assert_eq!((origin.hits(), origin.connections()), (3, 1));
    let request = origin.request(0);
    assert_eq!(request.start_line(), "GET /a?b=c HTTP/1.1");
    assert_eq!(request.header("host").unwrap(), "shop.test");
    assert_eq!(request.header("x-envoy-attempt-count").unwrap(), "1");
    gateway
        .logs(r#""GET /a?b=c HTTP/1.1" 200 - via_upstream - "-" 0 5 "#)
        .await;
    gateway
        .logs("outbound|8000||shop.default.svc.cluster.local")
        .await;
    let metrics = gateway.shared.metrics.text();
    assert!(
        metrics.contains(r#"destination_service_name="shop""#),
        "{metrics}"
    );
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let origin = Origin::answering(Act::Send(chunked.into())).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let body = "x".repeat(200_000);
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&post("/", &body)).await.body, "hello");
    assert_eq!(origin.request(0).body, body);
    client
        .send(
            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        )
        .await;
    client.send("2\r\nde\r\n0\r\n\r\n").await;
    assert_eq!(client.response().await.body, "hello");
    assert_eq!(origin.request(1).body, "abcde");
}

#[tokio::test]
async fn headers_of_one_hop_stay_on_it() {
    let headers = "Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
        Upgrade: h2c\r\nX-End: 1\r\n";
    let origin = Origin::answering(respond(200, headers, "body")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut client = gateway.client().await;
    let response = client.ask(&get("/")).await;
    for name in ["x-hop", "keep-alive", "upgrade"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    assert_eq!(response.header("connection").unwrap(), "keep-alive");
    assert_eq!(response.header("x-end").unwrap(), "1");
    assert_eq!(response.body, "body");
}

/// Promise 12.
#[tokio::test]
async fn header_names_keep_their_case() {
    let origin = Origin::answering(respond(200, "X-From-Origin: 1\r\nETag: \"a\"\r\n", "")).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.request_headers = set(&[("x-added", "1")]);
        action.response_headers = set(&[("x-added", "1")]);
    });
    let gateway = rules.start().await;
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-My-HEADER: a\r\nSOAPAction: b\r\n\r\n";
    let response = gateway.ask(request).await;
    for line in ["X-From-Origin: 1", "ETag: \"a\"", "x-added: 1"] {
        assert!(
            response.head.lines().any(|found| found == line),
            "{line} in {}",
            response.head
        );
    }
    let sent = origin.request(0);
    for line in [
        "Host: shop.test",
        "X-My-HEADER: a",
        "SOAPAction: b",
        "x-added: 1",
    ] {
        assert!(
            sent.head.lines().any(|found| found == line),
            "{line} in {}",
            sent.head
        );
    }
}

#[tokio::test]
async fn header_operations_change_requests_and_responses() {
    let origin = Origin::answering(respond(200, "x-secret: 1\r\nx-old: 1\r\n", "")).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.request_headers = set(&[
            ("x-path", "%REQ(:path)%"),
            ("x-who", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ]);
        action.response_headers = HeaderOps {
            remove: vec!["x-secret".parse().unwrap()],
            ..set(&[("x-new", "%RESP(x-old)%"), ("x-code", "%RESPONSE_CODE%")])
        };
    });
    let response = rules.start().await.get("/some").await;
    assert_eq!(origin.request(0).header("x-path").unwrap(), "/some");
    assert_eq!(origin.request(0).header("x-who").unwrap(), "127.0.0.1");
    assert_eq!(response.header("x-secret"), None);
    assert_eq!(response.header("x-new").unwrap(), "1");
    assert_eq!(response.header("x-code").unwrap(), "200");
}

#[tokio::test]
async fn path_and_host_are_rewritten_and_the_old_ones_told() {
    let origin = Origin::answering(ok("")).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.path_rewrite = Some(PathRewrite::Prefix {
            matched: 4,
            with: "/new".into(),
        });
        action.authority_rewrite = Some(value("other.test"));
    });
    let gateway = rules.start().await;
    assert_eq!(gateway.get("/old/x?q=1").await.status(), 200);
    let request = origin.request(0);
    assert_eq!(request.start_line(), "GET /new/x?q=1 HTTP/1.1");
    assert_eq!(request.header("host").unwrap(), "other.test");
    assert_eq!(
        request.header("x-envoy-original-path").unwrap(),
        "/old/x?q=1"
    );
    assert_eq!(
        request.header("x-envoy-original-host").unwrap(),
        "shop.test"
    );
    gateway.logs(r#""GET /old/x?q=1 HTTP/1.1""#).await;
}

#[tokio::test]
async fn the_path_is_normalised_before_it_is_forwarded() {
    let origin = Origin::answering(ok("")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    gateway.get("/app/%2E./admin?q=/../").await;
    gateway
        .ask("GET http://shop.test/a/../b HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        .await;
    assert_eq!(origin.request(0).start_line(), "GET /admin?q=/../ HTTP/1.1");
    assert_eq!(origin.request(1).start_line(), "GET /b HTTP/1.1");
}

/// Promise 14.
#[tokio::test]
async fn what_an_unknown_client_says_about_its_origin_is_not_believed() {
    let origin = Origin::answering(ok("")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    gateway.ask(SPOOFED).await;
    let request = origin.request(0);
    assert_eq!(
        request.header("x-forwarded-for").unwrap(),
        "1.2.3.4,127.0.0.1"
    );
    assert_eq!(request.header("x-forwarded-proto").unwrap(), "http");
    assert_ne!(request.header("x-request-id").unwrap(), "mine");
    assert_eq!(request.header("x-envoy-attempt-count").unwrap(), "1");
    assert_eq!(request.header("x-envoy-internal").unwrap(), "true");
    for name in [
        "x-envoy-retry-on",
        "x-forwarded-client-cert",
        "x-envoy-external-address",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
}

/// Promise 14.
#[tokio::test]
async fn a_named_hop_is_believed() {
    let origin = Origin::answering(ok("")).await;
    let mut rules = Rules::to(&[origin.address]);
    let trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    rules.settings = Settings {
        trusted_proxies,
        ..Settings::default()
    };
    rules.start().await.ask(SPOOFED).await;
    let request = origin.request(0);
    assert_eq!(
        request.header("x-forwarded-for").unwrap(),
        "1.2.3.4,127.0.0.1"
    );
    assert_eq!(request.header("x-forwarded-proto").unwrap(), "https");
    assert_eq!(request.header("x-request-id").unwrap(), "mine");
    assert_eq!(
        request.header("x-envoy-external-address").unwrap(),
        "1.2.3.4"
    );
    assert_eq!(request.header("x-forwarded-client-cert").unwrap(), "By=me");
}

const SPOOFED: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 1.2.3.4\r\n\
    X-Forwarded-Proto: https\r\nX-Request-Id: mine\r\nx-envoy-attempt-count: 9\r\nx-envoy-retry-on: 5xx\r\n\
    x-forwarded-client-cert: By=me\r\n\r\n";

#[tokio::test]
async fn an_answer_of_the_upstream_is_passed_on_whatever_it_is() {
    let origin = Origin::answering(respond(503, "", "busy")).await;
    let response = Rules::to(&[origin.address]).start().await.get("/").await;
    assert_eq!(
        (response.status(), response.body.as_str(), origin.hits()),
        (503, "busy", 1)
    );
}
