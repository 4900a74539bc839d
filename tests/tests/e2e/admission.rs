//! Requests that are refused before any rule sees them, and limits.

use crate::{SHOP, plain_shop};
use e2e::{Connection, Gateway, Origin, Request, eventually};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Sends bytes on a new connection and returns the status of the answer.
#[track_caller]
fn status_of(gateway: &Gateway, bytes: &str) -> u16 {
    let mut connection = gateway.connect();
    connection
        .write(bytes.as_bytes())
        .expect("the request is sent");
    match connection.read_head() {
        Ok(head) => head.status,
        Err(error) => panic!("{bytes:?}: no answer: {error}"),
    }
}

#[test]
fn what_is_ambiguous_is_refused() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let cases = [
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (
            "two hosts",
            "GET / HTTP/1.1\r\nHost: shop.test\r\nHost: other.test\r\n\r\n",
            400,
        ),
        (
            "the same host twice",
            "GET / HTTP/1.1\r\nHost: shop.test\r\nHost: shop.test\r\n\r\n",
            400,
        ),
        ("HTTP/1.0", "GET / HTTP/1.0\r\nHost: shop.test\r\n\r\n", 426),
        (
            "a NUL in the path",
            "GET /%00 HTTP/1.1\r\nHost: shop.test\r\n\r\n",
            400,
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "the lengths the other way round",
            "POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: chunked\r\n\
             Content-Length: 4\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "lengths that differ",
            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
            400,
        ),
    ];
    for (what, bytes, want) in cases {
        assert_eq!(status_of(&gateway, bytes), want, "{what}");
    }
    assert_eq!(origin.hits(), 0);
    let refused = gateway
        .metrics()
        .sum("tidegate_requests_refused_total", &[]);
    assert!(refused >= 1.0, "{refused} counted");
}

#[test]
fn nonsense_is_answered_or_cut_and_harms_nobody() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let cases: [&[u8]; 5] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: shop.test\r\nBad Header: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a settings frame at all, is it?",
    ];
    for bytes in cases {
        let mut connection = gateway.connect();
        connection.write(bytes).expect("the bytes are sent");
        connection.finish().expect("the socket is still there");
        let answer = String::from_utf8_lossy(&connection.read_to_end()).into_owned();
        assert!(!answer.contains("200"), "{bytes:?}: {answer}");
    }
    assert_eq!(gateway.get(SHOP, "/").status, 200);
    assert_eq!(origin.hits(), 1);
}

/// RFC 3986 as Istio's `BASE`: what rules see is what goes upstream.
#[test]
fn paths_are_normalised_before_rules_and_upstream_see_them() {
    let origin = Origin::echo();
    let gateway = plain_shop(&[origin.port()]);
    let cases = [
        ("/app/../admin", "/admin"),
        ("/app/%2E./admin", "/admin"),
        ("/./a/./b", "/a/b"),
        ("/app\\admin", "/app/admin"),
        ("/app//", "/app//"),
        ("/app/%2f", "/app/%2f"),
        ("/%61bc?x=%61/../y", "/abc?x=%61/../y"),
        ("/../../etc/passwd", "/etc/passwd"),
    ];
    for (sent, want) in cases {
        assert_eq!(gateway.get(SHOP, sent).status, 200, "{sent}");
        assert_eq!(origin.last_request().target(), want, "{sent}");
    }
}

/// Promise 19.
#[test]
fn too_many_or_too_large_headers_get_431() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let with_headers = |count: usize| {
        let mut head = format!("GET / HTTP/1.1\r\nHost: {SHOP}\r\n");
        for number in 1..count {
            let _ = write!(head, "X-{number}: v\r\n");
        }
        head + "\r\n"
    };
    assert_eq!(status_of(&gateway, &with_headers(90)), 200);
    assert_eq!(status_of(&gateway, &with_headers(140)), 431);
    let with_bytes = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: {SHOP}\r\nX-Long: {}\r\n\r\n",
            "x".repeat(count)
        )
    };
    assert_eq!(status_of(&gateway, &with_bytes(50 * 1024)), 200);
    assert_eq!(status_of(&gateway, &with_bytes(70 * 1024)), 431);
    assert_eq!(origin.hits(), 2);
}

/// Promise 19: a client that drips its head is not waited for for ever.
#[test]
fn a_dripping_request_head_is_given_up() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    // Nor on a connection that has served a request before.
    let mut used = gateway.connect();
    assert_eq!(
        used.send(&Request::get(SHOP, "/"))
            .expect("an answer")
            .status,
        200
    );
    let mut connections = [gateway.connect(), used];
    let started = Instant::now();
    for connection in &mut connections {
        connection
            .write(b"GET / HTTP/1.1\r\nHost: ")
            .expect("bytes are taken");
    }
    for connection in &mut connections {
        while !is_given_up(connection) {
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "still waited for"
            );
        }
    }
    assert!(
        started.elapsed() > Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    eventually("both are counted", || {
        let reason = [("reason", "head_too_slow")];
        let metrics = gateway.metrics();
        metrics.sum("tidegate_requests_refused_total", &reason) == 2.0
    });
    eventually("both are logged", || {
        gateway.access_log_text().matches("head_too_slow").count() == 2
    });
    assert_eq!(origin.hits(), 1);
}

/// Drips one more byte.
fn is_given_up(connection: &mut Connection) -> bool {
    connection.write(b"x").is_err() || connection.is_closed_within(Duration::from_millis(250))
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let origin = Origin::echo();
    let gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    let pipelined: Vec<u8> = (0..5)
        .flat_map(|number| Request::get(SHOP, &format!("/{number}")).bytes())
        .collect();
    connection.write(&pipelined).expect("the requests are sent");
    for number in 0..5 {
        let response = connection.read_response("GET").expect("an answer");
        assert!(
            response.text().contains(&format!("\"/{number}\"")),
            "{}",
            response.text()
        );
    }
}

#[test]
fn a_body_is_not_taken_for_the_next_request() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    // Answered with 404 by the gateway itself, which nobody told to read the body.
    let unknown = Request::post("nobody.test", "/", smuggled);
    assert_eq!(connection.send(&unknown).expect("an answer").status, 404);
    if let Ok(next) = connection.send(&Request::get(SHOP, "/honest")) {
        assert_eq!(next.status, 200);
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.target() != "/smuggled")
    );
}

#[test]
fn a_client_that_expects_100_gets_it() {
    let origin = Origin::echo();
    let gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {SHOP}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    );
    connection.write(head.as_bytes()).expect("the head is sent");
    assert_eq!(connection.read_head().expect("a head").status, 100);
    connection.write(b"body").expect("the body is sent");
    assert_eq!(
        connection.read_response("POST").expect("an answer").status,
        200
    );
}
