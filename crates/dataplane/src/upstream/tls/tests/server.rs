//! A TLS server that tells what it saw.

use crate::tls::tests::pki::{Authority, Issued};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What every client that is let in is sent.
pub(crate) const HELLO: &[u8; 5] = b"hello";

/// What a server knows of a client that it let in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Seen {
    pub(crate) sni: Option<String>,
    pub(crate) alpn: Option<String>,
    /// Whether a certificate was shown.
    pub(crate) certificate: bool,
    pub(crate) resumed: bool,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

/// How a server is set up.
pub(crate) struct Setup<'a> {
    pub(crate) certificate: &'a Issued,
    /// Clients must be signed by these.
    pub(crate) clients: Option<&'a Authority>,
    pub(crate) alpn: &'a [&'a str],
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
}

impl<'a> Setup<'a> {
    pub(crate) fn of(certificate: &'a Issued) -> Self {
        Self {
            certificate,
            clients: None,
            alpn: &[],
            versions: rustls::ALL_VERSIONS,
        }
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions)
            .unwrap();
        let builder = match self.clients {
            Some(clients) => {
                let roots = clients.authorities().roots.clone();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let chain = vec![self.certificate.der.clone()];
        let mut config = builder
            .with_single_cert(chain, self.certificate.private_key())
            .unwrap();
        config.alpn_protocols = self
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Arc::new(config)
    }

    pub(crate) async fn start(&self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(self.config());
        let (tell, seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), socket, tell.clone()));
            }
        });
        Server {
            address,
            seen,
            task,
        }
    }
}

async fn serve(acceptor: TlsAcceptor, socket: TcpStream, tell: mpsc::UnboundedSender<Seen>) {
    let Ok(mut stream) = acceptor.accept(socket).await else {
        return;
    };
    let session = stream.get_ref().1;
    let alpn = session.alpn_protocol().map(String::from_utf8_lossy);
    let _ = tell.send(Seen {
        sni: session.server_name().map(Into::into),
        alpn: alpn.map(Into::into),
        certificate: session.peer_certificates().is_some(),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    });
    let _ = stream.write_all(HELLO).await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

impl Server {
    /// The next client that was let in.
    pub(crate) async fn seen(&mut self) -> Seen {
        let seen = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
        seen.unwrap().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
