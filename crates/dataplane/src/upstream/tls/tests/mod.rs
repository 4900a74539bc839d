//! Handshakes with real servers on loopback.

mod keeping;
pub(crate) mod server;
mod showing;
mod system;
mod verifying;

use super::{Alpn, ClientTls, ClientTlsStore};
use crate::tls::tests::pki::{Authority, Issued};
use crate::upstream::dial::{Dial, DialError, Dialer, UpstreamIo};
use certificates::Credentials;
use rules::{
    Cluster, ClusterKey, CredentialRef, EndpointAddr, ServerVerification, Table, UpstreamProtocol,
    UpstreamTls,
};
use server::Server;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn authorities() -> CredentialRef {
    CredentialRef::AuthoritiesNamed("servers".into())
}

fn identity() -> CredentialRef {
    CredentialRef::Named("client".into())
}

/// SIMPLE, with [`authorities`].
pub(crate) fn simple() -> UpstreamTls {
    UpstreamTls {
        certificate: None,
        verification: ServerVerification::Verified {
            authorities: Some(authorities()),
            subject_alt_names: Vec::new(),
        },
        sni: None,
        mesh: false,
    }
}

/// The same with names.
fn naming(names: &[&str]) -> UpstreamTls {
    UpstreamTls {
        verification: ServerVerification::Verified {
            authorities: Some(authorities()),
            subject_alt_names: names.iter().map(|name| Arc::from(*name)).collect(),
        },
        ..simple()
    }
}

/// Credentials in which servers are signed by `authority`.
pub(crate) fn trusting(authority: &Authority) -> Credentials {
    let mut credentials = Credentials::default();
    credentials
        .authorities
        .insert(authorities(), authority.authorities());
    credentials
}

pub(crate) fn cluster(tls: Option<UpstreamTls>) -> Cluster {
    let key = ClusterKey {
        view: None,
        host: "service.test".into(),
        subset: None,
        port: 443,
    };
    Cluster {
        tls: tls.map(Arc::new),
        ..Cluster::plain(key, UpstreamProtocol::Http1)
    }
}

pub(crate) fn table(cluster: &Cluster) -> Table {
    Table {
        clusters: [(cluster.key.clone(), Arc::new(cluster.clone()))]
            .into_iter()
            .collect(),
        ..Table::default()
    }
}

/// A request for `sni`.
pub(crate) fn dial(sni: Option<&str>) -> Dial<'_> {
    Dial {
        sni,
        alpn: Alpn::Http1,
        downstream: None,
        timeout: PATIENCE,
    }
}

/// What is asked of a server, and what there is to ask it with.
struct Case {
    tls: UpstreamTls,
    credentials: Credentials,
    store: ClientTlsStore,
}

impl Case {
    fn new(tls: UpstreamTls, credentials: Credentials) -> Self {
        Self {
            store: ClientTlsStore::default()
                .next(&table(&cluster(Some(tls.clone()))), &credentials),
            tls,
            credentials,
        }
    }

    /// Publishes what changed.
    fn publish(&mut self) {
        let table = table(&cluster(Some(self.tls.clone())));
        self.store = self.store.next(&table, &self.credentials);
    }

    fn client(&self) -> Arc<ClientTls> {
        self.store.of(&self.tls).unwrap()
    }

    async fn connect(
        &self,
        server: SocketAddr,
        sni: Option<&str>,
    ) -> Result<UpstreamIo, DialError> {
        self.dialer(server).connect(dial(sni)).await
    }

    fn dialer(&self, server: SocketAddr) -> Dialer {
        let cluster = cluster(Some(self.tls.clone()));
        Dialer::new(&EndpointAddr::Tcp(server), &cluster, &self.store)
    }

    /// Why a connection for `sni` is of no use. Of what the server refuses only its end is seen here.
    async fn try_for(&self, server: &Server, sni: &str) -> Result<(), &'static str> {
        let connected = self.connect(server.address, Some(sni)).await;
        let mut io = connected.map_err(|error| error.reason())?;
        greeted(&mut io).await
    }
}

/// Whether the server lets this side in, which in TLS 1.3 it says later.
async fn greeted(io: &mut UpstreamIo) -> Result<(), &'static str> {
    let mut hello = [0; server::HELLO.len()];
    let read = tokio::time::timeout(PATIENCE, io.read_exact(&mut hello)).await;
    match read.unwrap() {
        Ok(_) => {
            assert_eq!(&hello, server::HELLO);
            Ok(())
        }
        Err(_) => Err("refused by the server"),
    }
}

/// A server's certificate that is changed as the case wants.
fn changed(
    authority: &Authority,
    names: &[&str],
    change: impl FnOnce(&mut rcgen::CertificateParams),
) -> Issued {
    authority.client_with(names, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        change(params);
    })
}
