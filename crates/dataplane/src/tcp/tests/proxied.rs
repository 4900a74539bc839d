//! Clients behind a load balancer that speaks the PROXY protocol.

use super::*;
use bytes::Bytes;
use http::StatusCode;
use rules::{
    Action, DirectResponseAction, EndpointAddr, HeaderOps, Predicate, Route, RouteSet, Serves,
    VirtualHost, VirtualHosts,
};
use std::sync::Arc;

const HEADER: &str = "PROXY TCP4 192.0.2.7 203.0.113.9 55555 443\r\n";

/// Takes only clients of 192.0.2.0/24.
async fn gateway(origin: &Origin, proxies: &[&str]) -> Gateway {
    let mut rules = Rules::default();
    let networks = proxies.iter().map(|network| network.parse().unwrap());
    rules.limits.proxy_protocol_from = networks.collect();
    let cluster = rules.cluster("echo", &[EndpointAddr::Tcp(origin.address)]);
    let serves = Serves::Tcp(routes([route(&["192.0.2.0/24"], [cluster])]));
    rules.start(serves).await
}

#[tokio::test]
async fn a_named_proxy_tells_whose_connection_it_is() {
    let origin = Origin::echo().await;
    let gateway = gateway(&origin, &["127.0.0.0/8"]).await;
    let mut client = gateway.connect().await;
    client.write_all(HEADER.as_bytes()).await.unwrap();
    assert_eq!(exchange(&mut client, "hello").await, "hello");
    drop(client);
    let line = gateway.line().await;
    assert!(line.contains(" 203.0.113.9:443 192.0.2.7:55555 "), "{line}");
}

#[tokio::test]
async fn a_named_proxy_must_say_it() {
    let origin = Origin::echo().await;
    let gateway = gateway(&origin, &["::1/128", "127.0.0.0/8"]).await;
    let mut client = gateway.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let ended = client.read(&mut [0; 16]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    gateway.until(|gateway| gateway.refused() == 1).await;
    assert_eq!(origin.connections(), 0);
}

/// Anybody could say it.
#[tokio::test]
async fn nobody_else_is_listened_to() {
    let origin = Origin::echo().await;
    let mut rules = Rules::default();
    rules.limits.proxy_protocol_from = vec!["10.0.0.0/8".parse().unwrap()];
    let gateway = rules.to(&[origin.address]).await;
    let mut client = gateway.connect().await;
    assert_eq!(exchange(&mut client, HEADER).await, HEADER);
    let own = client.local_addr().unwrap().to_string();
    drop(client);
    let line = gateway.line().await;
    assert!(line.contains(&own) && !line.contains("192.0.2.7"), "{line}");
}

/// One host that answers 200.
fn answering() -> Serves {
    let answer = DirectResponseAction {
        status: StatusCode::OK,
        body: Bytes::new(),
        response_headers: HeaderOps::default(),
    };
    let route = Route {
        name: "".into(),
        predicate: Predicate::default(),
        action: Action::DirectResponse(answer),
        origin: origin(),
    };
    Serves::Http(VirtualHosts::new([Arc::new(VirtualHost {
        name: "shop.test:9000".into(),
        domain: "shop.test".into(),
        https_redirect: None,
        routes: Arc::new(RouteSet::new(vec![Arc::new(route)])),
    })]))
}

#[tokio::test]
async fn requests_come_from_the_client_that_the_proxy_names() {
    let mut rules = Rules::default();
    rules.limits.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
    let gateway = rules.start(answering()).await;
    let mut client = gateway.connect().await;
    client.write_all(HEADER.as_bytes()).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let line = gateway.line().await;
    assert!(line.contains(" 203.0.113.9:443 192.0.2.7:55555 "), "{line}");
}
