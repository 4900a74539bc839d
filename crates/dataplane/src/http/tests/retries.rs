//! When a request is made again, and when not.

use super::client::{get, post};
use super::eventually;
use super::gateway::{Gateway, Rules, retries};
use super::origin::{Act, Origin, ok, respond};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_503_is_retried_when_asked_for() {
    let origin = Origin::start(|n| {
        if n == 0 {
            respond(503, "", "")
        } else {
            ok("at last")
        }
    })
    .await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry = retries(2, "5xx"))
        .start()
        .await;
    let response = gateway.ask(&post("/", "body")).await;
    assert_eq!(
        (response.status(), response.body.as_str(), origin.hits()),
        (200, "at last", 2)
    );
    assert_eq!(origin.request(1).body, "body");
    assert_eq!(
        origin.request(1).header("x-envoy-attempt-count").unwrap(),
        "2"
    );
    gateway.logs(" 200 - via_upstream ").await;
}

#[tokio::test]
async fn the_last_answer_is_passed_on_when_retries_are_used_up() {
    let origin = Origin::start(|n| respond(503, "", &format!("answer {n}"))).await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry = retries(2, "503"))
        .start()
        .await;
    let response = gateway.get("/").await;
    assert_eq!(
        (response.status(), response.body.as_str(), origin.hits()),
        (503, "answer 2", 3)
    );
    gateway.logs(" 503 URX via_upstream ").await;
}

#[tokio::test]
async fn a_retry_goes_to_an_endpoint_not_tried() {
    let broken = Origin::answering(respond(500, "", "")).await;
    let good = Origin::answering(ok("good")).await;
    let endpoints = [broken.address, good.address];
    let gateway = Rules::to_with(&endpoints, |action| action.retry = retries(1, "5xx"))
        .start()
        .await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/").await.body, "good");
    }
}

#[tokio::test]
async fn a_failed_connection_is_retried_by_default_whatever_the_method() {
    let good = Origin::answering(ok("good")).await;
    let gateway = Rules::to(&[Origin::nobody().await, good.address])
        .start()
        .await;
    for _ in 0..6 {
        assert_eq!(gateway.ask(&post("/", "x")).await.body, "good");
    }
    assert_eq!(good.hits(), 6);
}

#[tokio::test]
async fn exhausted_connection_retries_say_so() {
    let gateway = Rules::to(&[Origin::nobody().await]).start().await;
    let response = gateway.get("/").await;
    assert!(
        response
            .body
            .contains("retried and the latest reset reason: remote connection failure")
    );
    gateway.logs(" 503 URX,UF ").await;
}

/// Once, and by the next attempt only. Either way there is as much room as the pause itself.
#[tokio::test]
async fn a_pause_that_an_answer_asks_for_is_made_once() {
    let second = Duration::from_secs(1);
    let came = Arc::new(Mutex::new(Vec::new()));
    let origin = Origin::start({
        let came = came.clone();
        move |n| {
            came.lock().unwrap().push(Instant::now());
            match n {
                0 => respond(429, "Retry-After: 1\r\n", ""),
                1 => respond(429, "", ""),
                _ => ok("at last"),
            }
        }
    })
    .await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry = retries(2, "429"))
        .start()
        .await;
    assert_eq!(gateway.get("/").await.body, "at last");
    let came = came.lock().unwrap();
    let pauses: Vec<_> = came.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((second..2 * second).contains(&pauses[0]), "{pauses:?}");
    assert!(pauses[1] < second, "{pauses:?}");
}

#[tokio::test]
async fn an_answer_that_asks_for_a_pause_beyond_the_timeout_is_passed_on() {
    let origin = Origin::answering(respond(503, "Retry-After: 20\r\n", "later")).await;
    let gateway = Rules::to_with(&[origin.address], |action| {
        action.timeout = Some(Duration::from_secs(15));
        action.retry = retries(2, "503");
    })
    .start()
    .await;
    let response = gateway.get("/").await;
    assert_eq!(
        (response.status(), response.body.as_str(), origin.hits()),
        (503, "later", 1)
    );
}

#[tokio::test]
async fn a_body_too_large_to_keep_is_not_sent_twice() {
    let origin = Origin::start(|n| respond(503, "", &format!("answer {n}"))).await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry = retries(2, "5xx"))
        .start()
        .await;
    let response = gateway.ask(&post("/", &"x".repeat(100_000))).await;
    assert_eq!(
        (response.status(), response.body.as_str(), origin.hits()),
        (503, "answer 0", 1)
    );
}

/// Promise 10.
#[tokio::test]
async fn a_post_is_not_replayed_unasked() {
    let origin = Origin::start(|n| if n == 0 { Act::Close } else { ok("twice") }).await;
    let rules = Rules::to_with(&[origin.address], |action| {
        action.retry = rules::RetryPolicy {
            asked_for: false,
            ..retries(2, "reset")
        };
    });
    let gateway = rules.start().await;
    assert_eq!(
        (gateway.ask(&post("/", "pay")).await.status(), origin.hits()),
        (503, 1)
    );
    gateway.logs(" 503 UC ").await;
}

/// Promise 10: the VirtualService asks for it.
#[tokio::test]
async fn a_post_is_replayed_when_the_rule_asks() {
    let origin = Origin::start(|n| if n == 0 { Act::Close } else { ok("twice") }).await;
    let gateway = Rules::to_with(&[origin.address], |action| {
        action.retry = retries(2, "reset")
    })
    .start()
    .await;
    assert_eq!(
        (
            gateway.ask(&post("/", "idempotent")).await.body,
            origin.hits()
        ),
        ("twice".into(), 2)
    );
}

/// The upstream answers once, and closes the connection when the second request has come: as a server does
/// whose keep-alive ends just then.
async fn closing_on_reuse() -> Origin {
    Origin::start(|n| if n == 1 { Act::Close } else { ok("fine") }).await
}

/// Promise 11.
#[tokio::test]
async fn a_get_that_meets_a_stale_connection_is_made_again() {
    let origin = closing_on_reuse().await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry.attempts = 0)
        .start()
        .await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        assert_eq!(client.ask(&get("/")).await.body, "fine");
    }
    assert_eq!((origin.hits(), origin.connections()), (3, 2));
    assert_eq!(
        origin.request(2).header("x-envoy-attempt-count").unwrap(),
        "1"
    );
}

/// Promise 11: what was made for one repetition is not there for the next.
#[tokio::test]
async fn each_repetition_has_a_connection_of_its_own() {
    let origin = Origin::start(|n| match n {
        1 | 4 => Act::Close,
        _ => ok("fine"),
    })
    .await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut client = gateway.client().await;
    for _ in 0..4 {
        assert_eq!(client.ask(&get("/")).await.body, "fine");
    }
    assert_eq!((origin.hits(), origin.connections()), (6, 4));
}

/// Promise 11: after the one free repetition the policy is asked.
#[tokio::test]
async fn a_second_stale_connection_is_a_matter_of_the_policy() {
    let origin = Origin::start(|n| match n {
        3..=5 => Act::Close,
        _ => ok("fine"),
    })
    .await;
    let gateway = Rules::to_with(&[origin.address], |action| {
        action.retry = retries(3, "reset")
    })
    .start()
    .await;
    leave_two_idle(&gateway).await;
    let before = origin.connections();
    // One idle connection breaks, the fresh one too, then the other idle one.
    assert_eq!(gateway.get("/").await.body, "fine");
    assert_eq!((origin.hits(), origin.connections() - before), (7, 2));
    assert_eq!(
        origin.request(6).header("x-envoy-attempt-count").unwrap(),
        "3"
    );
}

/// Makes three requests, after which two connections are kept as long as configured.
async fn leave_two_idle(gateway: &Gateway) {
    // Before there was an answer, connections are kept for a moment only.
    gateway.get("/").await;
    let state = state(gateway);
    let mut slow = gateway.client().await;
    slow.send("POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 1\r\n\r\n")
        .await;
    eventually("the slow request is on its way", || state.active() == 1).await;
    gateway.get("/").await;
    slow.send("x").await;
    assert_eq!(slow.response().await.status(), 200);
    eventually("both are idle", || state.active() == 0).await;
}

/// Promises 10 and 11.
#[tokio::test]
async fn a_post_that_meets_a_stale_connection_is_not() {
    let origin = closing_on_reuse().await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&get("/")).await.status(), 200);
    assert_eq!(client.ask(&post("/", "pay")).await.status(), 503);
    assert_eq!(origin.hits(), 2);
}

/// Promise 11.
#[tokio::test]
async fn an_idle_connection_is_given_up_before_the_upstream_would() {
    let origin = Origin::answering(respond(200, "Keep-Alive: timeout=3\r\n", "fine")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    // Of the first answer's connection nothing was known when it was made.
    assert_eq!(kept_idle(&gateway), Duration::from_millis(500));
    assert_eq!(gateway.get("/").await.header("keep-alive"), None);
    assert_eq!(kept_idle(&gateway), Duration::from_secs(2));
}

#[tokio::test]
async fn an_upstream_that_announces_nothing_is_kept_as_configured() {
    let origin = Origin::answering(ok("fine")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    assert_eq!(gateway.get("/").await.status(), 200);
    assert_eq!(kept_idle(&gateway), Duration::from_secs(3600));
}

/// How long the next attempt's connection will be kept.
fn kept_idle(gateway: &Gateway) -> Duration {
    let snapshot = gateway.shared.snapshot();
    let cluster = snapshot.clusters.values().next().unwrap();
    let upstream = &cluster.endpoints.members()[0].value;
    let peer = upstream.peer(crate::upstream::Attempt::default());
    peer.options.idle_timeout.unwrap()
}

#[tokio::test]
async fn requests_in_flight_are_counted_at_their_endpoint_until_they_end() {
    let origin = Origin::start(|n| if n == 0 { Act::Hang } else { ok("") }).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let state = state(&gateway);
    let mut client = gateway.client().await;
    client.send(&get("/")).await;
    eventually("the request is in flight", || state.active() == 1).await;
    drop(client);
    eventually("the request is over", || state.active() == 0).await;
    gateway.logs(" 0 DC downstream_remote_disconnect ").await;
    assert_eq!(
        (state.total(), state.failed()),
        (1, 0),
        "that the client went away is not the endpoint's failure"
    );
}

/// The counters of the only endpoint.
fn state(gateway: &Gateway) -> Arc<traffic::EndpointState> {
    let snapshot = gateway.shared.snapshot();
    let cluster = snapshot.clusters.values().next().unwrap();
    cluster.endpoints.members()[0].state.clone()
}

#[tokio::test]
async fn each_attempt_fails_at_most_once_at_its_endpoint() {
    let cut = "HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nhalf";
    let cases = [
        (respond(503, "", ""), "retried answer"),
        (Act::Close, "no answer"),
        (Act::SendAndClose(cut.into()), "broken off answer"),
    ];
    for (act, name) in cases {
        let origin = Origin::start(move |n| if n == 0 { act.clone() } else { ok("") }).await;
        let gateway = Rules::to_with(&[origin.address], |action| {
            action.retry = retries(2, "503,reset");
        })
        .start()
        .await;
        let state = state(&gateway);
        gateway.get("/").await;
        eventually("the request is over", || state.active() == 0).await;
        assert_eq!(
            (state.total(), state.failed()),
            (origin.hits() as u64, 1),
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_answer_passed_on_after_retries_fails_once_too() {
    let origin = Origin::answering(respond(503, "", "")).await;
    let gateway = Rules::to_with(&[origin.address], |action| action.retry = retries(2, "503"))
        .start()
        .await;
    let state = state(&gateway);
    assert_eq!(gateway.get("/").await.status(), 503);
    assert_eq!((state.total(), state.failed()), (3, 3));
}
