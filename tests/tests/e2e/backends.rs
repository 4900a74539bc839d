//! Backends that die, hang up or ask for patience: who notices, and who does not.

use crate::{SHOP, TO_SHOP, shop, shop_with};
use e2e::{
    After, Connection, Exchange, Load, Origin, PATIENCE, Request, Response, destination_rule,
    eventually,
};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Between one client's pause and the next one's.
const STEP: Duration = Duration::from_millis(20);

const CLUSTER: &str = "outbound|8000||shop.default.svc.cluster.local";

/// An origin that counts the POSTs whose bodies came whole.
fn counting(posts: &Arc<AtomicUsize>) -> Origin {
    let posts = Arc::clone(posts);
    Origin::serving(move |exchange| {
        exchange.read_body()?;
        let is_post = exchange.request.method() == "POST";
        posts.fetch_add(usize::from(is_post), Ordering::SeqCst);
        exchange.reply(200, &[], b"ok")?;
        Ok(After::Keep)
    })
}

/// Promises 10 and 11: only what cannot be sent again may fail.
#[test]
fn a_backend_that_dies_under_load_costs_no_get_and_no_post_is_sent_twice() {
    let posts = Arc::new(AtomicUsize::new(0));
    let mut origins: Vec<_> = (0..4).map(|_| counting(&posts)).collect();
    let ports: Vec<_> = origins.iter().map(Origin::port).collect();
    let gateway = shop(TO_SHOP, &[("shop", &ports)]).start();
    let is_ok = |response: &Response| response.status == 200;
    let gets = Load::start(gateway.http(), 6, &Request::get(SHOP, "/"), is_ok);
    let pay = Request::post(SHOP, "/", "pay 5");
    let paying = Load::start(gateway.http(), 3, &pay, is_ok);
    // The two attempts after the first find one that lives, whoever they are.
    while origins.len() > 2 {
        let (get, paid) = (gets.served(), paying.served());
        eventually("traffic flows", || {
            gets.served() > get + 200 && paying.served() > paid + 100
        });
        // The end of an origin cuts whatever it was about to answer.
        drop(origins.pop());
    }
    let (get, paid) = (gets.served(), paying.served());
    eventually("traffic still flows", || {
        gets.served() > get + 200 && paying.served() > paid + 100
    });
    let (gets, paying) = (gets.stop(), paying.stop());
    assert_eq!(gets.failed, 0, "of {}: {:?}", gets.served, gets.failures);
    // One of each client's connection and one of each idle connection that each end found, at the very most.
    assert!(paying.failed <= 3 * 12, "{paying:?}");
    assert!(
        paying.failures.iter().all(|what| what.starts_with("503 ")),
        "{paying:?}"
    );
    let posts = posts.load(Ordering::SeqCst);
    assert!(
        posts <= paying.served + paying.failed,
        "{posts} POSTs came in of {paying:?}"
    );
    assert!(posts >= paying.served);
}

/// Promise 11: the origin closes what is idle for as long as it announced, exactly then. All gaps around that time
/// are tried at once, and with POSTs, which nobody can send again.
#[test]
fn connections_that_are_closed_when_idle_cost_no_request() {
    let idle = Duration::from_secs(1);
    let origin = Origin::serving(move |exchange| {
        exchange.reply(200, &[("Keep-Alive", "timeout=1")], b"ok")?;
        exchange.stream().get_ref().set_read_timeout(Some(idle))?;
        Ok(After::Keep)
    });
    let gateway = shop(TO_SHOP, &[("shop", &[origin.port()])]).start();
    let port = gateway.http();
    let clients: Vec<_> = (0..16)
        .map(|number| {
            thread::spawn(move || {
                let mut client = Connection::open(port);
                let request = Request::post(SHOP, "/", "pay 5");
                let mut statuses = Vec::new();
                for _ in 0..3 {
                    statuses.push(client.send(&request).expect("an answer").status);
                    // The gap itself is what is tested.
                    thread::sleep(idle - Duration::from_millis(160) + number * STEP);
                }
                statuses
            })
        })
        .collect();
    for client in clients {
        let statuses = client.join().expect("the client's thread");
        assert_eq!(statuses, [200; 3]);
    }
}

#[test]
fn a_retry_goes_where_nobody_was_yet() {
    let bad = [
        Origin::answering([503]),
        Origin::answering([503]),
        Origin::answering([503]),
    ];
    let good = Origin::named("good");
    let rules = "\
- retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let mut ports: Vec<_> = bad.iter().map(Origin::port).collect();
    ports.push(good.port());
    let gateway = shop(rules, &[("shop", &ports)]).start();
    for number in 0..40 {
        assert_eq!(gateway.get(SHOP, "/").status, 200, "request {number}");
    }
    assert_eq!(good.hits(), 40);
}

/// Fails first attempts, and holds retries until it is told to let one go.
struct Held {
    origin: Origin,
    retries: Receiver<()>,
    orders: Sender<()>,
}

impl Held {
    fn new() -> Self {
        let (came, retries) = mpsc::channel();
        let (orders, ordered) = mpsc::channel::<()>();
        let ordered = Mutex::new(ordered);
        let origin = Origin::serving(move |exchange| {
            if is_first_attempt(exchange) {
                exchange.reply(503, &[], b"busy")?;
                return Ok(After::Keep);
            }
            came.send(()).map_err(io::Error::other)?;
            let ordered = ordered.lock().map_err(|_| io::ErrorKind::Other)?;
            ordered.recv_timeout(PATIENCE).map_err(io::Error::other)?;
            exchange.reply(200, &[], b"retried")?;
            Ok(After::Keep)
        });
        Self {
            origin,
            retries,
            orders,
        }
    }
}

fn is_first_attempt(exchange: &Exchange<'_>) -> bool {
    exchange.request.header("x-envoy-attempt-count") == Some("1")
}

/// One retry at a time: the next one is not made, and its client gets the answer there is.
#[track_caller]
fn one_retry_at_a_time(policy: &str) {
    let held = Held::new();
    let rules = "\
- retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[held.origin.port()])])
        .file("policy.yaml", destination_rule("shop", policy))
        .start();
    let mut first = gateway.connect();
    let request = Request::get(SHOP, "/first").bytes();
    first.write(&request).expect("the request is sent");
    let retry = held.retries.recv_timeout(PATIENCE);
    retry.expect("the first one is retried");

    for number in 0..5 {
        let path = format!("/late/{number}");
        let response = gateway.get(SHOP, &path);
        assert_eq!(
            (response.status, response.text().as_str()),
            (503, "busy"),
            "{path}"
        );
        let flags = gateway.logged(&path)["response_flags"].clone();
        let flags = flags.as_str().unwrap_or_default().to_owned();
        assert!(flags.split(',').any(|flag| flag == "UO"), "{flags}");
    }
    let labels = [("cluster", CLUSTER), ("limit", "retries")];
    let overflows = || {
        let name = "tidegate_upstream_overflow_total";
        gateway.metrics().sum(name, &labels)
    };
    assert_eq!(overflows(), 5.0);

    held.orders.send(()).expect("the origin runs");
    let response = first.read_response("GET").expect("an answer");
    assert_eq!(
        (response.status, response.text().as_str()),
        (200, "retried")
    );
    // The place is free again.
    held.orders.send(()).expect("the origin runs");
    assert_eq!(gateway.get(SHOP, "/next").text(), "retried");
    assert_eq!(overflows(), 5.0);
}

#[test]
fn retries_at_one_time_are_limited() {
    one_retry_at_a_time("trafficPolicy: {connectionPool: {http: {maxRetries: 1}}}\n");
}

#[test]
fn a_budget_limits_retries_too() {
    one_retry_at_a_time(
        "trafficPolicy: {retryBudget: {percent: {value: 1}, minRetryConcurrency: 1}}\n",
    );
}

/// A share of what is going on: of as much as all of it, each may be retried.
#[test]
fn a_budget_grows_with_the_traffic() {
    let held = Held::new();
    let rules = "\
- retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let policy = "trafficPolicy: {retryBudget: {percent: {value: 100}, minRetryConcurrency: 1}}\n";
    let gateway = shop(rules, &[("shop", &[held.origin.port()])])
        .file("policy.yaml", destination_rule("shop", policy))
        .start();
    let mut all: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = gateway.connect();
            let request = Request::get(SHOP, "/").bytes();
            connection.write(&request).expect("the request is sent");
            connection
        })
        .collect();
    for _ in 0..8 {
        let retry = held.retries.recv_timeout(PATIENCE);
        retry.expect("each is retried");
    }
    (0..8).for_each(|_| held.orders.send(()).expect("the origin runs"));
    for connection in &mut all {
        let response = connection.read_response("GET").expect("an answer");
        assert_eq!(response.status, 200);
    }
}

/// Asks for a second of patience, once.
fn asking_for_patience() -> Origin {
    Origin::serving(|exchange| {
        match exchange.number {
            0 => exchange.reply(503, &[("Retry-After", "1")], b"later")?,
            _ => exchange.reply(200, &[], b"now")?,
        }
        Ok(After::Keep)
    })
}

#[test]
fn a_retry_waits_for_as_long_as_it_was_asked_to() {
    let origin = asking_for_patience();
    let rules = "\
- timeout: 30s
  retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let asked = Instant::now();
    assert_eq!(gateway.get(SHOP, "/").text(), "now");
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(origin.hits(), 2);
}

#[test]
fn an_answer_that_asks_for_more_time_than_there_is_is_passed_on() {
    let origin = asking_for_patience();
    let rules = "\
- timeout: 0.5s
  retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}
  route: [{destination: {host: shop}}]
";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let response = gateway.get(SHOP, "/");
    assert_eq!((response.status, response.text().as_str()), (503, "later"));
    assert_eq!(response.header("retry-after"), Some("1"));
    assert_eq!(origin.hits(), 1);
}

/// What an answer asks for holds for retries only.
#[test]
fn an_answer_that_is_not_retried_is_passed_on_at_once() {
    let origin = asking_for_patience();
    let gateway = shop_with(
        "trafficPolicy: {loadBalancer: {simple: RANDOM}}\n",
        &[origin.port()],
    )
    .start();
    let asked = Instant::now();
    let response = gateway.get(SHOP, "/");
    assert_eq!(
        (response.status, response.header("retry-after")),
        (503, Some("1"))
    );
    assert!(asked.elapsed() < Duration::from_secs(1));
}
