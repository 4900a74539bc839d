//! Handshakes with real servers on loopback.

mod identities;
mod keeping;
pub(crate) mod server;
mod showing;
pub(crate) mod sidecar;
mod system;
mod verifying;

use super::{Alpn, ClientTls, ClientTlsStore, ReadyTls};
use crate::tls::tests::pki::{Authority, Issued};
use crate::upstream::dial::{Dial, DialError, Dialer, UpstreamIo};
use certificates::Credentials;
use rules::{
    Cluster, ClusterKey, CredentialRef, Endpoint, EndpointAddr, ServerNames, ServerVerification,
    Table, UpstreamProtocol, UpstreamSecurity, UpstreamTls, Workload, WorkloadNames,
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

pub(crate) fn identity() -> CredentialRef {
    CredentialRef::Named("client".into())
}

/// SIMPLE, with [`authorities`].
pub(crate) fn simple() -> UpstreamTls {
    UpstreamTls {
        certificate: None,
        verification: ServerVerification::Verified {
            authorities: Some(authorities()),
            names: ServerNames::Sent,
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
            names: ServerNames::Listed(names.iter().map(|name| Arc::from(*name)).collect()),
        },
        ..simple()
    }
}

/// TLS of the mesh, with [`authorities`]: servers must be the workload that is meant, in trust domain `mesh` or `old`.
pub(crate) fn of_mesh() -> UpstreamTls {
    UpstreamTls {
        certificate: Some(identity()),
        verification: ServerVerification::Verified {
            authorities: Some(authorities()),
            names: ServerNames::Workload(WorkloadNames {
                trust_domains: vec!["mesh".into(), "old".into()],
                others: Vec::new(),
            }),
        },
        sni: Some("outbound_.443_._.service.test".into()),
        mesh: true,
    }
}

/// A workload of namespace `shop` in the mesh.
pub(crate) fn workload(account: Option<&str>) -> Workload {
    Workload {
        name: account.unwrap_or("somebody").into(),
        namespace: "shop".into(),
        service_account: account.map(Into::into),
        in_mesh: true,
        ..Workload::default()
    }
}

/// An endpoint with such a workload.
pub(crate) fn meshed(server: SocketAddr, account: Option<&str>) -> Endpoint {
    Endpoint {
        workload: Some(Arc::new(workload(account))),
        takes_mesh_tls: true,
        ..Endpoint::at(EndpointAddr::Tcp(server))
    }
}

/// The same as [`trusting`], and an identity to show.
pub(crate) fn in_mesh(authority: &Authority) -> Credentials {
    let mut credentials = trusting(authority);
    let own = authority.client(&["spiffe://mesh/ns/shop/sa/gateway"]);
    credentials
        .certificates
        .insert(identity(), own.credential());
    credentials
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
        tls: tls.map_or_else(UpstreamSecurity::default, |tls| {
            UpstreamSecurity::Rule(Arc::new(tls))
        }),
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

/// For an endpoint of which nothing but the address is known.
pub(crate) fn dialer(server: SocketAddr, cluster: &Cluster, store: &ClientTlsStore) -> Dialer {
    let endpoint = Endpoint::at(EndpointAddr::Tcp(server));
    Dialer::new(&endpoint, cluster, store.of(&cluster.tls).as_ref())
}

fn ready(store: &ClientTlsStore, tls: &UpstreamTls) -> ReadyTls {
    let security = UpstreamSecurity::Rule(Arc::new(tls.clone()));
    store.of(&security).unwrap()
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
        ready(&self.store, &self.tls).unwrap().toward(None)
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
        dialer(server, &cluster, &self.store)
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
