//! Where Pingora gets upstream connections for HTTP/1: from our dialer, since its own knows neither the names that
//! a certificate may have nor how many connections there are.

use super::way::Way;
use async_trait::async_trait;
use pingora_core::connectors::http::custom::{Connection, Connector};
use pingora_core::connectors::{ConnectorOptions, http};
use pingora_core::protocols::ALPN;
use pingora_core::protocols::tls::CustomALPN;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::Peer;
use pingora_error::{Error, ErrorType, Result};
use std::time::Duration;

/// Makes connections as the peer's [`Way`] says. Pingora keeps them in its pool for HTTP/1.
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

#[async_trait]
impl Connector for UpstreamConnector {
    /// There are none: what is made are connections for HTTP/1.
    type Session = ();

    async fn get_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        peer: &P,
    ) -> Result<(Connection<()>, bool)> {
        let way = Way::of(peer).ok_or_else(|| {
            Error::explain(ErrorType::InternalError, "a peer without a way to dial it")
        })?;
        let timeout = peer.total_connection_timeout();
        let timeout = timeout.unwrap_or(way.connect_timeout);
        let io = way.dial_http1(timeout).await?;
        Ok((Connection::Stream(Box::new(io)), false))
    }

    async fn reused_http_session<P: Peer + Send + Sync + 'static>(&self, _peer: &P) -> Option<()> {
        None
    }

    async fn release_http_session<P: Peer + Send + Sync + 'static>(
        &self,
        _session: (),
        _peer: &P,
        _idle_timeout: Option<Duration>,
    ) {
    }
}
