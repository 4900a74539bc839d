//! What a forward proxy is made from.

use super::PATIENCE;
use crate::http::tests::client::{Client, Message};
use crate::http::tests::gateway::{Gateway, Rules, origin};
use ipnet::IpNet;
use rules::{
    Caller, Cluster, ClusterTarget, EgressMode, ForwardProxy, Outbound, OutboundPort,
    OutboundProtocol, OutboundService, Predicate, Serves, TcpDestination, TcpRoute, TcpRoutes,
    UnknownPolicy, UpstreamProtocol, VirtualHosts,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A proxy to be.
pub(super) struct Proxy {
    pub(super) rules: Rules,
    ports: BTreeMap<u16, OutboundPort>,
    http_ports: Vec<u16>,
    pub(super) otherwise: TcpRoutes,
    pub(super) policy: UnknownPolicy,
    pub(super) mode: EgressMode,
    pub(super) networks: Vec<IpNet>,
    pub(super) principals: Vec<String>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            rules: Rules::default(),
            ports: BTreeMap::new(),
            http_ports: Vec::new(),
            otherwise: TcpRoutes::default(),
            policy: UnknownPolicy::Refused,
            mode: EgressMode::Enforce,
            networks: Vec::new(),
            principals: Vec::new(),
        }
    }
}

impl Proxy {
    /// `shop.test` on this port, for requests, from this upstream.
    pub(super) fn http(mut self, port: u16, upstream: SocketAddr) -> Self {
        let cluster = self
            .rules
            .cluster("shop", UpstreamProtocol::Http1, &[upstream]);
        self.rules.route(Predicate::default(), cluster, |_| {});
        self.service(
            port,
            "shop.test",
            OutboundProtocol::Http,
            TcpRoutes::default(),
        );
        self.http_ports.push(port);
        self
    }

    /// A host on a port for connections.
    pub(super) fn connections(
        mut self,
        port: u16,
        host: &str,
        protocol: OutboundProtocol,
        upstream: SocketAddr,
    ) -> Self {
        let routes = self.routes(&format!("{port}-{host}"), upstream);
        self.service(port, host, protocol, routes);
        self
    }

    pub(super) fn tcp(self, upstream: SocketAddr) -> Self {
        self.connections(5432, "db.test", OutboundProtocol::Tcp, upstream)
    }

    /// Routes for all connections to one upstream.
    pub(super) fn routes(&mut self, name: &str, upstream: SocketAddr) -> TcpRoutes {
        let cluster = self.rules.cluster(name, UpstreamProtocol::Tcp, &[upstream]);
        routes_to(cluster)
    }

    fn service(&mut self, port: u16, host: &str, protocol: OutboundProtocol, routes: TcpRoutes) {
        let service = Arc::new(OutboundService {
            host: host.into(),
            protocol,
            routes,
            origin: origin(),
        });
        let port = self.ports.entry(port).or_default();
        port.services.add(host, service);
    }

    /// Has the service of a host be found by an address too.
    pub(super) fn at(mut self, port: u16, host: &str, network: &str) -> Self {
        let known = self.ports.get_mut(&port).unwrap();
        let service = known.services.lookup(host).unwrap().clone();
        known.addresses.add(network.parse().unwrap(), service);
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// In clear.
    pub(super) async fn start(self) -> Gateway {
        let (rules, finish) = self.parts();
        rules
            .start_as(|hosts| Serves::ForwardProxy(Arc::new(finish(&hosts[..1]))))
            .await
    }

    /// The rules, and what makes the proxy of their virtual hosts.
    pub(super) fn parts(
        self,
    ) -> (
        Rules,
        impl FnOnce(&[Arc<rules::VirtualHost>]) -> ForwardProxy,
    ) {
        let Self {
            rules,
            mut ports,
            http_ports,
            otherwise,
            policy,
            mode,
            networks,
            principals,
        } = self;
        let finish = move |hosts: &[Arc<rules::VirtualHost>]| {
            for port in http_ports {
                let port = ports.get_mut(&port).unwrap();
                port.virtual_hosts = VirtualHosts::new(hosts.iter().cloned());
            }
            let any = hosts.iter().map(|host| {
                Arc::new(rules::VirtualHost {
                    name: rules::ALLOW_ANY.into(),
                    domain: "*".into(),
                    https_redirect: None,
                    routes: host.routes.clone(),
                })
            });
            let ports = ports.into_iter();
            let ports = ports.map(|(number, port)| (number, Arc::new(port)));
            let otherwise = rules::Otherwise {
                policy,
                virtual_hosts: VirtualHosts::new(any),
                routes: otherwise,
            };
            let outbound = Outbound::new(ports.collect(), rules::HostMap::default(), otherwise);
            ForwardProxy {
                callers: vec![Arc::new(Caller {
                    namespace: "default".into(),
                    networks,
                    principals,
                    outbound: Arc::new(outbound),
                })],
                others: None,
                mode,
            }
        };
        (rules, finish)
    }
}

/// Routes for all connections to a cluster.
pub(super) fn routes_to(cluster: Arc<Cluster>) -> TcpRoutes {
    let destination = TcpDestination {
        weight: 1,
        cluster: ClusterTarget::Cluster(cluster),
        origin: origin(),
    };
    TcpRoutes(vec![Arc::new(TcpRoute {
        matches: Vec::new(),
        destinations: vec![destination],
        total_weight: 1,
        origin: origin(),
    })])
}

/// A request for a whole URL.
pub(super) fn url(authority: &str, path: &str) -> String {
    format!("GET http://{authority}{path} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
}

/// A request for a tunnel.
pub(super) fn connect(target: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n")
}

/// Sends a request for a tunnel, and returns the answer with the connection.
pub(super) async fn ask(gateway: &Gateway, target: &str) -> (Message, TcpStream) {
    said(gateway, &[connect(target).as_bytes()]).await
}

/// Sends pieces, each on its own, and returns the answer with the connection.
pub(super) async fn said(gateway: &Gateway, pieces: &[&[u8]]) -> (Message, TcpStream) {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    for piece in pieces {
        socket.write_all(piece).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    (head(&mut socket).await, socket)
}

/// An answer's head, and the body that its length tells, and no byte more.
async fn head(socket: &mut TcpStream) -> Message {
    use tokio::io::AsyncReadExt;
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    let mut message = Message {
        head: String::from_utf8(head).unwrap(),
        body: String::new(),
        cut: false,
    };
    let length = message.header("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    socket.read_exact(&mut body).await.unwrap();
    message.body = String::from_utf8(body).unwrap();
    message
}

/// The refusals counted so far, by `reason` and `mode`.
pub(super) fn refusals(gateway: &Gateway, reason: &'static str, mode: &'static str) -> u64 {
    let own = gateway.shared.metrics.own();
    own.egress_refusals(reason, mode).get()
}

/// The only line of the log, once it is there.
pub(super) async fn line(gateway: &Gateway) -> String {
    gateway.logs("\n").await;
    let log = gateway.log();
    assert_eq!(log.lines().count(), 1, "{log}");
    log
}

/// A client that has sent nothing.
pub(super) async fn client(gateway: &Gateway) -> Client {
    gateway.client().await
}
