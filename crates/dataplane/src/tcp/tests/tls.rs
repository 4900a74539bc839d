//! TLS that goes through.

use super::*;
use rules::{EndpointAddr, HostMap, Serves, TlsAction, TlsServer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

/// The first bytes of a client that asks for a name.
pub(super) fn hello(name: &'static str) -> Vec<u8> {
    hello_offering(name, &[])
}

/// The same of a client that offers protocols.
fn hello_offering(name: &'static str, protocols: &[&str]) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec());
    config.alpn_protocols = protocols.collect();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

pub(super) fn server(action: TlsAction) -> Arc<TlsServer> {
    Arc::new(TlsServer {
        name: "default/gateway/tls".into(),
        action,
        origin: origin(),
    })
}

/// What comes back of what is sent.
pub(super) async fn echoed(gateway: &Gateway, bytes: &[u8]) -> Vec<u8> {
    let mut client = gateway.connect().await;
    client.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    let reading = tokio::time::timeout(PATIENCE, client.read_exact(&mut back));
    reading.await.unwrap().unwrap();
    back
}

#[tokio::test]
async fn the_hello_that_was_read_goes_first_and_its_name_is_logged() {
    let origin = Origin::echo().await;
    let mut rules = Rules::default();
    let cluster = rules.cluster("echo", &[EndpointAddr::Tcp(origin.address)]);
    let mut servers = HostMap::default();
    let passthrough = TlsAction::Passthrough(routes([route(&[], [cluster])]));
    servers.add("*.shop.test", server(passthrough));
    let gateway = rules.start(Serves::Tls(servers)).await;
    let mut bytes = hello("www.shop.test");
    bytes.extend_from_slice(b"and what the client sent ahead");
    assert_eq!(echoed(&gateway, &bytes).await, bytes);
    let line = gateway.line().await;
    assert!(line.contains(" www.shop.test - - \"-\""), "{line}");
    assert!(line.contains(&format!(" {0} {0} ", bytes.len())), "{line}");
}

const SPELLING: &str = "outbound_.9000_._.echo.default.svc.cluster.local";

/// A gateway between networks that knows one cluster.
async fn spelling_gateway(origin: &Origin) -> Gateway {
    let mut rules = Rules::default();
    let cluster = rules.cluster("echo", &[EndpointAddr::Tcp(origin.address)]);
    let mut clusters = HostMap::default();
    clusters.add(SPELLING, Arc::new(cluster));
    let mut servers = HostMap::default();
    let auto = TlsAction::AutoPassthrough(Arc::new(clusters));
    servers.add("*.local", server(auto));
    rules.start(Serves::Tls(servers)).await
}

#[tokio::test]
async fn an_auto_passthrough_name_spells_its_cluster() {
    let origin = Origin::echo().await;
    let gateway = spelling_gateway(&origin).await;
    let bytes = hello_offering(SPELLING, &["istio-peer-exchange", "istio"]);
    assert_eq!(echoed(&gateway, &bytes).await, bytes);
    let line = gateway.line().await;
    let cluster = "outbound|9000||echo.default.svc.cluster.local";
    assert!(line.contains(cluster) && line.contains(SPELLING), "{line}");
}

#[tokio::test]
async fn an_auto_passthrough_name_of_no_cluster_is_reset() {
    let mut servers = HostMap::default();
    let auto = TlsAction::AutoPassthrough(Arc::default());
    servers.add("*", server(auto));
    let gateway = Rules::default().start(Serves::Tls(servers)).await;
    let mut client = gateway.connect().await;
    let hello = hello_offering("shop.test", &["istio"]);
    client.write_all(&hello).await.unwrap();
    assert!(client.read(&mut [0; 16]).await.is_err());
    let line = gateway.line().await;
    assert!(line.contains(" 0 NR route_not_found "), "{line}");
    assert!(line.contains(" shop.test - no_route "), "{line}");
}

#[tokio::test]
async fn only_proxies_of_the_mesh_may_spell_clusters() {
    let origin = Origin::echo().await;
    let gateway = spelling_gateway(&origin).await;
    let mut client = gateway.connect().await;
    let hello = hello_offering(SPELLING, &["h2", "http/1.1"]);
    client.write_all(&hello).await.unwrap();
    let mut alert = Vec::new();
    client.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112]);
    let line = gateway.line().await;
    assert!(line.contains(" not_of_the_mesh "), "{line}");
}
