//! The proxy of a workload in the mesh: it ends TLS, and hands on what is inside.

use super::server::Setup;
use crate::tls::tests::pki::Authority;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A proxy in front of an application. Ends with the test's runtime.
pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    served: Arc<AtomicUsize>,
}

impl Sidecar {
    /// Shows these names, signed by an authority that must have signed its clients, too.
    pub(crate) async fn before(application: SocketAddr, mesh: &Authority, names: &[&str]) -> Self {
        let issued = mesh.server(names);
        let setup = Setup {
            clients: Some(mesh),
            alpn: &["istio-h2", "istio-http/1.1", "istio"],
            ..Setup::of(&issued)
        };
        let acceptor = TlsAcceptor::from(setup.config());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sidecar = Self {
            address: listener.local_addr().unwrap(),
            served: Arc::default(),
        };
        let served = sidecar.served.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, served) = (acceptor.clone(), served.clone());
                tokio::spawn(async move {
                    let Ok(mut inside) = acceptor.accept(socket).await else {
                        return;
                    };
                    served.fetch_add(1, SeqCst);
                    let mut to = TcpStream::connect(application).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut to).await;
                });
            }
        });
        sidecar
    }

    /// Connections of clients that it knew, and that knew it as far as it can tell.
    pub(crate) fn served(&self) -> usize {
        self.served.load(SeqCst)
    }
}
