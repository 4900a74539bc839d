//! A forward proxy behind TLS.

use super::proxy::routes_to;
use super::tls::hello;
use super::*;
use crate::http::tests::client::{Client, get};
use crate::http::tests::gateway::{KEY, origin};
use crate::tls::tests::gateway::{Secured, server};
use rules::{
    Caller, ClientCertificate, ForwardProxy, HostMap, Listener, Outbound, OutboundPort,
    OutboundProtocol, OutboundService, Serves, Table, TlsAction, TlsServer, VirtualHost,
    VirtualHosts,
};
use std::sync::Arc;

const OPEN: &str = "HTTP/1.1 200 Connection Established\r\n\r\n";

/// Serves `shop.test` to whom the authority `clients` has named so.
async fn start(principals: &[&str]) -> Secured {
    let proxy = server("proxy", &["proxy.test"])
        .asking(ClientCertificate::Required)
        .with(|tls| tls.alpn = vec!["http/1.1"]);
    let termination = Arc::new(proxy.tls.clone());
    let tls = Secured::start(&[proxy]).await;
    let routes = tls.routes();
    let host = Arc::new(VirtualHost {
        name: "shop.test:80".into(),
        domain: "shop.test".into(),
        https_redirect: None,
        routes,
    });
    let mut port = OutboundPort {
        virtual_hosts: VirtualHosts::new([host]),
        ..OutboundPort::default()
    };
    let cluster = tls.gateway.table.clusters.values().next().unwrap();
    let service = |protocol| {
        Arc::new(OutboundService {
            host: "shop.test".into(),
            protocol,
            routes: routes_to(cluster.clone()),
            origin: origin(),
        })
    };
    let http = service(OutboundProtocol::Http);
    port.services.add("shop.test", http);
    let mut ports = vec![(80, Arc::new(port))];
    for (number, protocol) in [(81, OutboundProtocol::Tcp), (443, OutboundProtocol::Tls)] {
        let mut port = OutboundPort::default();
        port.services.add("shop.test", service(protocol));
        ports.push((number, Arc::new(port)));
    }
    let outbound = Outbound {
        ports: ports.into_iter().collect(),
        ..Outbound::default()
    };
    let caller = Caller {
        namespace: "default".into(),
        networks: Vec::new(),
        principals: principals.iter().map(|name| (*name).to_owned()).collect(),
        outbound: Arc::new(outbound),
    };
    let built = TlsServer {
        name: "proxy".into(),
        action: TlsAction::ForwardProxy {
            tls: termination,
            proxy: Arc::new(ForwardProxy {
                callers: vec![Arc::new(caller)],
                others: None,
                mode: rules::EgressMode::Enforce,
            }),
        },
        origin: origin(),
    };
    let mut servers = HostMap::default();
    servers.add("proxy.test", Arc::new(built));
    let listener = Listener {
        key: KEY,
        serves: Serves::Tls(servers),
        origins: Vec::new(),
    };
    let table = Table {
        generation: 2,
        listeners: [(KEY, Arc::new(listener))].into_iter().collect(),
        clusters: tls.gateway.table.clusters.clone(),
    };
    let credentials = tls.gateway.shared.snapshot().credentials.clone();
    let endpoints = &tls.gateway.endpoints;
    tls.gateway
        .shared
        .publish(Arc::new(table), endpoints, credentials);
    tls
}

#[tokio::test]
async fn clients_are_known_by_their_certificates() {
    let tls = start(&["spiffe://td/ns/shop/*", "web.test"]).await;
    for (name, status) in [
        ("spiffe://td/ns/shop/sa/web", 200),
        ("web.test", 200),
        ("spiffe://td/ns/other/sa/web", 403),
        ("other.test", 403),
    ] {
        let settings = tls.client().showing(&tls.clients.client(&[name]));
        let config = settings.offering(&["h2", "http/1.1"]).config();
        let stream = tls.connect(&config, "proxy.test").await.unwrap();
        let alpn = stream.get_ref().1.alpn_protocol();
        assert_eq!(alpn, Some(&b"http/1.1"[..]));
        let mut client = Client::on(stream);
        let answer = client.ask(&url("shop.test", "/")).await;
        assert_eq!(answer.status(), status, "{name}");
    }
}

#[tokio::test]
async fn http2_is_not_spoken_there() {
    let tls = start(&[]).await;
    let settings = tls.client().showing(&tls.clients.client(&[]));
    let stream = tls.connect(&settings.config(), "proxy.test").await.unwrap();
    let mut client = Client::on(stream);
    let answer = client.ask("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer.status(), 400);
}

/// TLS ends at the proxy, and what is in the tunnel is another connection.
#[tokio::test]
async fn tunnels_are_opened_over_tls_too() {
    let tls = start(&[]).await;
    let settings = tls.client().showing(&tls.clients.client(&[])).config();
    let stream = tls.connect(&settings, "proxy.test").await.unwrap();
    let mut client = Client::on(stream);
    let answer = client.ask(&connect("other.test:443")).await;
    assert_eq!(answer.status(), 403);
    for port in [80, 81] {
        let stream = tls.connect(&settings, "proxy.test").await.unwrap();
        let mut client = Client::on(stream);
        client.send(&connect(&format!("shop.test:{port}"))).await;
        assert_eq!(client.bytes(39).await, OPEN, "{port}");
        assert_eq!(client.ask(&get("/")).await.body, "hello", "{port}");
    }
}

/// The alert of the inner TLS is in the outer one.
#[tokio::test]
async fn what_is_refused_in_a_tunnel_is_told_in_it() {
    let tls = start(&[]).await;
    let settings = tls.client().showing(&tls.clients.client(&[])).config();
    let hello = hello("other.test");
    let garbage = b"\x16\x03\x01\x00\x05hello".to_vec();
    for (target, first, alert) in [
        ("shop.test:443", &hello, b"\x15\x03\x03\x00\x02\x02\x70"),
        ("shop.test:80", &garbage, b"\x15\x03\x03\x00\x02\x02\x28"),
    ] {
        let mut stream = tls.connect(&settings, "proxy.test").await.unwrap();
        let request = connect(target);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut open = [0; 39];
        stream.read_exact(&mut open).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut told = Vec::new();
        let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut told));
        reading.await.unwrap().unwrap();
        assert_eq!(told, alert, "{target}");
    }
}
