//! What a DestinationRule asks for: limits, ejection, affinity, the life of connections.

use super::client::{Message, get};
use super::eventually;
use super::gateway::{Gateway, Rules, prefix, retries};
use super::origin::{Act, Origin, ok, respond};
use http::HeaderName;
use model::{HashAlgorithm, HashCookie, OutlierDetection, RetryBudget};
use rules::{Cluster, ConnectionPool, HashKey, LoadBalancing, Predicate, UpstreamProtocol};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// One route to a cluster changed as the case wants.
async fn gateway(endpoints: &[SocketAddr], change: impl FnOnce(&mut Cluster)) -> Gateway {
    gateway_with(endpoints, change, |_| {}).await
}

async fn gateway_with(
    endpoints: &[SocketAddr],
    change: impl FnOnce(&mut Cluster),
    action: impl FnOnce(&mut rules::ForwardAction),
) -> Gateway {
    let mut rules = Rules::default();
    let cluster = rules.cluster_with("shop", UpstreamProtocol::Http1, endpoints, change);
    rules.route(Predicate::default(), cluster, action);
    rules.start().await
}

fn pool(cluster: &mut Cluster, change: impl FnOnce(&mut ConnectionPool)) {
    change(&mut cluster.pool);
}

/// An origin whose answers wait until the test lets them go, one for each permit.
async fn held() -> (Origin, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Origin::gated(gate.clone(), ok("")).await;
    (origin, gate)
}

fn overflowed(answer: &Message) -> bool {
    let body = "upstream connect error or disconnect/reset before headers. reset reason: overflow";
    answer.status() == 503
        && answer.header("x-envoy-overloaded").as_deref() == Some("true")
        && answer.body == body
}

/// The seed's circuit breaker: one connection, one request that waits.
#[tokio::test]
async fn one_request_is_served_one_waits_and_the_third_is_too_many() {
    let (origin, gate) = held().await;
    let gateway = gateway(&[origin.address], |cluster| {
        pool(cluster, |pool| {
            pool.max_connections = Some(1);
            pool.max_pending_requests = Some(1);
        });
    })
    .await;
    let first = gateway.begin("/first").await;
    eventually("what is expected", || origin.hits() == 1).await;
    let second = gateway.begin("/second").await;
    let usage = || gateway.cluster().usage();
    eventually("what is expected", || usage().pending == 1).await;
    let mut client = gateway.client().await;
    let third = client.ask(&get("/third")).await;
    assert!(overflowed(&third), "{third:?}");
    // The client's connection is as good as before.
    assert!(overflowed(&client.ask(&get("/fourth")).await));
    gate.add_permits(2);
    assert_eq!((first.await.status(), second.await.status()), (200, 200));
    assert_eq!((origin.hits(), origin.connections()), (2, 1));
    eventually("what is expected", || {
        usage().requests == 0 && usage().pending == 0
    })
    .await;
    gateway
        .logs(" 503 UO upstream_reset_before_response_started{overflow} ")
        .await;
    let metrics = gateway.shared.metrics.text();
    let overflow = r#"limit="pending"} 2"#;
    assert!(metrics.contains(overflow), "{metrics}");
}

#[tokio::test]
async fn a_wait_for_a_connection_ends_with_the_route_s_timeout() {
    let (origin, _gate) = held().await;
    let mut rules = Rules::default();
    let endpoints = [origin.address];
    let cluster = rules.cluster_with("shop", UpstreamProtocol::Http1, &endpoints, |cluster| {
        pool(cluster, |pool| pool.max_connections = Some(1));
    });
    rules.route(prefix("/first"), cluster.clone(), |_| {});
    rules.route(Predicate::default(), cluster, |action| {
        action.timeout = Some(Duration::from_millis(80));
    });
    let gateway = rules.start().await;
    let _first = gateway.begin("/first").await;
    eventually("what is expected", || origin.hits() == 1).await;
    let second = gateway.get("/second").await;
    assert_eq!((second.status(), origin.hits()), (504, 1));
}

#[tokio::test]
async fn requests_beyond_their_limit_are_refused() {
    let (origin, gate) = held().await;
    let gateway = gateway(&[origin.address], |cluster| {
        pool(cluster, |pool| pool.max_requests = Some(2));
    })
    .await;
    let under_way = [gateway.begin("/1").await, gateway.begin("/2").await];
    eventually("what is expected", || origin.hits() == 2).await;
    assert!(overflowed(&gateway.get("/3").await));
    gate.add_permits(2);
    for one in under_way {
        assert_eq!(one.await.status(), 200);
    }
    gate.add_permits(1);
    assert_eq!(gateway.get("/4").await.status(), 200);
}

/// An idle connection to one endpoint makes room for one to another.
#[tokio::test]
async fn connections_that_wait_in_the_pool_count_and_make_room() {
    let origins = [
        Origin::answering(ok("a")).await,
        Origin::answering(ok("b")).await,
    ];
    let endpoints = origins.each_ref().map(|origin| origin.address);
    let gateway = gateway(&endpoints, |cluster| {
        pool(cluster, |pool| pool.max_connections = Some(1));
    })
    .await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/").await.status(), 200);
        let open = origins.iter().map(Origin::open).sum::<usize>();
        assert!(open <= 1, "{open} connections are open");
    }
    assert!(origins.iter().all(|origin| origin.hits() == 3));
}

#[tokio::test]
async fn a_connection_is_closed_after_as_many_requests_as_it_may_have() {
    let origin = Origin::answering(ok("")).await;
    let gateway = gateway(&[origin.address], |cluster| {
        pool(cluster, |pool| pool.max_requests_per_connection = Some(2));
    })
    .await;
    for _ in 0..6 {
        assert_eq!(gateway.get("/").await.status(), 200);
    }
    let closing = (0..6).map(|number| origin.request(number).header("connection").is_some());
    assert_eq!(
        closing.collect::<Vec<_>>(),
        [false, true, false, true, false, true]
    );
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn one_request_a_connection_means_no_connection_is_kept() {
    let origin = Origin::answering(ok("")).await;
    let gateway = gateway(&[origin.address], |cluster| {
        pool(cluster, |pool| pool.max_requests_per_connection = Some(1));
    })
    .await;
    for number in 0..3 {
        assert_eq!(gateway.get("/").await.status(), 200);
        assert_eq!(
            origin.request(number).header("connection").as_deref(),
            Some("close")
        );
    }
    assert_eq!(origin.connections(), 3);
    eventually("what is expected", || origin.open() == 0).await;
}

#[tokio::test]
async fn an_idle_connection_ends_when_it_is_too_old() {
    let origin = Origin::answering(ok("")).await;
    let gateway = gateway(&[origin.address], |cluster| {
        pool(cluster, |pool| {
            pool.max_connection_duration = Some(Duration::from_millis(60))
        });
    })
    .await;
    assert_eq!(gateway.get("/").await.status(), 200);
    eventually("what is expected", || origin.open() == 0).await;
    assert_eq!(gateway.get("/").await.status(), 200);
}

#[tokio::test]
async fn connections_to_an_endpoint_that_is_gone_are_closed() {
    let (old, new) = (
        Origin::answering(ok("old")).await,
        Origin::answering(ok("new")).await,
    );
    let mut gateway = gateway(&[old.address], |_| {}).await;
    assert_eq!(gateway.get("/").await.body, "old");
    gateway.replace_endpoints(&[new.address]);
    eventually("what is expected", || old.open() == 0).await;
    assert_eq!(gateway.get("/").await.body, "new");
}

fn outliers(failures: u32, base: Duration) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx_errors: failures,
        interval: Duration::from_millis(100),
        base_ejection_time: base,
        max_ejection_percent: 100,
        ..OutlierDetection::default()
    }
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_websocket_that_gets_no_answer_counts_against_its_endpoint() {
    let closing = Origin::answering(Act::Close).await;
    let gateway = gateway(&[closing.address], |cluster| {
        cluster.outlier_detection = Some(outliers(1, LONG));
    })
    .await;
    let handshake = "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(gateway.ask(handshake).await.status(), 503);
    assert_eq!(gateway.cluster().ejected(), 1);
    assert_eq!(gateway.cluster().endpoints.members()[0].state.failed(), 1);
}

/// As when an endpoint is ejected while the next configuration is put in force.
#[tokio::test]
async fn an_ejection_that_the_endpoints_in_force_missed_is_made_up_for() {
    let origin = Origin::answering(ok("")).await;
    let gateway = gateway(&[origin.address], |cluster| {
        cluster.outlier_detection = Some(outliers(1, LONG));
    })
    .await;
    let cluster = gateway.cluster();
    cluster.endpoints.members()[0].state.set_unhealthy(true);
    assert!(cluster.endpoints.in_rotation(0));
    eventually("it is out", || !cluster.endpoints.in_rotation(0)).await;
}

#[tokio::test]
async fn an_endpoint_that_fails_gets_nothing_more() {
    let (bad, good) = (
        Origin::answering(respond(500, "", "")).await,
        Origin::answering(ok("good")).await,
    );
    let gateway = gateway(&[bad.address, good.address], |cluster| {
        cluster.outlier_detection = Some(outliers(2, LONG));
    })
    .await;
    for _ in 0..20 {
        gateway.get("/").await;
    }
    assert_eq!((bad.hits(), good.hits()), (2, 18));
    let metrics = gateway.shared.metrics.text();
    assert!(
        metrics.contains(r#"cause="consecutive_5xx",cluster="outbound|8000||shop"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_ejected_too() {
    let refusing = Origin::nobody().await;
    let good = Origin::answering(ok("good")).await;
    let gateway = gateway(&[refusing, good.address], |cluster| {
        cluster.outlier_detection = Some(outliers(1, LONG));
    })
    .await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/").await.body, "good");
    }
    let cluster = gateway.cluster();
    assert_eq!(cluster.ejected(), 1);
    assert_eq!(cluster.endpoints.members()[0].state.total(), 1);
}

#[tokio::test]
async fn an_endpoint_comes_back_when_its_time_is_over() {
    let origin = Origin::start(|number| {
        if number == 0 {
            respond(503, "", "")
        } else {
            ok("well")
        }
    })
    .await;
    let gateway = gateway(&[origin.address], |cluster| {
        cluster.outlier_detection = Some(outliers(1, Duration::from_millis(50)));
    })
    .await;
    assert_eq!(gateway.get("/").await.status(), 503);
    let out = gateway.get("/").await;
    assert_eq!(
        (out.status(), out.body.as_str(), origin.hits()),
        (503, "no healthy upstream", 1)
    );
    eventually("it is back", || gateway.cluster().ejected() == 0).await;
    assert_eq!(gateway.get("/").await.body, "well");
}

fn by_header(cluster: &mut Cluster) {
    cluster.load_balancing = LoadBalancing::ConsistentHash {
        key: HashKey::Header(HeaderName::from_static("x-user")),
        algorithm: HashAlgorithm::default(),
    };
}

#[tokio::test]
async fn the_same_header_meets_the_same_endpoint() {
    let names = ["a", "b", "c", "d"];
    let mut endpoints = Vec::new();
    let mut origins = Vec::new();
    for name in names {
        let origin = Origin::answering(ok(name)).await;
        endpoints.push(origin.address);
        origins.push(origin);
    }
    let gateway = gateway(&endpoints, by_header).await;
    let mut met = std::collections::BTreeSet::new();
    for user in 0..20 {
        let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\nx-user: {user}\r\n\r\n");
        let first = gateway.ask(&request).await.body;
        assert_eq!(gateway.ask(&request).await.body, first);
        met.insert(first);
    }
    assert!(met.len() > 1, "everybody meets {met:?}");
}

#[tokio::test]
async fn a_cookie_is_made_once_and_leads_back() {
    let origins = [
        Origin::answering(ok("a")).await,
        Origin::answering(ok("b")).await,
    ];
    let endpoints = origins.each_ref().map(|origin| origin.address);
    let gateway = gateway(&endpoints, |cluster| {
        cluster.load_balancing = LoadBalancing::ConsistentHash {
            key: HashKey::Cookie(HashCookie {
                name: "shop".into(),
                path: Some("/".into()),
                ttl: Some(Duration::from_secs(60)),
                attributes: Vec::new(),
            }),
            algorithm: HashAlgorithm::Maglev { table_size: 251 },
        };
    })
    .await;
    let first = gateway.get("/").await;
    let cookie = first.header("set-cookie").unwrap();
    assert!(
        cookie.ends_with("; Max-Age=60; Path=/; HttpOnly"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    for _ in 0..10 {
        let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\nCookie: {pair}\r\n\r\n");
        let again = gateway.ask(&request).await;
        assert_eq!(
            (again.body.as_str(), again.header("set-cookie").as_deref()),
            (&*first.body, None)
        );
    }
}

/// Two requests fail; the retry of the first is all that there may be.
#[tokio::test]
async fn retries_beyond_their_limit_are_not_made() {
    let gate = Arc::new(Semaphore::new(0));
    let failing = Origin::gated(gate.clone(), respond(503, "", "failed")).await;
    let gateway = gateway_with(
        &[failing.address],
        |cluster| pool(cluster, |pool| pool.max_retries = Some(1)),
        |action| action.retry = retries(1, "503"),
    )
    .await;
    let first = gateway.begin("/first").await;
    eventually("one request came", || failing.hits() == 1).await;
    let second = gateway.begin("/second").await;
    eventually("another came", || failing.hits() == 2).await;
    gate.add_permits(1);
    eventually("the first is retried", || failing.hits() == 3).await;
    gate.add_permits(1);
    assert_eq!((second.await.status(), failing.hits()), (503, 3));
    gate.add_permits(1);
    assert_eq!((first.await.status(), failing.hits()), (503, 3));
    gateway
        .logs("/second HTTP/1.1\" 503 UO via_upstream ")
        .await;
    gateway
        .logs("/first HTTP/1.1\" 503 URX via_upstream ")
        .await;
    assert_eq!(gateway.cluster().usage().retries, 0);
}

#[tokio::test]
async fn a_retry_budget_takes_the_place_of_the_limit() {
    let failing = Origin::answering(respond(503, "", "failed")).await;
    let gateway = gateway_with(
        &[failing.address],
        |cluster| {
            pool(cluster, |pool| {
                pool.max_retries = Some(9);
                pool.retry_budget = Some(RetryBudget {
                    percent: model::Percent::ZERO,
                    min_retry_concurrency: 0,
                    budget_interval: Duration::ZERO,
                });
            });
        },
        |action| action.retry = retries(3, "503"),
    )
    .await;
    assert_eq!(gateway.get("/").await.status(), 503);
    assert_eq!(failing.hits(), 1);
}

#[tokio::test]
async fn an_answer_that_asks_for_a_pause_gets_it() {
    let origin = Origin::start(|number| match number {
        0 => respond(503, "Retry-After: 1\r\n", ""),
        _ => ok("at last"),
    })
    .await;
    let gateway = gateway_with(
        &[origin.address],
        |_| {},
        |action| {
            action.retry = retries(1, "503");
        },
    )
    .await;
    let began = std::time::Instant::now();
    assert_eq!(gateway.get("/").await.body, "at last");
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_is_not_waited_for() {
    let origin = Origin::answering(respond(503, "Retry-After: 60\r\n", "later")).await;
    let gateway = gateway_with(
        &[origin.address],
        |_| {},
        |action| {
            action.retry = retries(3, "503");
            action.timeout = Some(Duration::from_secs(5));
        },
    )
    .await;
    let answer = gateway.get("/").await;
    assert_eq!(
        (answer.status(), answer.body.as_str(), origin.hits()),
        (503, "later", 1)
    );
    assert_eq!(answer.header("retry-after").as_deref(), Some("60"));
}
