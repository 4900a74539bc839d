//! Making connections to one endpoint of a cluster.

use super::proxy_header;
use super::socket::Socket;
use super::transport::Transport;
use super::tunnel::{Carrier, Tunnel};
use super::{DialError, TlsFailure, UpstreamIo};
use crate::upstream::tls::{Alpn, ClientTls, ReadyTls};
use bytes::Bytes;
use model::{ProxyProtocolVersion, TcpKeepalive};
use rules::{ClusterKey, Endpoint, EndpointAddr, Target};
use rustls::pki_types::ServerName;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;

/// How connections to an endpoint of a cluster are made. It never changes: what is published makes another one.
#[derive(Clone, Debug)]
pub(crate) struct Dialer {
    address: EndpointAddr,
    /// A name stands for the address that no name may stand for.
    forbidden: bool,
    /// The service, when it is one host.
    host: Option<Arc<str>>,
    /// Whether clients that get here asked for that host, or for the address, and no other.
    asked: bool,
    /// Whether connections come from the address of sidecars on loopback.
    from_sidecar: bool,
    connect_timeout: Duration,
    keepalive: Option<TcpKeepalive>,
    proxy_protocol: Option<ProxyProtocolVersion>,
    tls: Option<Handshake>,
    tunnel: Option<Tunnel>,
}

/// How TLS is begun with an endpoint.
#[derive(Clone, Debug)]
struct Handshake {
    /// The name that is sent. Absent: the host of the request.
    sni: Option<Arc<str>>,
    /// Or why it cannot be.
    ready: Result<Arc<ClientTls>, Arc<str>>,
}

/// How one connection is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial<'a> {
    /// The host of the request, its port is left out. It is sent, and looked for in the certificate, when the rules
    /// name none. Absent: the service's, or the endpoint's address.
    pub(crate) sni: Option<&'a str>,
    /// What is to be spoken.
    pub(crate) alpn: Alpn,
    /// The client's address and the one that it connected to, for the PROXY header. Absent: the connection is nobody's.
    pub(crate) downstream: Option<(SocketAddr, SocketAddr)>,
    /// Bounds all of it, as the cluster's connect timeout does.
    pub(crate) timeout: Duration,
}

impl Dialer {
    /// For an endpoint of `cluster`. `tls`: how it is begun with those of its endpoints that it is begun with.
    pub(crate) fn new(
        endpoint: &Endpoint,
        cluster: &rules::Cluster,
        tls: Option<&ReadyTls>,
    ) -> Self {
        let host = &cluster.key.host;
        Self {
            address: endpoint.address.clone(),
            forbidden: endpoint.forbidden,
            host: is_one_host(&cluster.key).then(|| host.clone()),
            from_sidecar: cluster.from_sidecar,
            asked: false,
            connect_timeout: cluster.pool.connect_timeout,
            keepalive: cluster.pool.tcp_keepalive,
            proxy_protocol: cluster.proxy_protocol,
            tls: Handshake::with(endpoint, cluster, tls),
            tunnel: cluster.tunnel.as_ref().map(Tunnel::new),
        }
    }

    /// The same, for clients that ask for one host, or address, alone. Where a cluster is of many hosts, its name is
    /// theirs; where it is of one that is reached by address, the name stays.
    pub(crate) fn asked(self, target: &Target) -> Self {
        let name = target.address().is_none();
        let name = name.then(|| Arc::from(target.authority()));
        Self {
            host: self.host.or(name),
            asked: true,
            ..self
        }
    }

    /// The same without the cluster's tunnel, which Istio digs for connections and not for requests.
    pub(crate) fn without_tunnel(self: &Arc<Self>) -> Arc<Self> {
        match self.tunnel {
            None => self.clone(),
            Some(_) => Arc::new(Self {
                tunnel: None,
                ..Self::clone(self)
            }),
        }
    }

    /// The same with nothing around the bytes: neither TLS nor a tunnel, nor a header before them. For what is in the
    /// mesh's TLS already.
    pub(crate) fn as_it_is(&self) -> Self {
        Self {
            tls: None,
            tunnel: None,
            proxy_protocol: None,
            ..self.clone()
        }
    }

    /// Whether one that begins TLS as `now` would do it in the same way: certificates may have changed.
    pub(crate) fn is_current(&self, now: Option<&ReadyTls>) -> bool {
        let own = self.tls.as_ref().map(|tls| &tls.ready);
        match (own, now) {
            (None, _) => true,
            (Some(Ok(own)), Some(Ok(now))) => own.set == now.id,
            (Some(Err(own)), Some(Err(now))) => own == now,
            _ => false,
        }
    }

    /// Whether TLS is spoken.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Notes what tells connections apart by how TLS is begun: what is shown to the endpoint, sent to it and asked of it.
    pub(crate) fn hash_tls(&self, state: &mut impl Hasher) {
        let tls = self.tls.as_ref();
        let told = tls.map(|tls| (&tls.sni, tls.ready.as_ref().ok().map(|ready| ready.id)));
        told.hash(state);
    }

    /// Whether connections differ by the host that a request is for, and so are of use to that host alone.
    pub(crate) fn asks_for_host(&self) -> bool {
        self.tunnel.is_none() && !self.asked && self.names_none()
    }

    /// The host that connections are of use to alone, whatever requests say.
    pub(crate) fn only_host(&self) -> Option<&str> {
        let host = self.host.as_deref();
        host.filter(|_| self.asked && self.names_none())
    }

    /// Whether TLS is spoken, and the rule does not say with which name.
    fn names_none(&self) -> bool {
        let names_none = |tls: &Handshake| tls.ready.is_ok() && tls.sni.is_none();
        self.tls.as_ref().is_some_and(names_none)
    }

    /// Whether there will never be a connection.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.forbidden
    }

    /// Whether connections begin with a client's address, and so are of use to that client alone.
    pub(crate) fn tells_client(&self) -> bool {
        self.proxy_protocol.is_some()
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// Why there is none. Where TLS is asked for, nothing goes in clear instead.
    pub(crate) async fn connect(&self, dial: Dial<'_>) -> Result<UpstreamIo, DialError> {
        if self.forbidden {
            return Err(DialError::Forbidden);
        }
        let limit = dial.timeout.min(self.connect_timeout);
        match tokio::time::timeout(limit, self.steps(dial)).await {
            Ok(connected) => connected,
            Err(_) => Err(DialError::Timeout),
        }
    }

    async fn steps(&self, dial: Dial<'_>) -> Result<UpstreamIo, DialError> {
        let tls = match &self.tls {
            Some(Handshake {
                sni,
                ready: Ok(tls),
            }) => Some((tls, self.name(sni.as_deref(), dial.sni)?)),
            Some(Handshake {
                ready: Err(why), ..
            }) => {
                return Err(DialError::NotReady(why.clone()));
            }
            None => None,
        };
        let begun = Instant::now();
        let mut socket = Socket::open(&self.address, self.from_sidecar, self.keepalive).await?;
        if let Some(version) = self.proxy_protocol {
            let header = proxy_header::encoded(version, dial.downstream);
            socket.write_all(&header).await.map_err(DialError::Io)?;
        }
        let transport = match tls {
            Some((tls, name)) => {
                Transport::encrypted(socket, tls, name, self.spoken(dial.alpn)).await?
            }
            None => Transport::plain(socket),
        };
        let carrier = match &self.tunnel {
            Some(tunnel) => tunnel.open(transport).await?,
            None => Carrier::Direct(transport, Bytes::new()),
        };
        Ok(UpstreamIo::new(carrier, dial.alpn, begun.elapsed()))
    }

    /// With the forward proxy HTTP/1.1 is spoken, whatever goes through the tunnel.
    fn spoken(&self, alpn: Alpn) -> Alpn {
        match self.tunnel {
            Some(_) => Alpn::Http1,
            None => alpn,
        }
    }

    /// What is sent and looked for. A host of a request is not the forward proxy's.
    fn name(
        &self,
        ruled: Option<&str>,
        requested: Option<&str>,
    ) -> Result<ServerName<'static>, DialError> {
        let requested = requested.filter(|_| self.tunnel.is_none() && !self.asked);
        let told = ruled.or(requested).or(self.host.as_deref());
        if let Some(told) = told {
            return named(told);
        }
        match &self.address {
            EndpointAddr::Tcp(address) => Ok(ServerName::from(address.ip())),
            EndpointAddr::Unix(path) => named(path),
        }
    }
}

/// Whether all that a cluster leads to is known by its host.
fn is_one_host(key: &ClusterKey) -> bool {
    !key.host.contains('*') && !key.is_passthrough() && !key.is_inbound()
}

impl Handshake {
    /// Absent: the endpoint is spoken to in clear text.
    fn with(
        endpoint: &Endpoint,
        cluster: &rules::Cluster,
        ready: Option<&ReadyTls>,
    ) -> Option<Self> {
        let settings = cluster.tls.toward(endpoint)?;
        let account = endpoint.workload.as_ref().and_then(|one| one.account());
        let ready = match ready {
            Some(Ok(set)) => Ok(set.toward(account.as_ref())),
            Some(Err(why)) => Err(why.clone()),
            None => Err("it was not published".into()),
        };
        let sni = settings.sni.clone();
        Some(Self { sni, ready })
    }
}

fn named(host: &str) -> Result<ServerName<'static>, DialError> {
    let bare = without_port(host);
    let name = ServerName::try_from(bare.to_owned());
    name.map_err(|_| DialError::Tls(TlsFailure::Name(bare.to_owned())))
}

/// `a.test` of `a.test:443`, `::1` of `[::1]:443`.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    if host.parse::<IpAddr>().is_ok() {
        return host;
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_name() {
        for (host, want) in [
            ("a.test", "a.test"),
            ("a.test:443", "a.test"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(without_port(host), want, "{host}");
        }
    }
}
