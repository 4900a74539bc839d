//! What does not end with one answer: WebSocket, gRPC, long bodies.

use crate::{SHOP, plain_shop, shop};
use e2e::{
    After, GrpcOrigin, Origin, Request, Setup, WebSocket, call_grpc, run, service_of,
    virtual_service, websocket_echo,
};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_websocket_is_passed_through() {
    let origin = Origin::serving(websocket_echo);
    let gateway = plain_shop(&[origin.port()]);
    let mut socket = WebSocket::open(gateway.http(), SHOP, "/chat");
    for number in 0..100 {
        let text = format!("message {number}");
        assert_eq!(socket.echo(&text).expect("an echo"), text);
    }
}

/// Nobody speaks until all of them are open: what ends at the handshake is noticed.
#[test]
fn many_websockets_that_are_silent_at_first_stay_open() {
    let origin = Origin::serving(websocket_echo);
    let gateway = plain_shop(&[origin.port()]);
    let mut sockets: Vec<_> = (0..300)
        .map(|_| WebSocket::open(gateway.http(), SHOP, "/chat"))
        .collect();
    let lost = sockets
        .iter_mut()
        .filter_map(|socket| socket.echo("hello").err())
        .count();
    assert_eq!(lost, 0, "WebSockets of 300 were cut");
}

/// Promise 15.
#[test]
fn a_websocket_outlives_the_timeout_of_its_route() {
    let origin = Origin::serving(websocket_echo);
    let rules = "- timeout: 0.3s\n  route: [{destination: {host: shop}}]\n";
    let gateway = shop(rules, &[("shop", &[origin.port()])]).start();
    let mut socket = WebSocket::open(gateway.http(), SHOP, "/");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(socket.echo("still here").expect("an echo"), "still here");
}

/// Promise 15. A minute is what several timeouts are made of.
#[test]
fn a_minute_of_silence_cuts_neither_a_websocket_nor_a_stream() {
    let chat = Origin::serving(websocket_echo);
    let (resume, waiting) = mpsc::channel::<()>();
    let waiting = Mutex::new(waiting);
    let events = Origin::serving(move |exchange| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        exchange.write(head.as_bytes())?;
        exchange.write(b"5\r\nfirst\r\n")?;
        let waiting = waiting.lock().map_err(|_| std::io::ErrorKind::Other)?;
        let _ = waiting.recv_timeout(Duration::from_secs(120));
        exchange.write(b"4\r\nlast\r\n0\r\n\r\n")?;
        Ok(After::Keep)
    });
    let rules = "\
- match: [{uri: {prefix: /chat}}]
  route: [{destination: {host: chat}}]
- route: [{destination: {host: events}}]
";
    let services: [(&str, &[u16]); 2] = [("chat", &[chat.port()]), ("events", &[events.port()])];
    let gateway = shop(rules, &services).start();
    let mut socket = WebSocket::open(gateway.http(), SHOP, "/chat");
    let mut stream = gateway.connect();
    stream
        .write(&Request::get(SHOP, "/events").bytes())
        .expect("the request is sent");
    assert_eq!(stream.read_head().expect("a head").status, 200);
    assert_eq!(
        stream.read_chunk().expect("a chunk").as_deref(),
        Some(&b"first"[..])
    );

    std::thread::sleep(Duration::from_secs(63));
    resume.send(()).expect("the origin waits");
    assert_eq!(
        stream.read_chunk().expect("a chunk").as_deref(),
        Some(&b"last"[..])
    );
    assert_eq!(stream.read_chunk().expect("the end"), None);
    assert_eq!(socket.echo("still here").expect("an echo"), "still here");
}

#[test]
fn the_first_byte_of_a_response_does_not_wait_for_the_last() {
    let (go_on, waiting) = mpsc::channel::<()>();
    let waiting = Mutex::new(waiting);
    let origin = Origin::serving(move |exchange| {
        exchange.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
        let waiting = waiting.lock().map_err(|_| std::io::ErrorKind::Other)?;
        waiting.recv_timeout(LIMIT).map_err(std::io::Error::other)?;
        exchange.write(b"4\r\nlast\r\n0\r\n\r\n")?;
        Ok(After::Keep)
    });
    let gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    connection
        .write(&Request::get(SHOP, "/").bytes())
        .expect("the request is sent");
    assert_eq!(connection.read_head().expect("a head").status, 200);
    assert_eq!(
        connection.read_chunk().expect("a chunk").as_deref(),
        Some(&b"first"[..])
    );
    go_on.send(()).expect("the origin waits");
    assert_eq!(
        connection.read_chunk().expect("a chunk").as_deref(),
        Some(&b"last"[..])
    );
    assert_eq!(connection.read_chunk().expect("the end"), None);
}

#[test]
fn the_first_byte_of_a_request_does_not_wait_for_the_last() {
    let (arrived, first_chunk) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    let origin = Origin::serving(move |exchange| {
        let mut length = 0;
        while let Some(chunk) = exchange.read_chunk()? {
            length += chunk.len();
            let arrived = arrived.lock().map_err(|_| std::io::ErrorKind::Other)?;
            arrived.send(chunk).map_err(std::io::Error::other)?;
        }
        let body = length.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        exchange.write(head.as_bytes())?;
        exchange.write(body.as_bytes())?;
        Ok(After::Close)
    });
    let gateway = plain_shop(&[origin.port()]);
    let mut connection = gateway.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: {SHOP}\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.write(head.as_bytes()).expect("the head is sent");
    connection
        .write(b"5\r\nfirst\r\n")
        .expect("a chunk is sent");
    assert_eq!(
        first_chunk.recv_timeout(LIMIT).expect("the chunk upstream"),
        b"first"
    );
    connection
        .write(b"4\r\nlast\r\n0\r\n\r\n")
        .expect("the rest is sent");
    assert_eq!(
        connection.read_response("POST").expect("an answer").text(),
        "9"
    );
}

/// Promise 17: memory does not follow the size of bodies.
#[test]
fn large_bodies_stream_both_ways_without_being_kept() {
    const MIB: usize = 1024 * 1024;
    let origin = Origin::serving(|exchange| {
        let mut length = 0;
        while let Some(chunk) = exchange.read_chunk()? {
            length += chunk.len();
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        exchange.write(head.as_bytes())?;
        let piece = vec![b'y'; MIB];
        for _ in 0..length / MIB {
            exchange.write(&piece)?;
        }
        Ok(After::Close)
    });
    let gateway = plain_shop(&[origin.port()]);
    assert_eq!(gateway.get("nobody.test", "/").status, 404);
    let before = gateway.resident_kib();
    let mut connection = gateway.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: {SHOP}\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.write(head.as_bytes()).expect("the head is sent");
    let mut chunk = format!("{MIB:x}\r\n").into_bytes();
    chunk.extend(vec![b'x'; MIB]);
    chunk.extend(b"\r\n");
    for _ in 0..96 {
        connection.write(&chunk).expect("a chunk is sent");
    }
    connection.write(b"0\r\n\r\n").expect("the end is sent");
    assert_eq!(connection.read_head().expect("a head").status, 200);
    let mut piece = vec![0; MIB];
    for _ in 0..96 {
        connection.read_exact(&mut piece).expect("the body");
        assert!(piece.iter().all(|byte| *byte == b'y'));
    }
    let grown = gateway.resident_kib().saturating_sub(before);
    assert!(
        grown < 32 * 1024,
        "grew by {grown} KiB over 192 MiB of bodies"
    );
}

fn greeter(origin: &GrpcOrigin) -> Setup {
    let rules = "- route: [{destination: {host: greeter}}]\n";
    Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("vs.yaml", virtual_service("greeter", SHOP, rules))
        .file(
            "greeter.yaml",
            service_of("greeter", "grpc", 8000, &[origin.port()]),
        )
}

#[test]
fn grpc_keeps_its_trailers() {
    let origin = GrpcOrigin::start();
    let gateway = greeter(&origin).start();
    let reply = call_grpc(gateway.http(), SHOP, "/greeter.Greeter/Hello", b"hello");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body.as_ref(), b"\0\0\0\0\x05hello");
    assert_eq!(reply.grpc_status(), Some("0"));
    assert_eq!(
        reply
            .trailers
            .get("x-served-path")
            .map(|path| path.as_bytes()),
        Some(&b"/greeter.Greeter/Hello"[..])
    );
    assert_eq!(
        reply
            .headers
            .get("x-served-version")
            .map(|version| version.as_bytes()),
        Some(&b"HTTP/2.0"[..])
    );
}

#[test]
fn what_the_gateway_itself_says_to_grpc_is_shaped_like_grpc() {
    let gateway = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file(
            "vs.yaml",
            virtual_service(
                "greeter",
                SHOP,
                "- route: [{destination: {host: greeter}}]\n",
            ),
        )
        .file("greeter.yaml", service_of("greeter", "grpc", 8000, &[]))
        .start();
    let unhealthy = call_grpc(gateway.http(), SHOP, "/a.B/C", b"");
    assert_eq!(
        (unhealthy.status.as_u16(), unhealthy.grpc_status()),
        (200, Some("14"))
    );
    let unknown = call_grpc(gateway.http(), "other.test", "/a.B/C", b"");
    assert_eq!(
        (unknown.status.as_u16(), unknown.grpc_status()),
        (200, Some("12"))
    );
}

#[test]
fn http2_without_tls_is_spoken_to_real_clients() {
    let origin = Origin::named("shop");
    let gateway = plain_shop(&[origin.port()]);
    let host = format!("Host: {SHOP}");
    let write = "%{http_version} %{http_code}";
    let url = gateway.url("/");
    let arguments = [
        "-s",
        "--http2-prior-knowledge",
        "-o",
        "/dev/null",
        "-w",
        write,
        "-H",
        &host,
    ];
    let ran = run("curl", &[&arguments[..], &[url.as_str()]].concat());
    assert_eq!(ran.stdout, "2 200", "{}", ran.stderr);
}

#[test]
fn many_streams_share_connections_on_both_sides() {
    let origin = GrpcOrigin::start();
    let gateway = greeter(&origin).start();
    let url = gateway.url("/greeter.Greeter/Hello");
    let authority = format!(":authority: {SHOP}");
    let flags = ["-n", "600", "-c", "3", "-m", "20", "-H", &authority];
    let typed = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
    let ran = run("h2load", &[&flags[..], &typed, &[url.as_str()]].concat());
    assert!(
        ran.stdout.contains("600 succeeded, 0 failed, 0 errored"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("status codes: 600 2xx"),
        "{}",
        ran.stdout
    );
    assert_eq!(origin.hits(), 600);
    assert!(
        origin.connections() <= 60,
        "{} upstream connections",
        origin.connections()
    );
}
