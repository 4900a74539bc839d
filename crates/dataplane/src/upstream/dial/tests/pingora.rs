//! Connections in the hands of Pingora's connectors.

use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::http::custom::{Connection, Connector as CustomConnector};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::tls::CustomALPN;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::{Error, ErrorType};
use pingora_http::RequestHeader;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Makes connections for Pingora, and counts them.
#[derive(Clone, Debug)]
struct Dials {
    dialer: Arc<Dialer>,
    count: Arc<AtomicUsize>,
}

impl Dials {
    async fn connect(&self, alpn: Alpn) -> pingora_error::Result<UpstreamIo> {
        self.count.fetch_add(1, SeqCst);
        let asked = Dial { alpn, ..dial(None) };
        let connected = self.dialer.connect(asked).await;
        connected.map_err(|error| Error::because(ErrorType::ConnectError, "", error))
    }
}

#[async_trait]
impl CustomConnector for Dials {
    type Session = ();

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _: &P,
    ) -> pingora_error::Result<(Connection<()>, bool)> {
        let io = Self::connect(self, Alpn::Http1).await?;
        Ok((Connection::Stream(Box::new(io)), false))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _: &P) -> Option<()> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        (): (),
        _: &P,
        _: Option<Duration>,
    ) {
    }
}

fn options() -> ConnectorOptions {
    ConnectorOptions::from_server_conf(&crate::upstream::connector_conf())
}

fn dials(address: SocketAddr, authority: &Authority) -> Dials {
    let dialer = dialer(address, &cluster(Some(simple())), &trusting(authority));
    Dials {
        dialer: Arc::new(dialer),
        count: Arc::default(),
    }
}

fn request() -> Box<RequestHeader> {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    request.insert_header("host", "service.test").unwrap();
    Box::new(request)
}

#[tokio::test]
async fn its_http_1_sessions_run_on_them_and_reuse_them() {
    let authority = Authority::new();
    let shown = authority.server(&["service.test"]);
    let acceptor = TlsAcceptor::from(Setup::of(&shown).config());
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut stream = acceptor.accept(socket).await.unwrap();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while stream.read(&mut head).await.is_ok_and(|length| length > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    let dials = dials(address, &authority);
    let count = dials.count.clone();
    let connector = Connector::new_custom(Some(options()), dials);
    let mut peer = HttpPeer::new(address, true, "service.test".to_owned());
    peer.options.alpn = ALPN::Custom(CustomALPN::new(b"own".to_vec()));
    for reused in [false, true, true] {
        let (session, was_reused) = connector.get_http_session(&peer).await.unwrap();
        assert_eq!(was_reused, reused);
        let HttpSession::H1(mut session) = session else {
            panic!("not HTTP/1");
        };
        session.write_request_header(request()).await.unwrap();
        session.read_response().await.unwrap();
        let body = session.read_body_bytes().await.unwrap();
        assert_eq!(body, Some(Bytes::from_static(b"ok")));
        assert!(session.read_body_bytes().await.unwrap().is_none());
        let session = HttpSession::H1(session);
        let idle = Some(Duration::from_secs(30));
        connector.release_http_session(session, &peer, idle).await;
    }
    assert_eq!(count.load(SeqCst), 1);
}
