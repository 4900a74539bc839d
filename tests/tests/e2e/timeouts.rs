//! How long an exchange may take.

use crate::{SHOP, shop};
use e2e::{After, Origin, eventually};
use std::time::{Duration, Instant};

#[test]
fn the_whole_exchange_is_bounded_retries_included() {
    let origin = Origin::slow(Duration::from_secs(30));
    let rules = "\
- timeout: 1s
  retries: {attempts: 9, perTryTimeout: 0.4s, retryOn: 5xx}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let asked = Instant::now();
    let response = gateway.get(SHOP, "/");
    assert_eq!(
        (response.status, response.text().as_str()),
        (504, "upstream request timeout")
    );
    let took = asked.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(3),
        "{took:?}"
    );
    assert!(
        (2..=4).contains(&origin.hits()),
        "{} attempts",
        origin.hits()
    );
}

#[test]
fn one_attempt_is_bounded_by_the_per_try_timeout() {
    let origin = Origin::serving(|exchange| {
        if exchange.number == 0 {
            assert!(
                exchange.peer_is_gone(Duration::from_secs(20)),
                "still connected"
            );
            return Ok(After::Close);
        }
        exchange.reply(200, &[], b"second")?;
        Ok(After::Keep)
    });
    let rules = "\
- retries: {attempts: 1, perTryTimeout: 0.3s, retryOn: 5xx}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let response = gateway.get(SHOP, "/");
    assert_eq!((response.status, response.text().as_str()), (200, "second"));
}

#[test]
fn without_a_timeout_a_slow_answer_is_waited_for() {
    let origin = Origin::slow(Duration::from_secs(3));
    let rules = "- route: [{destination: {host: shop}}]\n";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    assert_eq!(gateway.get(SHOP, "/").status, 200);
}

#[test]
fn a_body_that_does_not_end_in_time_is_cut() {
    let origin = Origin::serving(|exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        assert!(
            exchange.peer_is_gone(Duration::from_secs(20)),
            "still connected"
        );
        Ok(After::Close)
    });
    let rules = "- timeout: 0.5s\n  route: [{destination: {host: shop}}]\n";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let mut connection = gateway.connect();
    let asked = Instant::now();
    connection
        .write(format!("GET / HTTP/1.1\r\nHost: {SHOP}\r\n\r\n").as_bytes())
        .expect("the request is sent");
    assert_eq!(connection.read_head().expect("a head").status, 200);
    let rest = String::from_utf8_lossy(&connection.read_to_end()).into_owned();
    assert!(rest.contains("first"), "{rest:?}");
    assert!(
        !rest.ends_with("0\r\n\r\n"),
        "the body looks whole: {rest:?}"
    );
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    eventually("the upstream is let go", || origin.open_connections() == 0);
}
