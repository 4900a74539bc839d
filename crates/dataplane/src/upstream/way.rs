//! How connections to one endpoint of a cluster are made.

use super::connection::{Connection, Lifetime, Open};
use super::connections::Connections;
use super::dial::{Dial, DialError, Dialer, UpstreamIo};
use super::tls::Alpn;
use super::tracked::Tracked;
use pingora_error::{Error, ErrorType, Result};
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
        let lifetime = Lifetime {
            whole: self.lifetime,
            idle: None,
        };
        let connection = self.connections.prepare(&self.address, lifetime);
        self.dial_as(&connection, false, alpn, timeout).await
    }

    /// A connection that requests in HTTP/2 will share. `anyway`: whatever the limit says.
    pub(super) async fn dial_shared(
        &self,
        connection: &Arc<Connection>,
        anyway: bool,
    ) -> Result<(UpstreamIo, Open), DialError> {
        let timeout = self.connect_timeout;
        self.dial_as(connection, anyway, Alpn::Http2, timeout).await
    }

    async fn dial_as(
        &self,
        connection: &Arc<Connection>,
        anyway: bool,
        alpn: Alpn,
        timeout: Duration,
    ) -> Result<(UpstreamIo, Open), DialError> {
        let began = Instant::now();
        let admitted = self.connections.admit(connection, anyway);
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
