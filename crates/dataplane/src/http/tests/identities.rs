//! Requests to endpoints that are shown the gateway's identity, while that is replaced.

use super::client::{Client, Message, get};
use super::eventually;
use super::gateway::{Gateway, Rules};
use crate::tls::tests::pki::{Authority, Issued};
use crate::upstream::tls::tests::server::Setup;
use certificates::Credentials;
use rules::{
    CredentialRef, Predicate, ServerNames, ServerVerification, UpstreamProtocol, UpstreamSecurity,
    UpstreamTls, WorkloadNames,
};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const OWN: &str = "spiffe://mesh.test/ns/istio-system/sa/edge";
const SHOP: &str = "spiffe://mesh.test/ns/shop/sa/shop";

/// An endpoint in the mesh, and what it was shown for each connection. Answers wait for a permit each.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    shown: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    requests: Arc<AtomicUsize>,
    answers: Arc<Semaphore>,
}

impl Peer {
    async fn start(mesh: &Authority, alpn: &'static str) -> Self {
        let issued = mesh.server(&[SHOP]);
        let setup = Setup {
            clients: Some(mesh),
            alpn: &[alpn],
            ..Setup::of(&issued)
        };
        let acceptor = TlsAcceptor::from(setup.config());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self {
            address: listener.local_addr().unwrap(),
            shown: Arc::default(),
            requests: Arc::default(),
            answers: Arc::new(Semaphore::new(0)),
        };
        let serving = peer.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (serving, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else {
                        return;
                    };
                    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                    serving.shown.lock().unwrap().push(shown.into_owned());
                    match alpn {
                        "istio-h2" => serving.serve_http2(stream).await,
                        _ => serving.serve(stream).await,
                    }
                });
            }
        });
        peer
    }

    async fn permitted(&self) {
        self.requests.fetch_add(1, SeqCst);
        self.answers.acquire().await.unwrap().forget();
    }

    async fn serve(self, mut stream: TlsStream<TcpStream>) {
        let mut buffer = Vec::new();
        while Message::read(&mut stream, &mut buffer, false)
            .await
            .is_some()
        {
            self.permitted().await;
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
        }
    }

    async fn serve_http2(self, stream: TlsStream<TcpStream>) {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let this = self.clone();
            tokio::spawn(async move {
                this.permitted().await;
                let response = http::Response::new(());
                let mut stream = respond.send_response(response, false).unwrap();
                let body = bytes::Bytes::from_static(b"fine");
                stream.send_data(body, true).unwrap();
            });
        }
    }

    fn shown(&self) -> Vec<CertificateDer<'static>> {
        self.shown.lock().unwrap().clone()
    }

    async fn until_asked(&self, requests: usize) {
        eventually("it is asked", || self.requests.load(SeqCst) == requests).await;
    }
}

/// A gateway that shows this identity to the endpoint.
async fn start(peer: &Peer, protocol: UpstreamProtocol, mesh: &Authority, own: &Issued) -> Gateway {
    let tls = UpstreamTls {
        certificate: Some(CredentialRef::Workload),
        verification: ServerVerification::Verified {
            authorities: Some(CredentialRef::WorkloadAuthorities),
            names: ServerNames::Workload(WorkloadNames {
                trust_domains: vec!["mesh.test".into()],
                others: Vec::new(),
            }),
        },
        sni: None,
        mesh: true,
    };
    let mut rules = Rules::default();
    rules.credentials = credentials(mesh, own);
    let cluster = rules.cluster_with("shop", protocol, &[peer.address], |cluster| {
        cluster.tls = UpstreamSecurity::Rule(Arc::new(tls));
    });
    rules.route(Predicate::default(), cluster, |_| {});
    rules.start().await
}

fn credentials(mesh: &Authority, own: &Issued) -> Arc<Credentials> {
    let mut credentials = Credentials::default();
    let certificates = &mut credentials.certificates;
    certificates.insert(CredentialRef::Workload, own.credential());
    let authorities = &mut credentials.authorities;
    authorities.insert(CredentialRef::WorkloadAuthorities, mesh.authorities());
    Arc::new(credentials)
}

/// Publishes another identity, and nothing else.
fn renew(gateway: &Gateway, mesh: &Authority, own: &Issued) {
    let (table, endpoints) = (gateway.table.clone(), &gateway.endpoints);
    let credentials = credentials(mesh, own);
    gateway.shared.publish(table, endpoints, credentials);
    let id = gateway.shared.snapshot().credentials.identity().cloned();
    assert_eq!(id.unwrap().as_str(), OWN);
}

/// Promises 6 and 8: who waits for an answer gets it on the connection that it asked on, and the next connection is
/// made with the new identity. None that was made with the former is used again.
#[tokio::test]
async fn a_new_identity_is_shown_to_new_connections_and_cuts_none() {
    let mesh = Authority::new();
    let own = [(); 2].map(|()| mesh.client(&[OWN]));
    let peer = Peer::start(&mesh, "istio-http/1.1").await;
    let gateway = start(&peer, UpstreamProtocol::Http1, &mesh, &own[0]).await;
    let address = gateway.address;
    let asking = tokio::spawn(async move { Client::connect(address).await.ask(&get("/")).await });
    peer.until_asked(1).await;
    renew(&gateway, &mesh, &own[1]);
    peer.answers.add_permits(3);
    assert_eq!(asking.await.unwrap().body, "fine");
    for _ in 0..2 {
        assert_eq!(gateway.ask(&get("/")).await.body, "fine");
    }
    assert_eq!(peer.shown(), own.map(|one| one.der));
}

/// The same of a connection that requests share.
#[tokio::test]
async fn a_new_identity_is_shown_to_new_connections_in_http2_too() {
    let mesh = Authority::new();
    let own = [(); 2].map(|()| mesh.client(&[OWN]));
    let peer = Peer::start(&mesh, "istio-h2").await;
    let gateway = start(&peer, UpstreamProtocol::Http2, &mesh, &own[0]).await;
    let address = gateway.address;
    let ask = move || async move { Client::connect(address).await.ask(&get("/")).await };
    let before = [tokio::spawn(ask()), tokio::spawn(ask())];
    peer.until_asked(2).await;
    renew(&gateway, &mesh, &own[1]);
    let after = [tokio::spawn(ask()), tokio::spawn(ask())];
    peer.until_asked(4).await;
    peer.answers.add_permits(4);
    for asking in before.into_iter().chain(after) {
        assert_eq!(asking.await.unwrap().body, "fine");
    }
    assert_eq!(peer.shown(), own.map(|one| one.der));
}

/// While the mesh's authority is replaced, certificates of both sides are signed by one or the other.
#[tokio::test]
async fn new_authorities_count_for_new_connections() {
    let (old, new) = (Authority::new(), Authority::new());
    let own = old.client(&[OWN]);
    let peer = Peer::start(&old, "istio-http/1.1").await;
    peer.answers.add_permits(2);
    let gateway = start(&peer, UpstreamProtocol::Http1, &old, &own).await;
    assert_eq!(gateway.ask(&get("/")).await.body, "fine");
    // The peer is not of this mesh any more, whatever connections there are to it.
    renew(&gateway, &new, &own);
    assert_eq!(gateway.ask(&get("/")).await.status(), 503);
    gateway.logs(" certificate_invalid ").await;
    renew(&gateway, &old, &own);
    assert_eq!(gateway.ask(&get("/")).await.body, "fine");
}
