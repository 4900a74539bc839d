//! How connections to one endpoint of a cluster are made.

use super::super::tls::{Alpn, ClientTls};
use super::error::DialError;
use super::io::UpstreamIo;
use super::socket::Socket;
use super::{header, tunnel};
use model::{ProxyProtocolVersion, TcpKeepalive, TunnelSettings};
use rules::EndpointAddr;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;

/// How connections to one endpoint are made.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    address: EndpointAddr,
    keepalive: Option<TcpKeepalive>,
    tunnel: Option<TunnelSettings>,
    proxy_protocol: Option<ProxyProtocolVersion>,
    /// Absent: in clear.
    tls: Option<Result<Arc<ClientTls>, Arc<str>>>,
    /// The cluster's host: the name in TLS where there is neither a rule's nor a request's.
    host: Arc<str>,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial<'d> {
    /// The name in TLS where the rule names none.
    pub(crate) sni: Option<&'d str>,
    /// What it is for.
    pub(crate) alpn: Alpn,
    /// The client, and where it arrived.
    pub(crate) downstream: Option<(SocketAddr, SocketAddr)>,
    /// Bounds everything together.
    pub(crate) timeout: Duration,
}

impl Dialer {
    pub(crate) fn new(
        address: &EndpointAddr,
        cluster: &rules::Cluster,
        tls: Option<Result<Arc<ClientTls>, Arc<str>>>,
    ) -> Self {
        Self {
            address: address.clone(),
            keepalive: cluster.pool.tcp_keepalive,
            tunnel: cluster.tunnel.clone(),
            proxy_protocol: cluster.proxy_protocol,
            tls,
            host: cluster.key.host.clone(),
        }
    }

    /// The same in clear, for what is in TLS already.
    pub(crate) fn without_tls(&self) -> Self {
        Self {
            tls: None,
            ..self.clone()
        }
    }

    /// # Errors
    ///
    /// Why there is no connection.
    pub(crate) async fn connect(&self, dial: Dial<'_>) -> Result<UpstreamIo, DialError> {
        // A rarely used branch must not make the future of every connection larger.
        let connected = tokio::time::timeout(dial.timeout, Box::pin(self.build(dial)));
        connected.await.map_err(|_| DialError::Timeout)?
    }

    async fn build(&self, dial: Dial<'_>) -> Result<UpstreamIo, DialError> {
        // Nothing is dialled that cannot be used.
        let tls = self.tls.clone().transpose().map_err(DialError::NotReady)?;
        let mut socket = Socket::connect(&self.address, self.keepalive.as_ref()).await?;
        if let Some(settings) = &self.tunnel {
            socket = tunnel::open(socket, settings).await?;
        }
        if let Some(version) = self.proxy_protocol {
            let header = header::header(version, dial.downstream);
            socket.write_all(&header).await?;
        }
        match tls {
            None => Ok(UpstreamIo::plain(socket)),
            Some(tls) => self.handshake(socket, &tls, dial).await,
        }
    }

    async fn handshake(
        &self,
        socket: Socket,
        tls: &ClientTls,
        dial: Dial<'_>,
    ) -> Result<UpstreamIo, DialError> {
        let name = tls.sni.as_deref().or(dial.sni).unwrap_or(&self.host);
        let name = server_name(name)?;
        let connector = TlsConnector::from(tls.config(dial.alpn));
        let connected = connector.connect(name, socket).await;
        let stream = connected.map_err(|error| DialError::of_handshake(&error))?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if dial.alpn == Alpn::Http2 && agreed.is_some_and(|name| name.ends_with(b"http/1.1")) {
            return Err(DialError::Tls(
                "the endpoint does not speak HTTP/2".to_owned(),
            ));
        }
        Ok(UpstreamIo::tls(stream))
    }
}

/// Names are sent, addresses are only verified.
fn server_name(name: &str) -> Result<ServerName<'static>, DialError> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(bare.to_owned())
        .map_err(|_| DialError::Tls(format!("{name:?} is no name of a server")))
}
