//! The end of patience.

use super::client::get;
use super::gateway::{Rules, retries};
use super::origin::{Act, Origin, ok};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_route_timeout_is_504_ut() {
    let origin = Origin::answering(Act::Hang).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.timeout = Some(SHORT);
        action.retry = retries(3, "5xx");
    });
    let gateway = rules.start().await;
    let before = Instant::now();
    let response = gateway.get("/").await;
    assert_eq!(
        (response.status(), response.body.as_str()),
        (504, "upstream request timeout")
    );
    assert!(
        (SHORT..SHORT * 10).contains(&before.elapsed()),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(origin.hits(), 1);
    assert_eq!(
        origin
            .request(0)
            .header("x-envoy-expected-rq-timeout-ms")
            .unwrap(),
        "150"
    );
    gateway.logs(" 504 UT response_timeout ").await;
}

#[tokio::test]
async fn a_per_try_timeout_is_retried_and_then_504() {
    let origin = Origin::start(|n| if n == 0 { Act::Hang } else { ok("second") }).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.retry = retries(1, "5xx");
        action.retry.per_try_timeout = Some(SHORT);
    });
    assert_eq!(rules.start().await.get("/").await.body, "second");

    let origin = Origin::answering(Act::Hang).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.retry = retries(1, "5xx");
        action.retry.per_try_timeout = Some(SHORT);
    });
    let gateway = rules.start().await;
    let response = gateway.get("/").await;
    assert_eq!(
        (response.status(), response.body.as_str()),
        (504, "upstream request timeout")
    );
    assert_eq!(origin.hits(), 2);
    gateway.logs(" 504 UT,URX upstream_per_try_timeout ").await;
}

#[tokio::test]
async fn a_body_that_takes_longer_than_the_timeout_is_cut() {
    let dripping = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let origin = Origin::start(move |_| Act::Echo(dripping.into())).await;
    let gateway = Rules::to_with(&[origin.address], |action| action.timeout = Some(SHORT))
        .start()
        .await;
    let mut client = gateway.client().await;
    let response = client.ask(&get("/")).await;
    assert_eq!(
        (response.status(), response.body.as_str(), response.cut),
        (200, "half", true)
    );
    gateway.logs(" 200 UT response_timeout ").await;
}

#[tokio::test]
async fn grpc_timeouts_bound_the_request() {
    let origin = Origin::answering(Act::Hang).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let request = "POST /s/m HTTP/1.1\r\nHost: shop.test\r\nContent-Type: application/grpc\r\n\
        grpc-timeout: 150m\r\nContent-Length: 0\r\n\r\n";
    let response = gateway.ask(request).await;
    assert_eq!(
        (response.status(), response.header("grpc-status").unwrap()),
        (200, "14".into())
    );
    gateway.logs(" UT response_timeout ").await;
}

#[tokio::test]
async fn the_timeout_counts_from_the_end_of_the_request() {
    let origin = Origin::answering(ok("received")).await;
    let gateway = Rules::to_with(&[origin.address], |action| action.timeout = Some(SHORT * 4))
        .start()
        .await;
    let mut client = gateway.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 20\r\n\r\n")
        .await;
    for _ in 0..20 {
        // Slower as a whole than the timeout allows, which is the subject.
        tokio::time::sleep(SHORT / 3).await;
        client.send("x").await;
    }
    assert_eq!(client.response().await.body, "received");
}

#[tokio::test]
async fn retries_do_not_lengthen_the_timeout() {
    let origin = Origin::answering(Act::Hang).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.timeout = Some(SHORT * 2);
        action.retry = retries(100, "5xx");
        action.retry.per_try_timeout = Some(SHORT / 3);
    });
    let gateway = rules.start().await;
    let before = Instant::now();
    let response = gateway.ask(&super::client::post("/", "body")).await;
    assert_eq!(response.status(), 504);
    assert!(before.elapsed() < SHORT * 12, "{:?}", before.elapsed());
    assert!(origin.hits() > 1);
    gateway.logs(" 504 UT response_timeout ").await;
}
