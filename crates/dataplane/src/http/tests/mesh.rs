//! Endpoints in the mesh, which are spoken to in its TLS, beside others, which are not.

use super::client::get;
use super::eventually;
use super::gateway::{Gateway, Rules, endpoint, retries};
use super::http2::{self, Http2Origin};
use super::origin::{Act, Origin, ok};
use crate::health::Spoken;
use crate::tls::tests::pki::Authority;
use crate::upstream::tls::tests::sidecar::Sidecar;
use crate::upstream::tls::tests::{in_mesh, meshed, of_mesh, trusting};
use certificates::Credentials;
use http::Method;
use rules::{
    Cluster, ClusterTarget, Endpoint, EndpointAddr, Mirror, PartsPerMillion, Predicate,
    UpstreamProtocol, UpstreamSecurity,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CART: &str = "spiffe://mesh/ns/shop/sa/cart";

/// A gateway whose service has these endpoints.
async fn start(
    protocol: UpstreamProtocol,
    credentials: Credentials,
    endpoints: Vec<Endpoint>,
) -> Gateway {
    let mut rules = Rules::default();
    rules.credentials = Arc::new(credentials);
    let cluster = rules.cluster_with("shop", protocol, &[], by_itself);
    rules.route(Predicate::default(), cluster, |_| {});
    let mut gateway = rules.start().await;
    gateway.publish_endpoints(endpoints);
    gateway
}

fn by_itself(cluster: &mut Cluster) {
    cluster.tls = UpstreamSecurity::Auto(Arc::new(of_mesh()));
}

fn cart(address: SocketAddr) -> Endpoint {
    meshed(address, Some("cart"))
}

#[tokio::test]
async fn each_endpoint_is_spoken_to_as_it_takes_it() {
    let mesh = Authority::new();
    let (inside, outside) = (
        Origin::answering(ok("inside")).await,
        Origin::answering(ok("outside")).await,
    );
    let sidecar = Sidecar::before(inside.address, &mesh, &[CART]).await;
    let endpoints = vec![cart(sidecar.address), endpoint(&outside.address)];
    let gateway = start(UpstreamProtocol::Http1, in_mesh(&mesh), endpoints).await;
    let mut client = gateway.client().await;
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(client.ask(&get("/")).await.body);
    }
    bodies.sort();
    assert_eq!(bodies, ["inside", "inside", "outside", "outside"]);
    // Each connection is used again, and for its endpoint alone.
    assert_eq!((sidecar.served(), outside.connections()), (1, 1));
}

#[tokio::test]
async fn each_endpoint_is_spoken_to_as_it_takes_it_in_http2() {
    let mesh = Authority::new();
    let (inside, outside) = (Http2Origin::start(0).await, Http2Origin::start(0).await);
    let sidecar = Sidecar::before(inside.address, &mesh, &[CART]).await;
    let endpoints = vec![cart(sidecar.address), endpoint(&outside.address)];
    let gateway = start(UpstreamProtocol::Http2, in_mesh(&mesh), endpoints).await;
    let sender = http2::connect(&gateway).await;
    for _ in 0..4 {
        let answer = http2::ask(&sender, Method::POST, "/", "message").await;
        assert_eq!(answer.head.status(), 200);
    }
    let streams = |origin: &Http2Origin| origin.streams.load(SeqCst);
    assert_eq!((streams(&inside), streams(&outside)), (2, 2));
    assert_eq!(sidecar.served(), 1);
}

/// Promise 1: whom the gateway has found, and whom it has not.
#[tokio::test]
async fn somebody_else_is_refused_and_told() {
    let mesh = Authority::new();
    let origin = Origin::answering(ok("secret")).await;
    for (protocol, shown, told) in [
        (
            UpstreamProtocol::Http1,
            "spiffe://mesh/ns/shop/sa/web",
            "sa/web",
        ),
        (
            UpstreamProtocol::Http2,
            "spiffe://mesh/ns/shop/sa/web",
            "sa/web",
        ),
        (
            UpstreamProtocol::Http1,
            "spiffe://foreign/ns/shop/sa/cart",
            "spiffe://foreign/",
        ),
    ] {
        let sidecar = Sidecar::before(origin.address, &mesh, &[shown]).await;
        let endpoints = vec![cart(sidecar.address)];
        let gateway = start(protocol, in_mesh(&mesh), endpoints).await;
        assert_eq!(gateway.get("/").await.status(), 503);
        gateway.logs(" certificate_invalid ").await;
        let log = gateway.log();
        assert!(log.contains(told) && log.contains(CART), "{log}");
    }
    assert_eq!(origin.hits(), 0);
}

/// What is not who it should be is not the end of a request that may be tried elsewhere.
#[tokio::test]
async fn a_request_goes_on_to_an_endpoint_that_is_who_it_should_be() {
    let mesh = Authority::new();
    let origin = Origin::answering(ok("cart")).await;
    let wrong = Sidecar::before(origin.address, &mesh, &["spiffe://mesh/ns/shop/sa/web"]).await;
    let alias = Sidecar::before(origin.address, &mesh, &["spiffe://old/ns/shop/sa/cart"]).await;
    let mut rules = Rules::default();
    rules.credentials = Arc::new(in_mesh(&mesh));
    let cluster = rules.cluster_with("shop", UpstreamProtocol::Http1, &[], by_itself);
    rules.route(Predicate::default(), cluster, |action| {
        action.retry = retries(1, "connect-failure");
    });
    let mut gateway = rules.start().await;
    gateway.publish_endpoints(vec![cart(wrong.address), cart(alias.address)]);
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.body, "cart");
    }
    assert_eq!(wrong.served(), 0);
}

/// An address is handed on to another workload, which connections to the former must not serve.
#[tokio::test]
async fn connections_are_of_one_workload() {
    let mesh = Authority::new();
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let (inside, inside_h2) = (
            Origin::answering(ok("cart")).await,
            Http2Origin::start(0).await,
        );
        let application = match protocol {
            UpstreamProtocol::Http2 => inside_h2.address,
            _ => inside.address,
        };
        let both = [CART, "spiffe://mesh/ns/shop/sa/web"];
        let sidecar = Sidecar::before(application, &mesh, &both).await;
        let mut gateway = start(protocol, in_mesh(&mesh), vec![cart(sidecar.address)]).await;
        for (account, connections) in [("cart", 1), ("cart", 1), ("web", 2), ("web", 2)] {
            gateway.publish_endpoints(vec![meshed(sidecar.address, Some(account))]);
            assert_eq!(gateway.get("/").await.status(), 200);
            assert_eq!(sidecar.served(), connections, "{account} {protocol:?}");
        }
        gateway.publish_endpoints(vec![meshed(sidecar.address, Some("other"))]);
        assert_eq!(gateway.get("/").await.status(), 503);
    }
}

/// Nothing goes in clear text for want of a certificate, and who needs none is served.
#[tokio::test]
async fn without_an_identity_only_others_are_spoken_to() {
    let mesh = Authority::new();
    let (inside, outside) = (
        Origin::answering(ok("inside")).await,
        Origin::answering(ok("outside")).await,
    );
    let endpoints = vec![cart(inside.address), endpoint(&outside.address)];
    let mut gateway = start(UpstreamProtocol::Http1, trusting(&mesh), endpoints).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(gateway.get("/").await.status());
    }
    statuses.sort();
    assert_eq!(statuses, [200, 200, 503, 503]);
    gateway.logs(" tls_not_ready ").await;
    assert_eq!(inside.connections(), 0);
    // Once it is there, so are they.
    let sidecar = Sidecar::before(inside.address, &mesh, &[CART]).await;
    gateway.publish_credentials(in_mesh(&mesh));
    gateway.publish_endpoints(vec![cart(sidecar.address)]);
    assert_eq!(gateway.get("/").await.body, "inside");
}

/// Promises 6 and 8.
#[tokio::test]
async fn a_new_identity_is_shown_to_the_mesh_and_nothing_to_others() {
    let mesh = Authority::new();
    let (inside, outside) = (
        Origin::answering(ok("inside")).await,
        Origin::answering(ok("outside")).await,
    );
    let sidecar = Sidecar::before(inside.address, &mesh, &[CART]).await;
    let endpoints = vec![cart(sidecar.address), endpoint(&outside.address)];
    let mut gateway = start(UpstreamProtocol::Http1, in_mesh(&mesh), endpoints).await;
    let mut client = gateway.client().await;
    for connections in 1..4 {
        for _ in 0..4 {
            assert_eq!(client.ask(&get("/")).await.status(), 200);
        }
        assert_eq!((sidecar.served(), outside.connections()), (connections, 1));
        gateway.publish_credentials(in_mesh(&mesh));
    }
}

#[tokio::test]
async fn tunnels_copies_and_checks_are_in_the_mesh_s_tls_too() {
    const SWITCHING: &str =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mesh = Authority::new();
    let echo = Origin::answering(Act::Echo(SWITCHING.into())).await;
    let copied = Origin::answering(ok("copied")).await;
    let (front, shadow) = (
        Sidecar::before(echo.address, &mesh, &[CART]).await,
        Sidecar::before(copied.address, &mesh, &[CART]).await,
    );
    let mut rules = Rules::default();
    rules.credentials = Arc::new(in_mesh(&mesh));
    let to_shadow = rules.cluster_with("shadow", UpstreamProtocol::Http1, &[], by_itself);
    let cluster = rules.cluster_with("shop", UpstreamProtocol::Http1, &[], by_itself);
    rules.endpoints(&to_shadow, vec![cart(shadow.address)]);
    rules.endpoints(&cluster, vec![cart(front.address)]);
    let (service, mirrored) = (to_shadow.key.service(), ClusterTarget::Cluster(to_shadow));
    rules.route(Predicate::default(), cluster, |action| {
        action.mirrors = vec![Mirror {
            cluster: mirrored,
            share: PartsPerMillion(1_000_000),
        }];
    });
    let gateway = rules.start().await;
    let mut client = gateway.client().await;
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.status(), 101);
    client.send("hello").await;
    assert_eq!(client.bytes(5).await, "hello");
    assert_eq!(front.served(), 1);

    let address = EndpointAddr::Tcp(shadow.address);
    let checking =
        gateway
            .shared
            .connect_for_check(&service, &address, Spoken::Http1, Duration::from_secs(5));
    let mut checked = checking.await.unwrap().unwrap();
    checked
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut start = [0; 12];
    checked.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    assert_eq!(shadow.served(), 1);
    // No copy is made of what is a tunnel.
    drop(gateway.get("/").await);
    eventually("it is copied", || copied.hits() == 2).await;
    assert_eq!(shadow.served(), 2);
}
