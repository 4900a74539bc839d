//! Probes of servers on loopback.

use super::probe;
use crate::{Address, Ask, Check, Failure, Statuses, TargetKey, TcpConnect};
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

fn check(ask: Ask) -> Check {
    Check {
        ask,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        jitter: Duration::ZERO,
        healthy_threshold: NonZeroU32::MIN,
        unhealthy_threshold: NonZeroU32::MIN,
    }
}

fn http_of(host: Option<&str>, path: &str, expected: &[&str]) -> Ask {
    Ask::Http {
        host: host.map(|host| host.parse().unwrap()),
        path: path.parse().unwrap(),
        expected: Statuses::parse(expected).unwrap(),
    }
}

fn http() -> Ask {
    http_of(None, "/", &["200"])
}

fn grpc(service: &str) -> Ask {
    Ask::Grpc {
        host: None,
        service: service.into(),
    }
}

fn target(address: SocketAddr) -> TargetKey {
    TargetKey {
        host: "a.test".into(),
        port: 80,
        address: Address::Tcp(address),
    }
}

async fn ask(address: SocketAddr, ask: Ask) -> Result<(), Failure> {
    probe(&TcpConnect, &target(address), &check(ask)).await
}

/// A server that gives one answer and closes. What it was sent comes from the handle.
async fn server(answer: impl Into<Vec<u8>>) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.into();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n")
            && stream.read_buf(&mut request).await.unwrap() > 0
        {}
        // It may have seen enough.
        let _ = stream.write_all(&answer).await;
        String::from_utf8_lossy(&request).into_owned()
    });
    (address, serving)
}

#[track_caller]
fn check_why(result: Result<(), Failure>, want: &str) {
    let why = result.unwrap_err().chain();
    assert!(why.contains(want), "{why}");
}

#[tokio::test]
async fn an_expected_status_is_a_success() {
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", "200"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "200-299"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", "200"),
        ("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "503"),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "200",
        ),
    ] {
        let (address, _) = server(answer).await;
        let result = ask(address, http_of(None, "/", &[expected])).await;
        assert!(result.is_ok(), "{answer}: {result:?}");
    }
}

#[tokio::test]
async fn another_status_is_told() {
    let (address, _) = server("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await;
    check_why(ask(address, http()).await, "status 503");
}

#[tokio::test]
async fn the_request_names_path_and_host() {
    for (host, want) in [(None, "a.test"), (Some("b.test:8080"), "b.test:8080")] {
        let (address, request) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let asked = http_of(host, "/healthz?deep=1", &["200"]);
        ask(address, asked).await.unwrap();
        let request = request.await.unwrap();
        assert!(
            request.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains(&format!("\r\nhost: {want}\r\n")),
            "{request}"
        );
        assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
        assert!(
            request.contains("\r\nuser-agent: tidegate-health/"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_short_is_a_failure() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "",
    ] {
        let (address, _) = server(answer).await;
        check_why(ask(address, http()).await, "broken answer: ");
    }
}

#[tokio::test]
async fn no_more_is_read_than_a_little() {
    let endless_head = format!("HTTP/1.1 200 OK\r\na: {}", "a".repeat(64 * 1024));
    let (address, _) = server(endless_head).await;
    check_why(ask(address, http()).await, "broken answer: ");
    let long_body = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{}",
        "a".repeat(16 * 1024)
    );
    let (address, _) = server(long_body).await;
    ask(address, http()).await.unwrap();
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_told() {
    // Bound and not listening: nobody else gets the port meanwhile.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    for asked in [http(), grpc(""), Ask::Tcp] {
        check_why(ask(address, asked).await, "cannot connect: ");
    }
}

#[tokio::test]
async fn a_connection_is_enough_for_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ask(listener.local_addr().unwrap(), Ask::Tcp).await.unwrap();
}

#[tokio::test]
async fn unix_sockets_are_dialled_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let _listener = UnixListener::bind(&path).unwrap();
    let target = TargetKey {
        address: Address::Unix(path.to_str().unwrap().into()),
        ..target("127.0.0.1:1".parse().unwrap())
    };
    let result = probe(&TcpConnect, &target, &check(Ask::Tcp)).await;
    result.unwrap();
}

#[tokio::test]
async fn a_host_that_is_an_address_is_written_as_one() {
    let (address, request) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let target = TargetKey {
        host: "2001:db8::1".into(),
        ..target(address)
    };
    let result = probe(&TcpConnect, &target, &check(http())).await;
    result.unwrap();
    let request = request.await.unwrap();
    assert!(request.contains("\r\nhost: [2001:db8::1]\r\n"), "{request}");
}

/// What a gRPC server answers.
#[derive(Clone, Copy)]
struct GrpcAnswer {
    status: u16,
    message: &'static [u8],
    /// Absent: the stream ends without trailers.
    trailer: Option<&'static str>,
    /// Whether there is no message, and the trailers are the head.
    trailers_only: bool,
}

const SERVING: GrpcAnswer = GrpcAnswer {
    status: 200,
    message: b"\0\0\0\0\x02\x08\x01",
    trailer: Some("0"),
    trailers_only: false,
};

/// A server that answers one call. What was asked comes from the handle: the authority, and the message.
async fn grpc_server(answer: GrpcAnswer) -> (SocketAddr, JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["grpc-timeout"], "20000m");
        let authority = request.uri().authority().unwrap().to_string();
        let answering = async {
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(data) = body.data().await {
                message.extend_from_slice(&data.unwrap());
            }
            respond_with(&mut respond, answer);
            message
        };
        let driving = async { while connection.accept().await.is_some() {} };
        // The client closes when it has what it wants.
        let (message, ()) = tokio::join!(answering, driving);
        (authority, message)
    });
    (address, serving)
}

fn respond_with(respond: &mut h2::server::SendResponse<Bytes>, answer: GrpcAnswer) {
    let mut head = Response::builder().status(answer.status);
    let trailer = answer.trailer.map(|status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers
    });
    if answer.trailers_only {
        head.headers_mut().unwrap().extend(trailer.unwrap());
        respond.send_response(head.body(()).unwrap(), true).unwrap();
        return;
    }
    let mut body = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    let is_last = trailer.is_none();
    body.send_data(Bytes::from_static(answer.message), is_last)
        .unwrap();
    if let Some(trailers) = trailer {
        body.send_trailers(trailers).unwrap();
    }
}

#[tokio::test]
async fn grpc_is_asked_about_a_service() {
    for (service, want) in [("", &b"\0\0\0\0\0"[..]), ("a", b"\0\0\0\0\x03\x0a\x01a")] {
        let (address, asked) = grpc_server(SERVING).await;
        ask(address, grpc(service)).await.unwrap();
        assert_eq!(asked.await.unwrap(), ("a.test".to_owned(), want.to_vec()));
    }
}

#[tokio::test]
async fn grpc_has_to_be_serving() {
    static LONG: [u8; 9000] = [0; 9000];
    let message = |message| GrpcAnswer { message, ..SERVING };
    for (answer, want) in [
        (message(b"\0\0\0\0\x02\x08\x02"), "grpc NOT_SERVING"),
        (message(b"\0\0\0\0\x02\x08\x03"), "grpc SERVICE_UNKNOWN"),
        (message(b"\0\0\0\0\0"), "grpc UNKNOWN"),
        (message(b""), "broken answer: the message is not as long"),
        (message(&LONG), "broken answer: the message is longer"),
        (
            GrpcAnswer {
                trailer: Some("12"),
                ..SERVING
            },
            "grpc-status 12",
        ),
        (
            GrpcAnswer {
                trailer: Some("x"),
                ..SERVING
            },
            "grpc-status 2",
        ),
        (
            GrpcAnswer {
                trailer: Some("5"),
                trailers_only: true,
                ..SERVING
            },
            "grpc-status 5",
        ),
        (
            GrpcAnswer {
                trailer: Some("0"),
                trailers_only: true,
                ..SERVING
            },
            "broken answer: the message is not as long",
        ),
        (
            GrpcAnswer {
                trailer: None,
                ..SERVING
            },
            "broken answer: there is no grpc-status",
        ),
        (
            GrpcAnswer {
                status: 503,
                ..SERVING
            },
            "status 503",
        ),
    ] {
        let (address, _) = grpc_server(answer).await;
        check_why(ask(address, grpc("")).await, want);
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_http2_is_told() {
    let (address, _) = server("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
    check_why(ask(address, grpc("")).await, "broken answer: ");
}
