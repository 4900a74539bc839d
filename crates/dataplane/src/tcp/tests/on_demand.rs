//! Connections whose endpoint is found for the name that they ask for: promise 20.

use super::tls::{echoed, hello, server};
use super::*;
use crate::http::tests::names::Names;
use rules::{ForbiddenNetworks, HostMap, OnDemand, Serves, TlsAction};
use std::sync::Arc;

/// Passes TLS on to what `*.wild.test` stands for.
async fn gateway(origin: &Origin, names: &Arc<Names>) -> Gateway {
    let mut rules = Rules::default();
    rules.resolver = Some(names.clone());
    let on_demand = OnDemand {
        names: Some("*.wild.test".try_into().unwrap()),
        addresses: vec!["127.0.0.1/32".parse().unwrap()],
        any_address: false,
        port: Some(origin.address.port()),
        forbidden: ForbiddenNetworks::default(),
    };
    let change = |cluster: &mut rules::Cluster| {
        cluster.on_demand = Some(Arc::new(on_demand));
        cluster.pool.connect_timeout = Duration::from_millis(200);
    };
    let cluster = rules.cluster_with("wild", &[], change, |_| {});
    let mut servers = HostMap::default();
    let passthrough = TlsAction::Passthrough(routes([route(&[], [cluster])]));
    servers.add("*", server(passthrough));
    rules.start(Serves::Tls(servers)).await
}

/// The line of a connection that is closed without a byte.
async fn refused(gateway: &Gateway, hello: &[u8]) -> String {
    let mut client = gateway.connect().await;
    client.write_all(hello).await.unwrap();
    assert_eq!(rest(&mut client).await, "");
    gateway.line().await
}

#[tokio::test]
async fn a_name_in_tls_is_where_the_connection_goes() {
    let origin = Origin::echo().await;
    let names = Names::of(&[("a.wild.test", &["127.0.0.1"])]);
    let gateway = gateway(&origin, &names).await;
    let bytes = hello("a.wild.test");
    assert_eq!(echoed(&gateway, &bytes).await, bytes);
    let line = gateway.line().await;
    let host = format!("\"{}\" outbound|9000||wild", origin.address);
    assert!(line.contains(&host), "{line}");
}

#[tokio::test]
async fn a_name_that_the_wildcard_does_not_match_is_refused() {
    let origin = Origin::echo().await;
    let names = Names::of(&[("evil.test", &["127.0.0.1"])]);
    let gateway = gateway(&origin, &names).await;
    let line = refused(&gateway, &hello("evil.test")).await;
    assert!(line.contains(" NR host_not_reachable "), "{line}");
    assert!(line.contains(" host_not_allowed "), "{line}");
    assert_eq!((names.asked(), origin.connections()), (0, 0));
}

#[tokio::test]
async fn a_name_of_a_forbidden_address_is_refused() {
    let origin = Origin::echo().await;
    let names = Names::of(&[("a.wild.test", &["127.0.0.2", "169.254.169.254"])]);
    let gateway = gateway(&origin, &names).await;
    let line = refused(&gateway, &hello("a.wild.test")).await;
    assert!(line.contains(" URX,UF "), "{line}");
    assert!(line.contains(" forbidden_address "), "{line}");
}

#[tokio::test]
async fn a_name_without_an_answer_is_waited_for_as_long_as_for_a_connection() {
    let origin = Origin::echo().await;
    let names = Names::of(&[]);
    names.say_nothing("a.wild.test");
    let gateway = gateway(&origin, &names).await;
    let line = refused(&gateway, &hello("a.wild.test")).await;
    assert!(line.contains(" DF dns_resolution_failure "), "{line}");
    assert!(line.contains(" dns_timeout "), "{line}");
    assert_eq!(names.waiting(), 0);
}
