//! An application for tests.

use crate::Application;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// An application at this address, beside a sidecar whose connections come from an address that is no default's.
pub(crate) fn beside(address: &str) -> Application {
    Application {
        address: address.parse().unwrap(),
        from_v4: Ipv4Addr::new(127, 0, 0, 66),
        from_v6: Ipv6Addr::LOCALHOST,
    }
}

/// An application that answers every request with the same bytes, and closes.
pub(crate) struct App {
    pub(crate) port: u16,
    requests: mpsc::UnboundedReceiver<String>,
}

impl App {
    pub(crate) async fn answering(answer: impl Into<String>) -> Self {
        Self::accepting(answer.into(), None).await
    }

    pub(crate) async fn answering_in_tls(answer: impl Into<String>) -> Self {
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["somebody.test".to_owned()]).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Self::accepting(answer.into(), Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn accepting(answer: String, tls: Option<TlsAcceptor>) -> Self {
        Self::accepting_at("127.0.0.1:0", answer, tls).await
    }

    pub(crate) async fn accepting_at(
        address: &str,
        answer: String,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                match &tls {
                    None => answer_one(socket, &answer, &seen).await,
                    Some(tls) => {
                        let stream = tls.accept(socket).await.unwrap();
                        answer_one(stream, &answer, &seen).await;
                    }
                }
            }
        });
        Self { port, requests }
    }

    pub(crate) async fn asked(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }
}

async fn answer_one(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &str,
    seen: &mpsc::UnboundedSender<String>,
) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
    let _ = seen.send(String::from_utf8(request).unwrap());
    // Who asks may have seen enough.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// An answer with these header lines, each ended by `\r\n`.
pub(crate) fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

pub(crate) fn headers(list: &[(&str, &str)]) -> HeaderMap {
    let parsed = list.iter().map(|(name, value)| {
        let name = HeaderName::try_from(*name).unwrap();
        (name, HeaderValue::try_from(*value).unwrap())
    });
    parsed.collect()
}

/// A port that nobody listens on.
pub(crate) async fn nobody() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}
