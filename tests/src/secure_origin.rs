//! An origin in TLS that remembers how it was met.

use crate::async_server::{AsyncServer, LOOPBACK};
use crate::authority::{Authority, Certificate};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How many visits are remembered.
const KEPT_VISITS: usize = 4096;

/// One request to a [`SecureOrigin`], and the connection it came on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Visit {
    /// The name that was asked for.
    pub sni: Option<String>,
    /// The protocol that was agreed on.
    pub alpn: Option<String>,
    /// What the client showed first, DER.
    pub shown: Option<Vec<u8>>,
    /// How many connections came before its own, whether their handshakes ended well or not.
    pub connection: usize,
    /// The path that was asked for.
    pub path: String,
}

/// A server in TLS that answers 200 with its name, or with files, in HTTP/1.1 or HTTP/2 as is agreed on. It is on loopback unless
/// said otherwise.
#[derive(Debug)]
pub struct SecureOrigin {
    server: AsyncServer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    content: Content,
    visits: Mutex<Vec<Visit>>,
    config: Mutex<Arc<ServerConfig>>,
}

/// What is answered.
#[derive(Debug)]
enum Content {
    /// Always this.
    Name(&'static str),
    /// The file of this folder that a path names, or its `index.html`.
    Folder(PathBuf),
}

impl SecureOrigin {
    /// Shows this certificate, and asks for none.
    pub fn start(name: &'static str, certificate: &Certificate) -> Self {
        Self::start_at(LOOPBACK, name, certificate)
    }

    /// As [`SecureOrigin::start`], at a given address.
    pub fn start_at(address: SocketAddr, name: &'static str, certificate: &Certificate) -> Self {
        Self::with(address, Content::Name(name), config(certificate, None))
    }

    /// And wants one of this authority.
    pub fn asking(name: &'static str, certificate: &Certificate, clients: &Authority) -> Self {
        let content = Content::Name(name);
        Self::with(LOOPBACK, content, config(certificate, Some(clients)))
    }

    /// Answers with the files of a folder, and 404 for those that are not there.
    pub fn folder_at(address: SocketAddr, folder: &Path, certificate: &Certificate) -> Self {
        let content = Content::Folder(folder.to_owned());
        Self::with(address, content, config(certificate, None))
    }

    fn with(address: SocketAddr, content: Content, config: ServerConfig) -> Self {
        let shared = Arc::new(Shared {
            content,
            visits: Mutex::default(),
            config: Mutex::new(Arc::new(config)),
        });
        let server = AsyncServer::start(address, {
            let shared = Arc::clone(&shared);
            move |stream, number| {
                let config = lock(&shared.config).clone();
                serve(stream, config, number, Arc::clone(&shared))
            }
        });
        Self { server, shared }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many connections came in, whether their handshakes ended well or not.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// The first few thousand requests.
    pub fn visits(&self) -> Vec<Visit> {
        lock(&self.shared.visits).clone()
    }

    /// The newest request.
    ///
    /// # Panics
    ///
    /// When there was none.
    #[track_caller]
    pub fn last_visit(&self) -> Visit {
        self.visits().pop().expect("the origin got no request")
    }

    /// From the next connection on it shows this certificate.
    pub fn show(&self, certificate: &Certificate) {
        *lock(&self.shared.config) = Arc::new(config(certificate, None));
    }
}

async fn serve(stream: TcpStream, config: Arc<ServerConfig>, number: usize, shared: Arc<Shared>) {
    // Who does not shake hands is counted as a connection, and nothing else.
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
        return;
    };
    let met = met(&stream, number);
    let is_http2 = met.alpn.as_deref() == Some("h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let visit = Visit {
            path: request.uri().path().to_owned(),
            ..met.clone()
        };
        let response = shared.content.answer(&visit.path);
        shared.note(visit);
        async move { Ok::<_, Infallible>(response) }
    });
    let stream = TokioIo::new(stream);
    // How a client leaves is its own affair.
    if is_http2 {
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(stream, service).await;
    } else {
        let builder = http1::Builder::new();
        let _ = builder.serve_connection(stream, service).await;
    }
}

impl Content {
    fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let file = match self {
            Self::Name(name) => return Response::new(Full::from(*name)),
            Self::Folder(folder) => folder.join(path.trim_start_matches('/')),
        };
        let is_page = file.is_dir();
        let file = if is_page {
            file.join("index.html")
        } else {
            file
        };
        let Ok(content) = fs::read(file) else {
            let mut missing = Response::default();
            *missing.status_mut() = StatusCode::NOT_FOUND;
            return missing;
        };
        let mut response = Response::new(Full::from(content));
        let kind = if is_page {
            "text/html"
        } else {
            "application/octet-stream"
        };
        let kind = HeaderValue::from_static(kind);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

fn met(stream: &TlsStream<TcpStream>, connection: usize) -> Visit {
    let (_, session) = stream.get_ref();
    let protocol = session.alpn_protocol();
    let chain = session.peer_certificates();
    Visit {
        sni: session.server_name().map(str::to_owned),
        alpn: protocol.map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        shown: chain
            .and_then(|chain| chain.first())
            .map(|leaf| leaf.to_vec()),
        connection,
        path: String::new(),
    }
}

impl Shared {
    fn note(&self, visit: Visit) {
        let mut visits = lock(&self.visits);
        if visits.len() < KEPT_VISITS {
            visits.push(visit);
        }
    }
}

fn config(certificate: &Certificate, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).expect("an authority");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let (chain, key) = certificate.parts();
    let mut config = builder
        .with_single_cert(chain, key)
        .expect("a key of its certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
