//! HTTP/2 with prior knowledge, and gRPC on it.

use super::eventually;
use super::gateway::{Gateway, Rules};
use super::origin::{Origin, ok};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use rules::{ConnectionPool, Predicate, UpstreamProtocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};

/// An upstream that echoes bodies and ends with trailers; it refuses as many streams as it is told first.
pub(super) struct Http2Origin {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    pub(super) streams: Arc<AtomicUsize>,
}

impl Http2Origin {
    pub(super) async fn start(refused: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Self {
            address,
            connections: Arc::default(),
            streams: Arc::default(),
        };
        let (connections, streams) = (origin.connections.clone(), origin.streams.clone());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, SeqCst);
                tokio::spawn(serve(socket, streams.clone(), refused));
            }
        });
        origin
    }
}

async fn serve(socket: TcpStream, streams: Arc<AtomicUsize>, refused: usize) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if streams.fetch_add(1, SeqCst) < refused {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            continue;
        }
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let authority = request.uri().authority().unwrap().to_string();
            let mut body = request.into_body();
            let response = Response::builder()
                .header("x-path", path)
                .header("x-authority", authority);
            let response = response
                .header("content-type", "application/grpc")
                .body(())
                .unwrap();
            let mut stream = respond.send_response(response, false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
                // The h2 crate takes many frames without data for an attack.
                if !data.is_empty() {
                    stream.send_data(data, false).unwrap();
                }
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "5".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        });
    }
}

/// What a client got: the head, the body and the trailers.
pub(super) struct Answer {
    pub(super) head: Response<()>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended_with_head: bool,
}

pub(super) type Sender = h2::client::SendRequest<Bytes>;

pub(super) async fn connect(gateway: &Gateway) -> Sender {
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) async fn ask(sender: &Sender, method: Method, path: &str, body: &'static str) -> Answer {
    exchange(sender, method, path, body, None).await
}

/// Asks with trailers behind the body, as large as it is.
async fn ask_with_trailers(sender: &Sender, body: &'static str) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "1".parse().unwrap());
    exchange(sender, Method::POST, "/", body, Some(trailers)).await
}

async fn exchange(
    sender: &Sender,
    method: Method,
    path: &str,
    body: &'static str,
    trailers: Option<HeaderMap>,
) -> Answer {
    let mut sender = sender.clone().ready().await.unwrap();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://shop.test{path}"));
    let request = request
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let ends = trailers.is_none();
    let (response, mut stream) = sender
        .send_request(request, body.is_empty() && ends)
        .unwrap();
    if !body.is_empty() {
        let body = Bytes::from_static(body.as_bytes());
        stream.send_data(body, ends).unwrap();
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).unwrap();
    }
    let (head, mut stream) = response.await.unwrap().into_parts();
    let ended_with_head = stream.is_end_stream();
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await.unwrap();
    Answer {
        head: Response::from_parts(head, ()),
        body,
        trailers,
        ended_with_head,
    }
}

async fn grpc_gateway(origin: &Http2Origin) -> Gateway {
    let mut rules = Rules::default();
    let cluster = rules.cluster("grpc", UpstreamProtocol::Http2, &[origin.address]);
    rules.route(Predicate::default(), cluster, |_| {});
    rules.start().await
}

#[tokio::test]
async fn grpc_passes_with_body_and_trailers() {
    let origin = Http2Origin::start(0).await;
    let gateway = grpc_gateway(&origin).await;
    let sender = connect(&gateway).await;
    let answer = ask(&sender, Method::POST, "/s/m", "message").await;
    assert_eq!(answer.head.status(), 200);
    assert_eq!(answer.head.headers()["x-path"], "/s/m");
    assert_eq!(answer.head.headers()["x-authority"], "shop.test");
    assert_eq!(answer.head.headers()["server"], "istio-envoy");
    assert_eq!(answer.body, b"message");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "5");
    gateway
        .logs(r#""POST /s/m HTTP/2" 200 - via_upstream "#)
        .await;
    let metrics = gateway.shared.metrics.text();
    assert!(metrics.contains(r#"grpc_response_status="5""#), "{metrics}");
}

#[tokio::test]
async fn streams_share_a_connection_upstream() {
    let origin = Http2Origin::start(0).await;
    let gateway = grpc_gateway(&origin).await;
    let sender = connect(&gateway).await;
    ask(&sender, Method::POST, "/", "first").await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let sender = sender.clone();
        asking.spawn(async move { ask(&sender, Method::POST, "/", "x").await.body });
    }
    assert!(asking.join_all().await.iter().all(|body| body == b"x"));
    assert_eq!(origin.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_refused_stream_is_retried_by_default() {
    let origin = Http2Origin::start(1).await;
    let gateway = grpc_gateway(&origin).await;
    let answer = ask(&connect(&gateway).await, Method::POST, "/", "x").await;
    assert_eq!(
        (answer.head.status().as_u16(), answer.body.as_slice()),
        (200, &b"x"[..])
    );
    assert_eq!(origin.streams.load(SeqCst), 2);
}

/// Pingora asks for more of such a body without end, and whoever shares its thread waits for ever.
#[tokio::test]
async fn a_request_may_have_trailers() {
    for (refused, body) in [(0, "message"), (0, ""), (1, "message"), (1, "")] {
        let origin = Http2Origin::start(refused).await;
        let gateway = grpc_gateway(&origin).await;
        let sender = connect(&gateway).await;
        let answer = ask_with_trailers(&sender, body).await;
        assert_eq!(answer.head.status(), 200, "{refused} {body}");
        assert_eq!(answer.body, body.as_bytes(), "{refused}");
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "5", "{refused}");
        gateway.logs(r#""POST / HTTP/2" 200 - via_upstream "#).await;
        let next = ask(&sender, Method::POST, "/", "next").await;
        assert_eq!(next.body, b"next");
    }
}

#[tokio::test]
async fn a_request_with_trailers_reaches_an_http1_upstream() {
    let origin = Origin::answering(ok("one")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let sender = connect(&gateway).await;
    for body in ["message", ""] {
        let answer = ask_with_trailers(&sender, body).await;
        assert_eq!(
            (answer.head.status().as_u16(), &*answer.body),
            (200, &b"one"[..])
        );
    }
}

/// A cluster in HTTP/2 whose one endpoint is the test itself.
fn rules_to(endpoint: &TcpListener) -> Rules {
    let mut rules = Rules::default();
    let address = endpoint.local_addr().unwrap();
    let cluster = rules.cluster("grpc", UpstreamProtocol::Http2, &[address]);
    rules.route(Predicate::default(), cluster, |_| {});
    rules
}

#[tokio::test]
async fn a_client_that_goes_after_its_trailers_is_noticed() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rules = rules_to(&silent);
    let gateway = rules.start().await;
    let sender = connect(&gateway).await;
    let asking = tokio::spawn(async move { ask_with_trailers(&sender, "message").await.head });
    let (upstream, _) = silent.accept().await.unwrap();
    let mut upstream = h2::server::handshake(upstream).await.unwrap();
    let (request, _respond) = upstream.accept().await.unwrap().unwrap();
    tokio::spawn(async move { upstream.accept().await.is_none() });
    assert_eq!(
        request.into_body().data().await.unwrap().unwrap(),
        "message"
    );
    asking.abort();
    gateway.logs(r#""POST / HTTP/2" 0 DC "#).await;
}

/// What is written to such an endpoint waits for ever, and with it whoever would hear that the client has gone.
#[tokio::test]
async fn an_upload_that_nobody_takes_comes_to_an_end() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut rules = rules_to(&deaf);
    rules.settings.stream_idle_timeout = Duration::from_millis(100);
    let gateway = rules.start().await;
    let sender = connect(&gateway).await;
    let body: &str = Box::leak("x".repeat(200_000).into());
    let asking = tokio::spawn(async move { ask(&sender, Method::POST, "/", body).await.head });
    let (upstream, _) = deaf.accept().await.unwrap();
    let mut upstream = h2::server::handshake(upstream).await.unwrap();
    let (request, _respond) = upstream.accept().await.unwrap().unwrap();
    let serving = tokio::spawn(async move { upstream.accept().await.is_none() });
    // A 504, as it is told in gRPC.
    assert_eq!(asking.await.unwrap().headers()["grpc-status"], "14");
    gateway.logs(r#""POST / HTTP/2" 200 UT "#).await;
    let mut body = request.into_body();
    let ended = loop {
        match body.data().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(ended.reason(), Some(h2::Reason::CANCEL));
    serving.abort();
}

#[tokio::test]
async fn a_local_answer_to_grpc_is_trailers_only() {
    let gateway = Rules::to(&[]).start().await;
    let answer = ask(&connect(&gateway).await, Method::POST, "/", "").await;
    assert_eq!(answer.head.status(), 200);
    assert_eq!(answer.head.headers()["grpc-status"], "14");
    assert!(answer.ended_with_head);
}

#[tokio::test]
async fn an_http2_client_reaches_an_http1_upstream() {
    let origin = Origin::answering(ok("one")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let answer = ask(&connect(&gateway).await, Method::GET, "/a/../b", "").await;
    assert_eq!(
        (answer.head.status().as_u16(), answer.body.as_slice()),
        (200, &b"one"[..])
    );
    assert_eq!(origin.request(0).start_line(), "GET /b HTTP/1.1");
    assert_eq!(origin.request(0).header("host").unwrap(), "shop.test");
}

#[tokio::test]
async fn a_cluster_that_speaks_as_its_client_gets_http2_from_an_http2_client() {
    let origin = Http2Origin::start(0).await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("any", UpstreamProtocol::AsClient, &[origin.address]);
    rules.route(Predicate::default(), cluster, |_| {});
    let gateway = rules.start().await;
    let answer = ask(&connect(&gateway).await, Method::POST, "/s/m", "message").await;
    assert_eq!(answer.body, b"message");
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "5");
}

#[tokio::test]
async fn a_cluster_that_speaks_as_its_client_gets_http1_from_an_http1_client() {
    let origin = Origin::answering(ok("one")).await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("any", UpstreamProtocol::AsClient, &[origin.address]);
    rules.route(Predicate::default(), cluster, |_| {});
    let gateway = rules.start().await;
    assert_eq!(gateway.get("/").await.status(), 200);
    assert_eq!(origin.request(0).start_line(), "GET / HTTP/1.1");
}

#[tokio::test]
async fn a_cookie_in_pieces_is_one_header_upstream() {
    let origin = Origin::answering(ok("one")).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut sender = connect(&gateway).await.ready().await.unwrap();
    let request = Request::builder().uri("http://shop.test/");
    let request = request.header("cookie", "a=1").header("cookie", "b=2");
    let (response, _) = sender
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    assert_eq!(origin.request(0).header("cookie").unwrap(), "a=1; b=2");
}

#[tokio::test]
async fn an_upstream_that_resets_within_the_body_resets_the_stream() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let origin = Origin::answering(super::origin::Act::SendAndClose(partial.into())).await;
    let gateway = Rules::to(&[origin.address]).start().await;
    let mut sender = connect(&gateway).await.ready().await.unwrap();
    let request = Request::builder()
        .uri("http://shop.test/")
        .body(())
        .unwrap();
    let (response, _) = sender.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut end = body.data().await;
    while let Some(Ok(_)) = end {
        end = body.data().await;
    }
    assert!(
        end.is_some_and(|end| end.is_err()),
        "the stream must not end as if it were whole"
    );
    gateway.logs(" 200 UC ").await;
}

async fn limited(origins: &[&Http2Origin], change: impl FnOnce(&mut ConnectionPool)) -> Gateway {
    limited_as(UpstreamProtocol::Http2, origins, change).await
}

async fn limited_as(
    protocol: UpstreamProtocol,
    origins: &[&Http2Origin],
    change: impl FnOnce(&mut ConnectionPool),
) -> Gateway {
    let endpoints: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let mut rules = Rules::default();
    let cluster = rules.cluster_with("grpc", protocol, &endpoints, |cluster| {
        change(&mut cluster.pool);
    });
    rules.route(Predicate::default(), cluster, |_| {});
    rules.start().await
}

/// So many requests at the same time, which are all served.
async fn all_at_once(sender: &Sender, requests: usize) {
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..requests {
        let sender = sender.clone();
        asked.spawn(async move { ask(&sender, Method::POST, "/", "m").await });
    }
    for answer in asked.join_all().await {
        assert_eq!(answer.body, b"m");
    }
}

fn open(gateway: &Gateway) -> usize {
    gateway.cluster().kept.connections.open()
}

#[tokio::test]
async fn a_connection_that_has_served_its_requests_makes_room_for_the_next() {
    let origin = Http2Origin::start(0).await;
    let gateway = limited(&[&origin], |pool| {
        pool.max_connections = Some(1);
        pool.max_requests_per_connection = Some(2);
    })
    .await;
    let sender = connect(&gateway).await;
    for _ in 0..8 {
        assert_eq!(ask(&sender, Method::POST, "/", "m").await.body, b"m");
    }
    assert_eq!(origin.connections.load(SeqCst), 4);
}

#[tokio::test]
async fn first_requests_that_come_together_share_the_only_connection() {
    let origin = Http2Origin::start(0).await;
    let gateway = limited(&[&origin], |pool| pool.max_connections = Some(1)).await;
    let sender = connect(&gateway).await;
    all_at_once(&sender, 10).await;
    assert_eq!(origin.connections.load(SeqCst), 1);
}

/// Under load too, when requests look for the connection all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_only_connection_is_found_whoever_else_looks_for_it() {
    let origin = Http2Origin::start(0).await;
    let gateway = limited(&[&origin], |pool| {
        pool.max_connections = Some(1);
        pool.connect_timeout = Duration::from_millis(200);
    })
    .await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let sender = connect(&gateway).await;
        clients.spawn(async move {
            for _ in 0..50 {
                assert_eq!(ask(&sender, Method::POST, "/", "m").await.body, b"m");
            }
        });
    }
    clients.join_all().await;
    assert_eq!(origin.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn a_cluster_that_speaks_as_its_client_counts_connections_and_not_requests() {
    let origin = Http2Origin::start(0).await;
    let gateway = limited_as(UpstreamProtocol::AsClient, &[&origin], |pool| {
        pool.max_connections = Some(1);
        pool.max_pending_requests = Some(1);
    })
    .await;
    let sender = connect(&gateway).await;
    all_at_once(&sender, 20).await;
    assert_eq!(origin.connections.load(SeqCst), 1);
}

#[tokio::test]
async fn requests_beyond_all_streams_wait_or_overflow_and_their_clients_may_leave() {
    let origin = Http2Origin::start(0).await;
    let gateway = limited(&[&origin], |pool| {
        pool.max_connections = Some(1);
        pool.max_pending_requests = Some(1);
        pool.max_concurrent_streams = Some(1);
    })
    .await;
    let sender = connect(&gateway).await;
    let (_first, _open_body) = begin(&sender, false).await;
    eventually("it is on its way", || open(&gateway) == 1).await;
    let (waiting, _) = begin(&sender, true).await;
    let pending = || gateway.cluster().usage().pending;
    eventually("one waits", || pending() == 1).await;
    let refused = ask(&sender, Method::GET, "/", "").await;
    assert_eq!(refused.head.headers()["x-envoy-overloaded"], "true");
    drop(waiting);
    eventually("nobody waits", || pending() == 0).await;
}

/// A request that is not waited for. `ends`: it has no body.
async fn begin(sender: &Sender, ends: bool) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let mut sender = sender.clone().ready().await.unwrap();
    let request = Request::builder().method(Method::POST);
    let request = request.uri("http://shop.test/").body(()).unwrap();
    sender.send_request(request, ends).unwrap()
}

/// As from Envoy: an endpoint without a connection gets one although others have all that there may be.
#[tokio::test]
async fn the_limit_of_connections_starves_no_endpoint() {
    let origins = [Http2Origin::start(0).await, Http2Origin::start(0).await];
    let gateway = limited(&[&origins[0], &origins[1]], |pool| {
        pool.max_connections = Some(1);
    })
    .await;
    let sender = connect(&gateway).await;
    all_at_once(&sender, 20).await;
}

#[tokio::test]
async fn an_idle_connection_ends_with_its_time_or_its_endpoint() {
    let origin = Http2Origin::start(0).await;
    let mut gateway = limited(&[&origin], |_| {}).await;
    let sender = connect(&gateway).await;
    ask(&sender, Method::POST, "/", "m").await;
    assert_eq!(open(&gateway), 1);
    let before = gateway.cluster();
    gateway.replace_endpoints(&[]);
    eventually("it ends", || before.kept.connections.open() == 0).await;

    let gateway = limited(&[&origin], |pool| {
        pool.max_connection_duration = Some(Duration::from_millis(50));
    })
    .await;
    let sender = connect(&gateway).await;
    ask(&sender, Method::POST, "/", "m").await;
    eventually("it ends", || open(&gateway) == 0).await;
}
