//! Gateway: the ports of an edge proxy and the hosts served on them.

use crate::{At, HostPattern, Labels, Meta, PortProtocol, ServerTlsMode, ServerTlsSettings};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Listeners of the proxies that `selector` selects.
///
/// Source: Istio `Gateway`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Identity.
    pub meta: Meta,
    /// Proxies with all these labels, in any namespace. Empty: all gateway proxies.
    pub selector: Labels,
    /// At least one.
    pub servers: Vec<Server>,
}

/// One listener's part: a port, its hosts, its TLS.
///
/// Source: Istio `Server`.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Where it stands.
    pub at: At,
    /// Informational.
    pub name: Option<String>,
    /// The port.
    pub port: GatewayPort,
    /// Where to listen. Absent: all addresses.
    pub bind: Option<Bind>,
    /// The hosts served, at least one.
    pub hosts: Vec<GatewayHost>,
    /// Always there for HTTPS and TLS; on other protocols only for `httpsRedirect`.
    pub tls: Option<ServerTlsSettings>,
    /// Not honoured, as in Istio.
    pub default_endpoint: Option<String>,
}

/// The port of a [`Server`].
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayPort {
    /// Where it stands.
    pub at: At,
    /// The service port; 0 only with a Unix socket.
    pub number: u16,
    /// Never [`PortProtocol::Unspecified`] or [`PortProtocol::Udp`].
    pub protocol: PortProtocol,
    /// A DNS label, unique in the Gateway.
    pub name: String,
}

/// Where to listen.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Bind {
    /// An address.
    Ip(IpAddr),
    /// The path of a Unix domain socket, an abstract one with a leading `@`.
    Unix(String),
}

/// A host of a server, and whose VirtualServices may use it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GatewayHost {
    /// Where it stands.
    pub at: At,
    /// VirtualServices of this namespace only; `./` is the Gateway's own already. Absent: any, also `*/`.
    pub namespace: Option<Arc<str>>,
    /// The hosts: never a short name.
    pub host: HostPattern,
}

/// What a server does with a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ServerKind {
    /// HTTP in clear.
    Http,
    /// HTTP in TLS that ends here.
    Https,
    /// Bytes in TLS that ends here.
    TlsTerminated,
    /// TLS that passes through, routed by SNI.
    TlsPassthrough,
    /// Bytes in clear.
    Tcp,
}

impl Server {
    /// What it does with a connection, by its protocol and TLS mode.
    pub fn kind(&self) -> ServerKind {
        let passes = self.tls.as_ref().is_some_and(|tls| {
            matches!(
                tls.mode,
                ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough
            )
        });
        match self.port.protocol {
            PortProtocol::Https | PortProtocol::Tls if passes => ServerKind::TlsPassthrough,
            PortProtocol::Https => ServerKind::Https,
            PortProtocol::Tls => ServerKind::TlsTerminated,
            protocol if protocol.is_http() => ServerKind::Http,
            _ => ServerKind::Tcp,
        }
    }

    /// Whether it is an HTTP server that answers everything with a redirect to HTTPS.
    pub fn redirects_to_https(&self) -> bool {
        self.kind() == ServerKind::Http && self.tls.as_ref().is_some_and(|tls| tls.https_redirect)
    }
}

impl GatewayHost {
    /// Whether VirtualServices of `namespace` may use it.
    pub fn admits(&self, namespace: &str) -> bool {
        self.namespace.as_deref().is_none_or(|own| own == namespace)
    }
}

impl fmt::Display for GatewayHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        self.host.fmt(f)
    }
}
