//! Copies of requests.

use super::client::{get, post};
use super::eventually;
use super::gateway::{Gateway, Rules, set};
use super::origin::{Act, Origin, ok};
use rules::{ClusterTarget, Mirror, PartsPerMillion, PathRewrite, Predicate, UpstreamProtocol};
use std::net::SocketAddr;

async fn mirrored(to: SocketAddr, mirror: SocketAddr, share: u32) -> Gateway {
    let mut rules = Rules::default();
    let shadow = rules.cluster("shadow", UpstreamProtocol::Http1, &[mirror]);
    let cluster = rules.cluster("shop", UpstreamProtocol::Http1, &[to]);
    rules.route(Predicate::default(), cluster, |action| {
        action.request_headers = set(&[("x-added", "1")]);
        action.path_rewrite = Some(PathRewrite::Full("/final".into()));
        let cluster = ClusterTarget::Cluster(shadow);
        action.mirrors = vec![Mirror {
            cluster,
            share: PartsPerMillion(share),
        }];
    });
    rules.start().await
}

#[tokio::test]
async fn a_mirror_gets_the_final_request_with_its_body() {
    let (origin, shadow) = (
        Origin::answering(ok("real")).await,
        Origin::answering(ok("ignored")).await,
    );
    let gateway = mirrored(origin.address, shadow.address, 1_000_000).await;
    let mut client = gateway.client().await;
    assert_eq!(client.ask(&post("/first", "body")).await.body, "real");
    assert_eq!(client.ask(&get("/second?q=1")).await.body, "real");
    eventually("both are mirrored", || shadow.hits() == 2).await;
    let copies = [shadow.request(0), shadow.request(1)];
    let with_body = copies
        .iter()
        .find(|copy| copy.start_line() == "POST /final HTTP/1.1")
        .unwrap();
    assert_eq!(with_body.body, "body");
    assert_eq!(with_body.header("host").unwrap(), "shop.test");
    assert_eq!(with_body.header("x-added").unwrap(), "1");
    assert!(
        copies
            .iter()
            .any(|copy| copy.start_line() == "GET /final?q=1 HTTP/1.1")
    );
}

#[tokio::test]
async fn a_mirror_that_hangs_or_is_gone_changes_nothing() {
    let origin = Origin::answering(ok("real")).await;
    let hanging = Origin::answering(Act::Hang).await;
    for mirror in [hanging.address, Origin::nobody().await] {
        let gateway = mirrored(origin.address, mirror, 1_000_000).await;
        let mut client = gateway.client().await;
        for _ in 0..5 {
            assert_eq!(client.ask(&post("/", "x")).await.body, "real");
        }
    }
}

#[tokio::test]
async fn mirrors_beyond_the_limit_are_dropped_and_counted() {
    let origin = Origin::answering(ok("real")).await;
    let hanging = Origin::answering(Act::Hang).await;
    let mut rules = Rules::default();
    rules.settings.max_mirrors = 2;
    let shadow = rules.cluster("shadow", UpstreamProtocol::Http1, &[hanging.address]);
    let cluster = rules.cluster("shop", UpstreamProtocol::Http1, &[origin.address]);
    rules.route(Predicate::default(), cluster, |action| {
        let cluster = ClusterTarget::Cluster(shadow);
        action.mirrors = vec![Mirror {
            cluster,
            share: PartsPerMillion(1_000_000),
        }];
    });
    let gateway = rules.start().await;
    let mut client = gateway.client().await;
    for _ in 0..5 {
        assert_eq!(client.ask(&get("/")).await.body, "real");
    }
    let metrics = gateway.shared.metrics.text();
    assert!(
        metrics.contains(r#"tidegate_mirror_total{result="dropped"} 3"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_share_of_nothing_mirrors_nothing() {
    let (origin, shadow) = (
        Origin::answering(ok("")).await,
        Origin::answering(ok("")).await,
    );
    let gateway = mirrored(origin.address, shadow.address, 0).await;
    for _ in 0..10 {
        gateway.get("/").await;
    }
    assert_eq!((origin.hits(), shadow.connections()), (10, 0));
}
