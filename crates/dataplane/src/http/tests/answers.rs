//! Answers that the gateway makes itself.

use super::client::{Message, get};
use super::gateway::{Rules, forward, missing, prefix, retries, set, value};
use super::origin::{Act, Origin, ok, respond};
use http::StatusCode;
use rules::{
    AbortStatus, Action, CorsPolicy, DirectResponseAction, Fault, FaultAbort, FaultDelay,
    HeaderOps, OriginMatch, PartsPerMillion, Predicate, RedirectAction, RedirectPath, RedirectPort,
};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const ALWAYS: PartsPerMillion = PartsPerMillion(1_000_000);

#[tokio::test]
async fn an_unknown_host_or_path_is_404_without_a_body_and_the_connection_stays() {
    let origin = Origin::answering(ok("")).await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("shop", rules::UpstreamProtocol::Http1, &[origin.address]);
    rules.route(prefix("/known"), cluster, |_| {});
    let gateway = rules.start().await;
    let mut client = gateway.client().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: no.test\r\n\r\n".to_owned(),
        get("/unknown"),
    ] {
        let response = client.ask(&request).await;
        assert_eq!((response.status(), response.body.as_str()), (404, ""));
        assert_eq!(response.header("server").unwrap(), "istio-envoy");
    }
    assert_eq!(client.ask(&get("/known")).await.status(), 200);
    gateway.logs(" 404 NR route_not_found ").await;
    gateway.logs(" no_host ").await;
    gateway.logs(" no_route ").await;
}

#[tokio::test]
async fn heads_that_break_http_are_refused() {
    let origin = Origin::answering(ok("")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, " missing_host_header "),
        ("GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n".to_owned(), 426, " low_version "),
        (get("/%00"), 400, " path_normalization_failed "),
        (format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{many}\r\n"), 431, " http1.too_many_headers "),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n".to_owned(), 405, " connect_not_allowed "),
        (
            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
            400,
            " http1.content_length_and_chunked_not_allowed ",
        ),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_owned(), 400, "invalid_host"),
        ("GET a HTTP/1.1\r\nHost: shop.test\r\n\r\n".to_owned(), 400, "invalid_path"),
        (
            "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: x-forwarded-for\r\n\r\n".to_owned(),
            400,
            "connection_nomination",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
            "ambiguous_length",
        ),
        (
            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab".to_owned(),
            400,
            "ambiguous_length",
        ),
    ];
    for (request, status, logged) in cases {
        let response = gateway.ask(&request).await;
        assert_eq!((response.status(), origin.hits()), (status, 0), "{request}");
        if !logged.is_empty() {
            gateway.logs(logged).await;
        }
    }
    let metrics = gateway.shared.metrics.text();
    assert!(
        metrics.contains(r#"tidegate_requests_refused_total{reason="low_version"} 1"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_chunked_body_that_is_none_is_the_clients_error() {
    let origin = Origin::answering(Act::Hang).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let request = "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n";
    assert_eq!(gateway.ask(request).await.status(), 400);
    gateway.logs(" 400 DPE ").await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_logged() {
    let gateway = Rules::to(&[]).start().await;
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n";
    assert_eq!(gateway.ask(request).await.status(), 400);
    gateway.logs(" 400 DPE http1.codec_error ").await;
    assert_eq!(gateway.ask("nonsense\r\n\r\n").await.status(), 400);
    let counted = || {
        gateway
            .shared
            .metrics
            .text()
            .contains(r#"refused_total{reason="malformed"} 2"#)
    };
    super::eventually("both are counted", counted).await;
}

#[tokio::test]
async fn redirects_and_direct_responses_are_sent_as_written() {
    let mut rules = Rules::default();
    let redirect = RedirectAction {
        code: StatusCode::PERMANENT_REDIRECT,
        scheme: None,
        authority: Some("new.test".into()),
        port: RedirectPort::ProtocolDefault,
        path: RedirectPath::Full("/there".into()),
        response_headers: HeaderOps::default(),
    };
    rules.action(prefix("/go"), Action::Redirect(Box::new(redirect)));
    let response_headers = set(&[
        ("content-type", "text/html"),
        ("x-who", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ]);
    let direct = DirectResponseAction {
        status: StatusCode::IM_A_TEAPOT,
        body: "tea".into(),
        response_headers,
    };
    rules.action(Predicate::default(), Action::DirectResponse(direct));
    let gateway = rules.start().await;
    let mut client = gateway.client().await;
    let response = client.ask(&get("/go?a=b")).await;
    assert_eq!((response.status(), response.body.as_str()), (308, ""));
    assert_eq!(
        response.header("location").unwrap(),
        "http://new.test/there?a=b"
    );
    let response = client.ask(&get("/tea")).await;
    assert_eq!((response.status(), response.body.as_str()), (418, "tea"));
    assert_eq!(response.header("content-type").unwrap(), "text/html");
    assert_eq!(response.header("x-who").unwrap(), "127.0.0.1");
    client
        .send("HEAD /tea HTTP/1.1\r\nHost: shop.test\r\n\r\n")
        .await;
    assert!(client.bytes(16).await.starts_with("HTTP/1.1 418"));
    gateway.logs(" 418 - direct_response ").await;
}

#[tokio::test]
async fn a_host_that_wants_https_redirects_everything() {
    let gateway = Rules::to(&[]).start().await;
    let response = gateway
        .ask("GET /a?b HTTP/1.1\r\nHost: secure.test:80\r\n\r\n")
        .await;
    assert_eq!(
        (response.status(), response.header("location").unwrap()),
        (301, "https://secure.test/a?b".into())
    );
}

#[tokio::test]
async fn a_destination_that_does_not_exist_is_503_nc() {
    let mut rules = Rules::default();
    rules.action(
        Predicate::default(),
        Action::Forward(Box::new(forward(missing()))),
    );
    let gateway = rules.start().await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        let response = client.ask(&get("/")).await;
        assert_eq!((response.status(), response.body.as_str()), (503, ""));
    }
    gateway.logs(" 503 NC cluster_not_found ").await;
    gateway
        .logs(r#"cluster_not_found "VirtualService default/shop spec.http[0] (shop.yaml:7:3)""#)
        .await;
}

#[tokio::test]
async fn a_cluster_without_endpoints_is_503_uh() {
    let gateway = Rules::to(&[]).start().await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        let response = client.ask(&get("/")).await;
        assert_eq!(
            (response.status(), response.body.as_str()),
            (503, "no healthy upstream")
        );
    }
    gateway.logs(" 503 UH no_healthy_upstream ").await;
}

#[tokio::test]
async fn a_refused_connection_is_503_uf() {
    let nobody = Origin::nobody().await;
    let gateway = Rules::to_with(&[nobody], |action| action.retry.attempts = 0)
        .start()
        .await;
    let mut client = gateway.client().await;
    let response = client.ask(&get("/")).await;
    // The client is told of the end of its connection, and never loses a request to it.
    assert_eq!(response.header("connection").unwrap(), "close");
    assert!(client.is_closed().await);
    let body = "upstream connect error or disconnect/reset before headers. reset reason: remote connection \
        failure, transport failure reason: delayed connect error: Connection refused";
    assert_eq!((response.status(), response.body.as_str()), (503, body));
    gateway
        .logs(" 503 UF upstream_reset_before_response_started{remote_connection_failure|")
        .await;
    gateway
        .logs(r#""delayed connect error: Connection refused""#)
        .await;
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_is_503_uc() {
    let origin = Origin::answering(Act::Close).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let response = gateway.get("/").await;
    assert_eq!((response.status(), origin.hits()), (503, 1));
    assert!(
        response
            .body
            .ends_with("reset reason: connection termination"),
        "{}",
        response.body
    );
    gateway
        .logs(" 503 UC upstream_reset_before_response_started{connection_termination} ")
        .await;
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http_is_502_upe() {
    let origin = Origin::answering(Act::SendAndClose("220 smtp ready\r\n\r\n".into())).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    assert_eq!(gateway.get("/").await.status(), 502);
    gateway.logs(" 502 UPE ").await;
}

#[tokio::test]
async fn a_reset_within_the_body_cuts_the_response_and_is_logged() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let origin = Origin::answering(Act::SendAndClose(partial.into())).await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry = retries(3, "5xx"))
        .start()
        .await;
    let mut client = gateway.client().await;
    let response = client.ask(&get("/")).await;
    assert_eq!(
        (response.status(), response.cut, origin.hits()),
        (200, true, 1)
    );
    assert!(client.is_closed().await);
    gateway
        .logs(" 200 UC upstream_reset_after_response_started{connection_termination} ")
        .await;
}

#[tokio::test]
async fn an_injected_abort_comes_after_the_delay() {
    let origin = Origin::answering(ok("")).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.fault = Some(Fault {
            delay: Some(FaultDelay {
                duration: Duration::from_millis(60),
                share: ALWAYS,
            }),
            abort: Some(FaultAbort {
                status: AbortStatus::Http(StatusCode::PAYMENT_REQUIRED),
                share: ALWAYS,
            }),
        });
    });
    let gateway = rules.start().await;
    let before = Instant::now();
    let response = gateway.get("/").await;
    assert_eq!(
        (response.status(), response.body.as_str()),
        (402, "fault filter abort")
    );
    assert!(before.elapsed() >= Duration::from_millis(60));
    assert_eq!(origin.hits(), 0);
    gateway.logs(" 402 DI,FI fault_filter_abort ").await;
}

#[tokio::test]
async fn the_timeout_does_not_count_the_injected_delay() {
    let origin = Origin::answering(ok("late")).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        let delay = Some(FaultDelay {
            duration: Duration::from_millis(300),
            share: ALWAYS,
        });
        action.fault = Some(Fault { delay, abort: None });
        action.timeout = Some(Duration::from_millis(250));
    });
    let gateway = rules.start().await;
    assert_eq!(gateway.get("/").await.body, "late");
    gateway.logs(" 200 DI via_upstream ").await;
}

#[tokio::test]
async fn cross_origin_policy_answers_preflights_and_marks_responses() {
    let origin = Origin::answering(respond(200, "Access-Control-Allow-Origin: *\r\n", "")).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.cors = Some(CorsPolicy {
            allow_origins: vec![OriginMatch::Exact("https://a.test".into())],
            allow_methods: Some(value("GET,PUT")),
            allow_headers: None,
            expose_headers: Some(value("x-c")),
            max_age: None,
            allow_credentials: None,
            forward_unmatched_preflights: true,
        });
    });
    let gateway = rules.start().await;
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: shop.test\r\nOrigin: https://a.test\r\n\
        Access-Control-Request-Method: PUT\r\n\r\n";
    let response = gateway.ask(preflight).await;
    assert_eq!((response.status(), origin.hits()), (200, 0));
    assert_eq!(
        response.header("access-control-allow-methods").unwrap(),
        "GET,PUT"
    );
    let response = gateway
        .ask("GET / HTTP/1.1\r\nHost: shop.test\r\nOrigin: https://a.test\r\n\r\n")
        .await;
    assert_eq!(
        response.header("access-control-allow-origin").unwrap(),
        "https://a.test"
    );
    assert_eq!(
        response.header("access-control-expose-headers").unwrap(),
        "x-c"
    );
}

#[tokio::test]
async fn a_grpc_request_gets_grpc_shaped_answers() {
    let gateway = Rules::to(&[]).start().await;
    let request = "POST /s/m HTTP/1.1\r\nHost: shop.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    let response = gateway.ask(request).await;
    assert_eq!((response.status(), response.body.as_str()), (200, ""));
    assert_eq!(response.header("grpc-status").unwrap(), "14");
    assert_eq!(
        response.header("grpc-message").unwrap(),
        "no healthy upstream"
    );
    assert_eq!(response.header("content-type").unwrap(), "application/grpc");
}

/// Promise 6. The request came before the end was known, its answer after.
#[tokio::test]
async fn the_last_answer_of_a_connection_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Rules::to(&[listener.local_addr().unwrap()]).start().await;
    let mut client = gateway.client().await;
    client.send(&get("/")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    Message::read(&mut upstream, &mut Vec::new(), false)
        .await
        .unwrap();
    gateway.listeners.announce_end();
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        .await
        .unwrap();
    let answer = client.response().await;
    assert_eq!(answer.header("connection").as_deref(), Some("close"));
    assert!(client.is_closed().await);
}
