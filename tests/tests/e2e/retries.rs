//! What is sent again, and what is not.

use crate::{SHOP, plain_shop, shop};
use e2e::{After, Origin, Port, Request, eventually};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const ON_5XX: &str = "\
- retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}
  route: [{destination: {host: shop}}]
";

#[test]
fn a_503_is_retried_when_the_rule_asks_for_it() {
    let origin = Origin::answering([503, 503, 200]);
    let gateway = shop(ON_5XX, &[("shop", &[origin.port()])]).start();
    let response = gateway.get(SHOP, "/");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "answer 2")
    );
    let attempts: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.header("x-envoy-attempt-count").map(str::to_owned))
        .collect();
    assert_eq!(
        attempts,
        ["1", "2", "3"].map(|count| Some(count.to_owned()))
    );
}

#[test]
fn the_last_answer_is_returned_when_retries_are_used_up() {
    let origin = Origin::answering([503, 502, 500, 200]);
    let gateway = shop(ON_5XX, &[("shop", &[origin.port()])]).start();
    let response = gateway.get(SHOP, "/used-up");
    assert_eq!(
        (response.status, response.text().as_str()),
        (500, "answer 2")
    );
    assert_eq!(origin.hits(), 3);
    let flags = gateway.logged("/used-up")["response_flags"].clone();
    assert!(
        flags.as_str().is_some_and(|flags| flags.contains("URX")),
        "{flags}"
    );
}

#[test]
fn a_503_of_the_upstream_is_not_retried_by_default() {
    let origin = Origin::answering([503, 200]);
    let gateway = plain_shop(&[origin.port()]);
    assert_eq!((gateway.get(SHOP, "/").status, origin.hits()), (503, 1));
}

#[test]
fn a_refused_connection_is_retried_elsewhere_by_default() {
    let (alive, dead) = (Origin::named("alive"), Port::reserve());
    let gateway = plain_shop(&[dead.number(), alive.port()]);
    for target in 0..30 {
        let request = Request::post(SHOP, &format!("/{target}"), "body");
        assert_eq!(gateway.send(&request).text(), "alive");
    }
}

#[test]
fn a_retry_goes_to_another_endpoint_and_carries_the_body() {
    let failing = Origin::answering([503]);
    let working = Origin::echo();
    let rules = "\
- retries: {attempts: 3, retryOn: '503', backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[failing.port(), working.port()])]).start();
    for number in 0..20 {
        let body = format!("body {number}");
        let response = gateway.send(&Request::post(SHOP, "/", body.clone()));
        assert_eq!(response.status, 200);
        assert!(response.text().contains(&body), "{}", response.text());
    }
    assert!(failing.hits() > 0);
    assert!(
        failing.hits() <= 20,
        "{} requests to the failing one",
        failing.hits()
    );
}

/// Promise 10.
#[test]
fn a_post_whose_bytes_were_sent_is_not_replayed() {
    let origin = Origin::serving(|exchange| {
        exchange.read_body()?;
        Ok(After::Close)
    });
    let gateway = plain_shop(&[origin.port()]);
    let response = gateway.send(&Request::post(SHOP, "/once", "pay 5"));
    assert_eq!((response.status, origin.hits()), (503, 1));
    assert!(
        response
            .text()
            .contains("reset reason: connection termination"),
        "{}",
        response.text()
    );
    assert_eq!(gateway.logged("/once")["response_flags"], "UC");
}

/// Promise 10: the VirtualService may ask for it.
#[test]
fn a_post_is_replayed_when_the_rule_asks_for_it() {
    let origin = Origin::serving(|exchange| {
        if exchange.number == 0 {
            exchange.read_body()?;
            return Ok(After::Close);
        }
        exchange.reply(200, &[], b"ok")?;
        Ok(After::Keep)
    });
    let rules = "\
- retries: {attempts: 2, retryOn: reset, backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let response = gateway.send(&Request::post(SHOP, "/", "pay 5"));
    assert_eq!((response.status, origin.hits()), (200, 2));
}

/// An origin that serves one request on each connection, says nothing of closing, and closes as
/// soon as it sees a second: what a keep-alive timeout looks like when it races with a request.
fn with_stale_connections() -> Origin {
    Origin::serving(|exchange| {
        if exchange.on_connection > 0 {
            return Ok(After::Close);
        }
        exchange.reply(200, &[], b"fresh")?;
        Ok(After::Keep)
    })
}

/// Promise 11.
#[test]
fn a_request_that_died_on_a_stale_connection_is_sent_once_more() {
    let origin = with_stale_connections();
    let gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    for number in 0..10 {
        let response = connection
            .send(&Request::get(SHOP, "/"))
            .expect("an answer");
        assert_eq!((response.status, number), (200, number));
    }
    // At least one was reused, or this shows nothing.
    assert!(origin.hits() > 10, "{}", origin.hits());
}

/// Promises 10 and 11.
#[test]
fn a_post_that_died_on_a_stale_connection_is_not() {
    let origin = with_stale_connections();
    let gateway = plain_shop(&[origin.port()]);
    let statuses: Vec<u16> = (0..10)
        .map(|_| gateway.send(&Request::post(SHOP, "/", "pay 5")).status)
        .collect();
    assert!(
        statuses.contains(&503),
        "no connection was reused: {statuses:?}"
    );
    assert_eq!(
        origin.hits(),
        10,
        "one request of the origin for each of the client"
    );
}

/// Promise 11, as a client sees it: an origin that keeps to what it announces loses no request.
#[test]
fn a_connection_is_not_used_for_longer_than_its_origin_announced() {
    let last = Mutex::new(Instant::now());
    let origin = Origin::serving(move |exchange| {
        let mut last = last.lock().map_err(|_| std::io::ErrorKind::Other)?;
        let idle = std::mem::replace(&mut *last, Instant::now()).elapsed();
        if exchange.on_connection > 0 && idle >= Duration::from_secs(2) {
            return Ok(After::Close);
        }
        exchange.reply(200, &[("Keep-Alive", "timeout=2")], b"ok")?;
        Ok(After::Keep)
    });
    let gateway = plain_shop(&[origin.port()]);
    for _ in 0..3 {
        assert_eq!(gateway.send(&Request::post(SHOP, "/", "pay 5")).status, 200);
        std::thread::sleep(Duration::from_millis(2100));
    }
}

/// Promise 11.
#[test]
fn an_idle_connection_is_given_up_before_the_origin_says_it_would() {
    let origin = Origin::serving(|exchange| {
        exchange.reply(200, &[("Keep-Alive", "timeout=2")], b"ok")?;
        Ok(After::Keep)
    });
    let gateway = plain_shop(&[origin.port()]);
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    assert_eq!(origin.connections(), 1);
    let idle_since = Instant::now();
    eventually("the gateway gives the connection up", || {
        origin.open_connections() == 0
    });
    assert!(idle_since.elapsed() < Duration::from_millis(2500));
}
