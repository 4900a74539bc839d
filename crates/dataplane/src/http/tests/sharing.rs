//! Connections in HTTP/2 that many requests share: none is lost, and none is made in vain.

use super::eventually;
use super::gateway::{Gateway, Rules};
use super::http2::{ask, connect};
use super::origin::{Origin, ok};
use bytes::Bytes;
use http::{Method, Request, Response};
use rules::{ClusterTarget, ConnectionPool, Mirror, PartsPerMillion, Predicate, UpstreamProtocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How a server answers.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Streams that it allows.
    allows: u32,
    after: Duration,
    /// Its answers have an end.
    ends: bool,
}

pub(super) const PLAIN: Manner = Manner {
    allows: 100,
    after: Duration::ZERO,
    ends: true,
};

/// A server, and what it has seen.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) made: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(super) async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            made: Arc::default(),
            open: Arc::default(),
            requests: Arc::default(),
        };
        let (made, open) = (server.made.clone(), server.open.clone());
        let requests = server.requests.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                made.fetch_add(1, SeqCst);
                open.fetch_add(1, SeqCst);
                let (open, requests) = (open.clone(), requests.clone());
                tokio::spawn(async move {
                    serve(socket, manner, requests).await;
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        server
    }
}

async fn serve(socket: TcpStream, manner: Manner, requests: Arc<AtomicUsize>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(manner.allows);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(socket).await else {
        return;
    };
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        requests.fetch_add(1, SeqCst);
        tokio::spawn(async move {
            tokio::time::sleep(manner.after).await;
            let response = Response::builder().body(()).unwrap();
            let Ok(mut stream) = respond.send_response(response, false) else {
                return;
            };
            let _ = stream.send_data(Bytes::from_static(b"x"), manner.ends);
            if !manner.ends {
                std::future::pending::<()>().await;
            }
        });
    }
}

async fn gateway(
    server: &Server,
    timeout: Option<Duration>,
    change: impl FnOnce(&mut ConnectionPool),
) -> Gateway {
    let mut rules = Rules::default();
    let endpoints = [server.address];
    let protocol = UpstreamProtocol::Http2;
    let cluster = rules.cluster_with("shop", protocol, &endpoints, |cluster| {
        change(&mut cluster.pool);
    });
    rules.route(Predicate::default(), cluster, |action| {
        action.timeout = timeout;
    });
    rules.start().await
}

/// So many clients at the same time, with so many requests each, all of which are served.
async fn load(gateway: &Gateway, clients: usize, requests: usize) {
    let sender = connect(gateway).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let sender = sender.clone();
        asking.spawn(async move {
            for _ in 0..requests {
                assert_eq!(ask(&sender, Method::GET, "/", "").await.head.status(), 200);
            }
        });
    }
    asking.join_all().await;
}

fn counted(gateway: &Gateway) -> usize {
    gateway.cluster().usage().connections
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_that_have_served_their_requests_are_gone() {
    let server = Server::start(PLAIN).await;
    let gateway = gateway(&server, None, |pool| {
        pool.max_requests_per_connection = Some(10);
        pool.max_connections = Some(4);
        pool.max_concurrent_streams = Some(8);
    })
    .await;
    load(&gateway, 40, 25).await;
    assert!(server.made.load(SeqCst) >= 100);
    eventually("hardly any is left", || {
        let counted = counted(&gateway);
        counted <= 1 && counted == server.open.load(SeqCst)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn idle_connections_are_gone_after_their_time() {
    let server = Server::start(PLAIN).await;
    let gateway = gateway(&server, None, |pool| {
        pool.max_concurrent_streams = Some(4);
        pool.idle_timeout = Duration::from_millis(50);
    })
    .await;
    load(&gateway, 40, 5).await;
    eventually("none is left", || {
        (counted(&gateway), server.open.load(SeqCst)) == (0, 0)
    })
    .await;
}

/// The future of such a request is dropped, and Pingora's part in it with it.
#[tokio::test]
async fn a_request_that_is_cut_leaves_no_connection_behind() {
    let endless = Manner {
        ends: false,
        ..PLAIN
    };
    let server = Server::start(endless).await;
    let timeout = Some(Duration::from_millis(50));
    let gateway = gateway(&server, timeout, |pool| {
        pool.idle_timeout = Duration::from_millis(50);
    })
    .await;
    let mut sender = connect(&gateway).await.ready().await.unwrap();
    let request = Request::builder().uri("http://shop.test/");
    let (response, _) = sender
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    let mut body = response.await.unwrap().into_body();
    while let Some(Ok(_)) = body.data().await {}
    eventually("none is left", || {
        (counted(&gateway), server.open.load(SeqCst)) == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_allows_few_requests_gets_no_more_on_one_connection() {
    let small = Manner {
        allows: 2,
        after: Duration::from_millis(100),
        ends: true,
    };
    let server = Server::start(small).await;
    let gateway = gateway(&server, None, |_| {}).await;
    load(&gateway, 1, 1).await;
    load(&gateway, 20, 1).await;
    assert_eq!(server.made.load(SeqCst), 10);
}

#[tokio::test]
async fn copies_share_connections_and_all_arrive() {
    let small = Manner {
        allows: 2,
        after: Duration::from_millis(20),
        ends: true,
    };
    let (real, shadow) = (
        Origin::answering(ok("real")).await,
        Server::start(small).await,
    );
    let mut rules = Rules::default();
    let copies = rules.cluster("shadow", UpstreamProtocol::Http2, &[shadow.address]);
    let cluster = rules.cluster("shop", UpstreamProtocol::Http1, &[real.address]);
    rules.route(Predicate::default(), cluster, |action| {
        action.mirrors = vec![Mirror {
            cluster: ClusterTarget::Cluster(copies),
            share: PartsPerMillion(1_000_000),
        }];
    });
    let gateway = rules.start().await;
    gateway.get("/").await;
    eventually("the first has come", || shadow.requests.load(SeqCst) == 1).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        asking.spawn(gateway.begin("/").await);
    }
    asking.join_all().await;
    eventually("all have come", || shadow.requests.load(SeqCst) == 21).await;
}

/// An endpoint that takes no connection, as its queue is full.
async fn silent() -> (TcpSocketListener, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    loop {
        let connecting = TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(connected) => queue.push(connected.unwrap()),
            Err(_) => return ((listener, queue), address),
        }
    }
}

type TcpSocketListener = (TcpListener, Vec<TcpStream>);

/// Requests that wait for one connection do not wait for each other.
#[tokio::test]
async fn the_time_for_a_try_bounds_the_wait_for_a_connection() {
    let (_silent, address) = silent().await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("shop", UpstreamProtocol::Http2, &[address]);
    rules.route(Predicate::default(), cluster, |action| {
        action.retry.attempts = 0;
        action.retry.per_try_timeout = Some(Duration::from_millis(100));
    });
    let gateway = rules.start().await;
    let began = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        asking.spawn(gateway.begin("/").await);
    }
    for answer in asking.join_all().await {
        assert!(answer.status() >= 503, "{}", answer.status());
    }
    // One after the other they would take 2 s.
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}
