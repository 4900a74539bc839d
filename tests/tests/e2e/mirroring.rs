//! Copies of requests.

use crate::{SHOP, shop};
use e2e::{After, Origin, Request, eventually};
use std::time::{Duration, Instant};

#[test]
fn every_request_is_copied_and_only_the_first_answer_counts() {
    let (main, mirror) = (Origin::named("main"), Origin::echo());
    let rules = "\
- rewrite: {uri: /seen}
  route: [{destination: {host: main}}]
  mirror: {host: mirror}
";
    let services: [(&str, &[u16]); 2] = [("main", &[main.port()]), ("mirror", &[mirror.port()])];
    let gateway = shop(rules, &services).start();
    let mut connection = gateway.connect();
    let request = Request::get(SHOP, "/").header("X-Tag", "7");
    for _ in 0..50 {
        assert_eq!(connection.send(&request).expect("an answer").text(), "main");
    }
    eventually("50 copies", || mirror.hits() == 50);
    assert_eq!(main.hits(), 50);
    let copy = mirror.last_request();
    assert_eq!((copy.target(), copy.header("x-tag")), ("/seen", Some("7")));
    assert_eq!(copy.header("host"), Some(SHOP));
}

#[test]
fn bodies_are_copied_too() {
    let main = Origin::echo();
    let mirror = Origin::serving(|exchange| {
        let length = exchange.read_body()?.len();
        let status = if length == 50_000 { 200 } else { 400 };
        exchange.reply(status, &[], b"")?;
        Ok(if status == 200 {
            After::Keep
        } else {
            After::Reset
        })
    });
    let rules = "- route: [{destination: {host: main}}]\n  mirror: {host: mirror}\n";
    let services: [(&str, &[u16]); 2] = [("main", &[main.port()]), ("mirror", &[mirror.port()])];
    let gateway = shop(rules, &services).start();
    assert_eq!(
        gateway
            .send(&Request::post(SHOP, "/", vec![b'x'; 50_000]))
            .status,
        200
    );
    eventually("the copy", || mirror.hits() == 1);
    eventually("a whole copy", || {
        gateway
            .metrics()
            .sum("tidegate_mirror_total", &[("result", "sent")])
            >= 1.0
    });
}

#[test]
fn shares_of_mirrors_are_drawn_one_by_one() {
    let (main, half, none) = (
        Origin::named("main"),
        Origin::named("half"),
        Origin::named("none"),
    );
    let rules = "\
- route: [{destination: {host: main}}]
  mirrors:
  - {destination: {host: half}, percentage: {value: 50}}
  - {destination: {host: none}, percentage: {value: 0}}
";
    let gateway = shop(
        rules,
        &[
            ("main", &[main.port()]),
            ("half", &[half.port()]),
            ("none", &[none.port()]),
        ],
    )
    .start();
    let mut connection = gateway.connect();
    for _ in 0..400 {
        let response = connection
            .send(&Request::get(SHOP, "/"))
            .expect("an answer");
        assert_eq!(response.status, 200);
    }
    // Five standard deviations of 10.
    eventually("half of the copies", || half.hits() >= 150);
    assert!(half.hits() <= 250, "{}", half.hits());
    assert_eq!((main.hits(), none.hits()), (400, 0));
}

#[test]
fn a_mirror_that_hangs_or_is_gone_does_no_harm() {
    let main = Origin::named("main");
    let hanging = Origin::slow(Duration::from_secs(5));
    let gone = e2e::Port::reserve();
    let rules = "\
- route: [{destination: {host: main}}]
  mirrors:
  - destination: {host: hanging}
  - destination: {host: gone}
  - destination: {host: nowhere}
";
    let gateway = shop(
        rules,
        &[
            ("main", &[main.port()]),
            ("hanging", &[hanging.port()]),
            ("gone", &[gone.number()]),
        ],
    )
    .start();
    let asked = Instant::now();
    let mut connection = gateway.connect();
    for _ in 0..20 {
        let response = connection
            .send(&Request::get(SHOP, "/"))
            .expect("an answer");
        assert_eq!((response.status, response.text().as_str()), (200, "main"));
    }
    assert!(
        asked.elapsed() < Duration::from_secs(4),
        "{:?}",
        asked.elapsed()
    );
}
