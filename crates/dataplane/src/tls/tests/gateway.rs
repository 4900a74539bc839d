//! A gateway of TLS servers, and clients for it.

use super::pki::{Authority, Issued};
use crate::http::tests::client::{Client, Message};
use crate::http::tests::gateway::{Gateway, KEY, Rules, origin};
use crate::http::tests::origin::{Origin, ok};
use certificates::Credentials;
use model::TlsVersion;
use rules::{
    ClientVerification, CredentialRef, ForwardAction, HostMap, Listener, Serves, Table, TlsAction,
    TlsServer, TlsTermination, VirtualHost, VirtualHosts,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Stream = TlsStream<TcpStream>;

/// One server of the gateway.
#[derive(Clone)]
pub(crate) struct Server {
    name: &'static str,
    hosts: Vec<&'static str>,
    pub(crate) tls: TlsTermination,
}

/// A server with the certificate of its own name.
pub(crate) fn server(name: &'static str, hosts: &[&'static str]) -> Server {
    Server {
        name,
        hosts: hosts.to_vec(),
        tls: TlsTermination {
            certificates: vec![named(name)],
            client: ClientVerification::default(),
            min_version: TlsVersion::Auto,
            max_version: TlsVersion::Auto,
            cipher_suites: Vec::new(),
            alpn: vec!["h2", "http/1.1"],
        },
    }
}

pub(crate) fn named(name: &str) -> CredentialRef {
    CredentialRef::Named(name.into())
}

impl Server {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut TlsTermination)) -> Self {
        change(&mut self.tls);
        self
    }

    /// Asks for certificates of the authority `clients`.
    pub(crate) fn asking(self, mode: rules::ClientCertificate) -> Self {
        self.with(|tls| {
            tls.client.mode = mode;
            tls.client.authorities = Some(authorities());
        })
    }
}

pub(crate) fn authorities() -> CredentialRef {
    CredentialRef::AuthoritiesNamed("clients".into())
}

/// All hosts of the rules behind each server.
pub(crate) fn serves(servers: &[Server], hosts: &[Arc<VirtualHost>]) -> Serves {
    let mut map = HostMap::default();
    for server in servers {
        let mut own = HostMap::default();
        for host in &server.hosts {
            own.add(host, Arc::new(()));
        }
        let built = Arc::new(TlsServer {
            name: server.name.into(),
            action: TlsAction::Https {
                tls: Arc::new(server.tls.clone()),
                virtual_hosts: Arc::new(VirtualHosts::new(hosts.iter().cloned())),
                hosts: Arc::new(own),
            },
            origin: origin(),
        });
        for host in &server.hosts {
            map.add(host, built.clone());
        }
    }
    Serves::Tls(map)
}

/// A gateway, its upstream, and who signed what.
pub(crate) struct Secured {
    pub(crate) gateway: Gateway,
    pub(crate) origin: Origin,
    pub(crate) root: Authority,
    pub(crate) clients: Authority,
    hosts: Vec<Arc<VirtualHost>>,
}

impl Secured {
    /// Servers with certificates for their hosts.
    pub(crate) async fn start(servers: &[Server]) -> Self {
        Self::start_with(servers, |_| {}).await
    }

    pub(crate) async fn start_with(servers: &[Server], change: impl FnOnce(&mut Rules)) -> Self {
        Self::start_routed(servers, change, |_| {}).await
    }

    pub(crate) async fn start_routed(
        servers: &[Server],
        change: impl FnOnce(&mut Rules),
        route: impl FnOnce(&mut ForwardAction),
    ) -> Self {
        let (root, clients) = (Authority::new(), Authority::new());
        let mut credentials = Credentials::default();
        for server in servers {
            let certificate = root.server(&server.hosts);
            credentials
                .certificates
                .insert(named(server.name), certificate.credential());
        }
        credentials
            .authorities
            .insert(authorities(), clients.authorities());
        let origin = Origin::answering(ok("hello")).await;
        let mut rules = Rules::to_with(&[origin.address], route);
        rules.credentials = Arc::new(credentials);
        change(&mut rules);
        let mut kept = Vec::new();
        let gateway = rules.start_as(|hosts| {
            kept = hosts.to_vec();
            serves(servers, &kept)
        });
        Self {
            gateway: gateway.await,
            origin,
            root,
            clients,
            hosts: kept,
        }
    }

    /// Publishes these servers in place of those before.
    pub(crate) fn publish_servers(&self, servers: &[Server]) {
        let listener = Listener {
            key: KEY,
            serves: serves(servers, &self.hosts),
            origins: Vec::new(),
        };
        let table = Table {
            generation: 2,
            listeners: [(KEY, Arc::new(listener))].into_iter().collect(),
            clusters: self.gateway.table.clusters.clone(),
        };
        let credentials = self.gateway.shared.snapshot().credentials.clone();
        self.publish(Arc::new(table), credentials);
    }

    /// Publishes other certificates.
    pub(crate) fn publish_credentials(&self, change: impl FnOnce(&mut Credentials)) {
        let snapshot = self.gateway.shared.snapshot();
        let mut credentials = (*snapshot.credentials).clone();
        change(&mut credentials);
        self.publish(snapshot.table.clone(), Arc::new(credentials));
    }

    /// The routes behind each server.
    pub(crate) fn routes(&self) -> Arc<rules::RouteSet> {
        self.hosts[0].routes.clone()
    }

    fn publish(&self, table: Arc<Table>, credentials: Arc<Credentials>) {
        let endpoints = &self.gateway.endpoints;
        self.gateway.shared.publish(table, endpoints, credentials);
    }

    /// A client that trusts the root.
    pub(crate) fn client(&self) -> Settings {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der()).unwrap();
        Settings {
            roots: Arc::new(roots),
            certificate: None,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            verifier: None,
        }
    }

    /// Shakes hands as a client that names `sni`, or nobody.
    pub(crate) async fn connect(
        &self,
        config: &Arc<ClientConfig>,
        sni: &str,
    ) -> io::Result<Stream> {
        let socket = TcpStream::connect(self.gateway.address).await?;
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        TlsConnector::from(config.clone())
            .connect(name, socket)
            .await
    }

    /// The answer to `GET / HTTP/1.1` for `shop.test`, or why there is none.
    pub(crate) async fn get(&self, settings: Settings, sni: &str) -> io::Result<Message> {
        self.get_from(&settings.config(), sni, "shop.test").await
    }

    pub(crate) async fn get_from(
        &self,
        config: &Arc<ClientConfig>,
        sni: &str,
        host: &str,
    ) -> io::Result<Message> {
        let mut client = Client::on(self.connect(config, sni).await?);
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        client.try_ask(&request).await
    }

    /// The certificate that a client is shown.
    pub(crate) async fn shown(&self, sni: &str) -> rustls::pki_types::CertificateDer<'static> {
        let stream = self.connect(&self.client().config(), sni).await.unwrap();
        leaf(&stream)
    }
}

pub(crate) fn leaf(stream: &Stream) -> rustls::pki_types::CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0]
        .clone()
        .into_owned()
}

/// What a client can do.
pub(crate) struct Settings {
    pub(crate) roots: Arc<RootCertStore>,
    certificate: Option<(
        Vec<rustls::pki_types::CertificateDer<'static>>,
        rustls::pki_types::PrivateKeyDer<'static>,
    )>,
    pub(crate) versions: Vec<&'static rustls::SupportedProtocolVersion>,
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) verifier: Option<Arc<dyn ServerCertVerifier>>,
}

impl Settings {
    pub(crate) fn showing(mut self, certificate: &Issued) -> Self {
        self.certificate = Some((vec![certificate.der.clone()], certificate.private_key()));
        self
    }

    pub(crate) fn tls12(mut self) -> Self {
        self.versions = vec![&rustls::version::TLS12];
        self
    }

    pub(crate) fn offering(mut self, alpn: &[&'static str]) -> Self {
        self.alpn = alpn.to_vec();
        self
    }

    pub(crate) fn config(self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.verifier.unwrap_or_else(|| {
            WebPkiServerVerifier::builder_with_provider(self.roots, provider.clone())
                .build()
                .unwrap()
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match self.certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }
}
