//! Endpoints in the mesh beside others.

use super::*;
use crate::tls::tests::pki::Authority;
use crate::upstream::tls::tests::sidecar::Sidecar;
use crate::upstream::tls::tests::{in_mesh, meshed, of_mesh};
use rules::{Cluster, EndpointAddr, Serves, UpstreamSecurity};
use std::net::SocketAddr;
use std::sync::Arc;

/// A gateway to an endpoint of account `cart` in the mesh, and perhaps one beside it.
async fn start(mesh: &Authority, inside: SocketAddr, outside: Option<SocketAddr>) -> Gateway {
    let mut rules = Rules::default();
    rules.credentials = Arc::new(in_mesh(mesh));
    let addresses = outside.into_iter().chain([inside]);
    let addresses: Vec<_> = addresses.map(EndpointAddr::Tcp).collect();
    let by_itself = |cluster: &mut Cluster| {
        cluster.tls = UpstreamSecurity::Auto(Arc::new(of_mesh()));
    };
    let cluster = rules.cluster_with("echo", &addresses, by_itself, |endpoint| {
        if endpoint.address == EndpointAddr::Tcp(inside) {
            *endpoint = meshed(inside, Some("cart"));
        }
    });
    rules
        .start(Serves::Tcp(routes([route(&[], [cluster])])))
        .await
}

#[tokio::test]
async fn connections_are_in_the_mesh_s_tls_to_those_who_take_it() {
    let mesh = Authority::new();
    let echo = Origin::echo().await;
    let sidecar = Sidecar::before(echo.address, &mesh, &["spiffe://mesh/ns/shop/sa/cart"]).await;
    let gateway = start(&mesh, sidecar.address, Some(echo.address)).await;
    for _ in 0..4 {
        let mut client = gateway.connect().await;
        assert_eq!(exchange(&mut client, "hello").await, "hello");
    }
    assert_eq!(sidecar.served(), 2);
}

#[tokio::test]
async fn a_connection_to_somebody_else_is_ended_and_told() {
    let mesh = Authority::new();
    let echo = Origin::echo().await;
    let sidecar = Sidecar::before(echo.address, &mesh, &["spiffe://mesh/ns/shop/sa/web"]).await;
    let gateway = start(&mesh, sidecar.address, None).await;
    let mut client = gateway.connect().await;
    assert_eq!(rest(&mut client).await, "");
    let line = gateway.line().await;
    for told in ["certificate_invalid", "shop/sa/web", "shop/sa/cart"] {
        assert!(line.contains(told), "{told} is not in {line}");
    }
}
