//! Endpoints whose names stand for addresses that no name may stand for (promise 20).

use super::gateway::{Rules, endpoint, retries};
use super::origin::{Origin, ok};
use model::OutlierDetection;
use rules::{Endpoint, Predicate, UpstreamProtocol};
use std::net::SocketAddr;

fn forbidden(address: &SocketAddr) -> Endpoint {
    Endpoint {
        forbidden: true,
        ..endpoint(address)
    }
}

#[tokio::test]
async fn nobody_is_connected_to_a_forbidden_endpoint() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let origin = Origin::answering(ok("secret")).await;
        let mut rules = Rules::default();
        let cluster = rules.cluster_with("shop", protocol, &[], |cluster| {
            cluster.outlier_detection = Some(OutlierDetection {
                consecutive_5xx_errors: 1,
                max_ejection_percent: 100,
                ..OutlierDetection::default()
            });
        });
        rules.route(Predicate::default(), cluster, |action| {
            action.retry = retries(3, "5xx,connect-failure");
        });
        let mut gateway = rules.start().await;
        gateway.publish_endpoints(vec![forbidden(&origin.address)]);
        for _ in 0..2 {
            let response = gateway.get("/").await;
            assert_eq!(response.status(), 502);
            assert!(
                response.body.ends_with("reason: forbidden_address"),
                "{}",
                response.body
            );
        }
        assert_eq!(origin.connections(), 0);
        assert_eq!(gateway.cluster().ejected(), 0, "it is not its fault");
        let state = gateway.cluster().endpoints.members()[0].state.clone();
        assert_eq!(state.total(), 2, "nothing is tried again");
        gateway.logs(" 502 UF ").await;
        gateway.logs(" forbidden_address ").await;
    }
}

#[tokio::test]
async fn a_forbidden_endpoint_is_left_out_beside_others() {
    let origins = [
        Origin::answering(ok("secret")).await,
        Origin::answering(ok("fine")).await,
    ];
    let [secret, fine] = origins.each_ref().map(|origin| origin.address);
    let mut gateway = Rules::to(&[fine]).start().await;
    gateway.publish_endpoints(vec![forbidden(&secret), endpoint(&fine)]);
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.body, "fine");
    }
    assert_eq!(origins[0].connections(), 0);
}

/// The connection was made while the address was not forbidden.
#[tokio::test]
async fn a_pooled_connection_to_what_is_forbidden_now_is_not_used() {
    let origin = Origin::answering(ok("fine")).await;
    let mut gateway = Rules::to(&[origin.address]).start().await;
    assert_eq!(gateway.get("/").await.status(), 200);
    gateway.publish_endpoints(vec![forbidden(&origin.address)]);
    assert_eq!(gateway.get("/").await.status(), 502);
    super::eventually("it is closed", || origin.open() == 0).await;
    gateway.publish_endpoints(vec![endpoint(&origin.address)]);
    assert_eq!(gateway.get("/").await.status(), 200);
    assert_eq!((origin.hits(), origin.connections()), (2, 2));
}
