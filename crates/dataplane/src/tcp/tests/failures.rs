//! Connections that go nowhere, and why.

use super::*;
use crate::net::{ConnectionState, Transport};
use crate::tcp::TcpConnection;
use crate::{ConnectionInfo, Side};
use bytes::Bytes;
use gateway::KEY;
use rules::{Endpoint, EndpointAddr, Serves, TcpRoutes};
use std::io::ErrorKind;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Reads the end, which comes at once and without a byte.
async fn closed(gateway: &Gateway) -> Result<usize, ErrorKind> {
    let mut client = gateway.connect().await;
    let mut some = [0; 16];
    let reading = tokio::time::timeout(PATIENCE, client.read(&mut some));
    reading.await.unwrap().map_err(|error| error.kind())
}

/// Promise 1.
#[track_caller]
fn check(line: &str, start: &str, reason: &str) {
    assert!(
        line.contains(&format!(r#""- - -" 0 {start} 0 0 "#)),
        "{line}"
    );
    assert!(line.contains(&format!(" {reason} ")), "{line}");
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let origin = Origin::echo().await;
    let gateway = Rules::default()
        .to(&[nobody().await, origin.address, nobody().await])
        .await;
    for _ in 0..3 {
        assert_eq!(exchange(&mut gateway.connect().await, "x").await, "x");
    }
    let metrics = gateway.shared.metrics.own().upstream().clone();
    assert_eq!(metrics.connections.get(), 3);
    assert!(metrics.connect_failures.get() > 0);
}

#[tokio::test]
async fn only_so_many_endpoints_are_tried() {
    let mut endpoints = Vec::new();
    for _ in 0..5 {
        endpoints.push(nobody().await);
    }
    let gateway = Rules::default().to(&endpoints).await;
    assert_eq!(closed(&gateway).await, Ok(0));
    let upstream = gateway.shared.metrics.own().upstream();
    assert_eq!(upstream.connect_failures.get(), 3);
    let line = gateway.line().await;
    let refused = r#"URX,UF - - "delayed connect error: Connection refused""#;
    check(&line, refused, "connect_failure");
    assert!(line.contains("VirtualService default/echo"), "{line}");
    assert!(
        line.contains(" \"127.0.0.1:"),
        "the endpoint tried last: {line}"
    );
    assert_eq!(gateway.count("connections_opened"), 1);
    assert_eq!(gateway.count("connections_closed"), 1);
}

/// Promise 20.
#[tokio::test]
async fn forbidden_endpoints_are_not_tried() {
    let origin = Origin::echo().await;
    let addresses = [origin.address, nobody().await].map(EndpointAddr::Tcp);
    let mut rules = Rules::default();
    let forbid = |endpoint: &mut Endpoint| endpoint.forbidden = true;
    let cluster = rules.cluster_with("echo", &addresses, |_| {}, forbid);
    let gateway = rules
        .start(Serves::Tcp(routes([route(&[], [cluster])])))
        .await;
    assert_eq!(closed(&gateway).await, Ok(0));
    let upstream = gateway.shared.metrics.own().upstream();
    assert_eq!(upstream.connect_failures.get(), 1);
    assert_eq!(origin.connections(), 0);
    let line = gateway.line().await;
    let why = "the endpoint's name stands for an address that no name may stand for";
    check(
        &line,
        &format!(r#"URX,UF - - "{why}""#),
        "forbidden_address",
    );
}

#[tokio::test]
async fn a_cluster_without_endpoints_closes_with_uh() {
    let gateway = Rules::default().to(&[]).await;
    assert_eq!(closed(&gateway).await, Ok(0));
    let line = gateway.line().await;
    check(&line, r#"UH no_healthy_upstream - "-""#, "no_endpoint");
}

#[tokio::test]
async fn an_unknown_cluster_closes_with_nc() {
    let serves = Serves::Tcp(routes([route(&[], [missing()])]));
    let gateway = Rules::default().start(serves).await;
    assert_eq!(closed(&gateway).await, Ok(0));
    let line = gateway.line().await;
    let why = r#"NC cluster_not_found - "outbound|9000||gone.default.svc.cluster.local: no such service""#;
    check(&line, why, "cluster_not_found");
    assert!(line.contains("VirtualService default/echo"), "{line}");
}

#[tokio::test]
async fn a_connection_that_no_route_takes_is_reset() {
    let serves = Serves::Tcp(routes([route(&["10.0.0.0/8"], [missing()])]));
    let gateway = Rules::default().start(serves).await;
    assert_eq!(closed(&gateway).await, Err(ErrorKind::ConnectionReset));
    let line = gateway.line().await;
    check(&line, r#"NR route_not_found - "-""#, "no_route");
}

/// Who may come is asked of the listener, which has become another since it said where its connections go.
#[tokio::test]
async fn nobody_is_let_in_to_a_workload_whose_listener_is_gone() {
    let echo = Origin::echo().await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("echo", &[EndpointAddr::Tcp(echo.address)]);
    let routes = routes([route(&[], [cluster])]);
    let other = Serves::Tcp(TcpRoutes::default());
    let shared = rules.start(other).await.shared;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = listener.local_addr().unwrap();
    let mut client = TcpStream::connect(local).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let info = ConnectionInfo {
        listener: KEY,
        side: Side::Inbound,
        local,
        peer,
        state: Arc::new(ConnectionState::new(1, peer)),
        tls: None,
        proxied: None,
    };
    let connection = TcpConnection::routed(&shared, &shared.snapshot(), &info, "", &routes);
    let transport = Transport::Left(socket);
    connection.serve(transport, Bytes::new()).await;
    assert_eq!(echo.connections(), 0);
}
