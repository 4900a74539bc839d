//! Where Pingora gets upstream connections: from our dialer, since its own knows neither the names that a certificate
//! may have nor how many connections there are.

use super::dial::DialError;
use super::streams::{Http2Upstream, Shared};
use super::way::{Way, of_pingora};
use async_trait::async_trait;
use pingora_core::connectors::http::custom::{Connection, Connector};
use pingora_core::connectors::{ConnectorOptions, http};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CustomALPN;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::{HttpPeer, Peer, ProxyDigestUserDataHook};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Makes connections as the peer says. Pingora keeps those for HTTP/1 in its pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpstreamConnector;

impl UpstreamConnector {
    /// All of Pingora's connectors, with this one among them.
    pub(crate) fn with_pool(conf: &ServerConf) -> http::Connector<Self> {
        http::Connector::new_custom(Some(ConnectorOptions::from_server_conf(conf)), Self)
    }
}

/// What a peer has to say to have its connections made here.
pub(crate) fn alpn() -> ALPN {
    ALPN::Custom(CustomALPN::new(b"tidegate".to_vec()))
}

/// What a peer says of how its connection is had. Pingora knows peers, and nothing of this: it travels in a place
/// that is meant for something else, but nobody asks for that where there is no forward proxy of Pingora's.
#[derive(Clone, Debug)]
pub(super) enum Carried {
    /// It is made this way.
    Http1(Arc<Way>),
    /// It is there, or is being made.
    Http2(Arc<Shared>),
}

/// What hands it to Pingora's connector.
#[derive(Clone)]
pub(super) struct Hook(ProxyDigestUserDataHook);

impl Hook {
    /// Has a connection to a peer made in this way.
    pub(super) fn put_on(&self, peer: &mut HttpPeer) {
        peer.options.proxy_digest_user_data_hook = Some(self.0.clone());
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Hook")
    }
}

impl Carried {
    pub(super) fn hook(self) -> Hook {
        Hook(Arc::new(move |_, _| Some(Box::new(self.clone()))))
    }

    fn of(peer: &impl Peer) -> Option<Self> {
        let hook = peer.proxy_digest_user_data_hook()?;
        let (request, ()) = ::http::Request::new(()).into_parts();
        let response = ResponseHeader::build(200, None).ok()?;
        let carried = hook(&request, &response)?.downcast().ok()?;
        Some(*carried)
    }
}

/// Where somebody else makes a connection, who waits for it has his own patience.
async fn within<T>(
    timeout: Option<Duration>,
    made: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    let Some(timeout) = timeout else {
        return made.await;
    };
    let made = tokio::time::timeout(timeout, made).await;
    made.unwrap_or(Err(DialError::Timeout))
}

#[async_trait]
impl Connector for UpstreamConnector {
    /// In HTTP/2. What is made for HTTP/1 are connections.
    type Session = Http2Upstream;

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<Http2Upstream>, bool)> {
        let carried = Carried::of(peer).ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "a peer without a way to dial it")
        })?;
        let timeout = peer.total_connection_timeout();
        match carried {
            Carried::Http1(way) => {
                let io = way
                    .dial_http1(timeout.unwrap_or(way.connect_timeout))
                    .await?;
                Ok((Connection::Stream(Box::new(io)), false))
            }
            Carried::Http2(shared) => {
                let session = within(timeout, shared.session())
                    .await
                    .map_err(of_pingora)?;
                Ok((Connection::Session(session.0), session.1))
            }
        }
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _peer: &P,
    ) -> Option<Http2Upstream> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _session: Http2Upstream,
        _peer: &P,
        _idle_timeout: Option<Duration>,
    ) {
    }
}
