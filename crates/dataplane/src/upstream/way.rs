//! How connections to one endpoint of a cluster are made.

use super::connection::{Connection, Open};
use super::connections::Connections;
use super::dial::{Dial, DialError, Dialer, UpstreamIo, bridge};
use super::tls::Alpn;
use super::tracked::{Tracked, digest};
use pingora_core::protocols::GetProxyDigest;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::upstreams::peer::{Peer, ProxyDigestUserDataHook};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use rules::EndpointAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How connections to one endpoint are made, and where they are counted.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) address: EndpointAddr,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) connect_timeout: Duration,
    /// How long a connection may be used.
    pub(crate) lifetime: Option<Duration>,
    /// What is known of the request for which one is made.
    pub(crate) occasion: Occasion,
}

/// What of a request shapes the connection that is made for it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Occasion {
    /// The name that is sent where the rule names none: the request's host.
    pub(crate) sni: Option<Arc<str>>,
    /// The client and where it arrived, for endpoints that are told in the PROXY protocol.
    pub(crate) downstream: Option<(SocketAddr, SocketAddr)>,
}

impl Way {
    /// A connection, counted as open as long as the second value exists.
    pub(crate) async fn dial(
        &self,
        alpn: Alpn,
        timeout: Duration,
    ) -> Result<(UpstreamIo, Open), DialError> {
        let connection = self.connections.prepare(&self.address, self.lifetime);
        self.dial_as(&connection, alpn, timeout).await
    }

    /// A connection that requests in HTTP/2 will share, on a socket, which is all that Pingora takes there.
    pub(super) async fn dial_shared(
        &self,
        connection: &Arc<Connection>,
    ) -> Result<(L4Stream, Open), DialError> {
        let dialled = self.dial_as(connection, Alpn::Http2, self.connect_timeout);
        let (io, mut open) = dialled.await?;
        let (stream, socket) = bridge(io).map_err(DialError::Io)?;
        open.end_by_itself(socket);
        Ok((stream, open))
    }

    async fn dial_as(
        &self,
        connection: &Arc<Connection>,
        alpn: Alpn,
        timeout: Duration,
    ) -> Result<(UpstreamIo, Open), DialError> {
        let began = Instant::now();
        let admitted = self.connections.admit(connection, alpn == Alpn::Http2);
        let Ok(open) = tokio::time::timeout(timeout, admitted).await else {
            return Err(DialError::NotAdmitted);
        };
        let dial = Dial {
            sni: self.occasion.sni.as_deref(),
            alpn,
            downstream: self.occasion.downstream,
            timeout: timeout.saturating_sub(began.elapsed()),
        };
        Ok((self.dialer.connect(dial).await?, open))
    }

    /// A connection for requests in HTTP/1.
    pub(super) async fn dial_http1(&self, timeout: Duration) -> Result<Tracked> {
        let (io, open) = self.dial(Alpn::Http1, timeout).await.map_err(of_pingora)?;
        Tracked::new(io, open).map_err(internal)
    }

    /// What carries it through Pingora, which knows peers but not ways. It is meant for something else, but nobody
    /// asks for that on connections that are made without a forward proxy of Pingora's.
    pub(super) fn carried(self: Arc<Self>) -> ProxyDigestUserDataHook {
        Arc::new(move |_, _| Some(Box::new(self.clone())))
    }

    /// The way that a peer carries.
    pub(super) fn of(peer: &impl Peer) -> Option<Arc<Self>> {
        let hook = peer.proxy_digest_user_data_hook()?;
        let (request, ()) = http::Request::new(()).into_parts();
        let response = ResponseHeader::build(200, None).ok()?;
        let way = hook(&request, &response)?.downcast().ok()?;
        Some(*way)
    }
}

/// Has a connection count as open for as long as Pingora has it.
pub(super) fn carry(stream: &mut L4Stream, open: Open) -> Result<()> {
    stream.set_proxy_digest(digest(open).map_err(internal)?);
    Ok(())
}

fn internal(error: std::io::Error) -> Box<Error> {
    Error::because(ErrorType::InternalError, "a connection of ours", error)
}

/// The error with what Pingora calls it; the dialer's own is its cause.
pub(super) fn of_pingora(error: DialError) -> Box<Error> {
    let kind = match error.root() {
        DialError::Timeout => ErrorType::ConnectTimedout,
        DialError::Refused => ErrorType::ConnectRefused,
        DialError::Unreachable(_) => ErrorType::ConnectNoRoute,
        _ => ErrorType::ConnectError,
    };
    let mut told = Error::because(kind, "dialling", error);
    told.as_up();
    told
}
