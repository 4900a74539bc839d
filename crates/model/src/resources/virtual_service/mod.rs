//! VirtualService: how requests to hosts are routed.

mod action;
mod http;
mod l4;

pub use action::*;
pub use http::*;
pub use l4::*;

use crate::{At, ExportTo, GatewayRef, HostPattern, Located, Meta};

/// Rules for requests and connections to some hosts.
///
/// Source: Istio `VirtualService`.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Identity.
    pub meta: Meta,
    /// The hosts; short names stand for services of the object's namespace. Empty: a delegate.
    pub hosts: Vec<Located<HostPattern>>,
    /// Who obeys it. Absent in the source: `mesh`. Empty for a delegate only.
    pub gateways: Vec<Located<GatewayRef>>,
    /// Rules for HTTP, in order.
    pub http: Vec<HttpRoute>,
    /// Rules for TLS that is not ended, by SNI.
    pub tls: Vec<TlsRoute>,
    /// Rules for bytes.
    pub tcp: Vec<TcpRoute>,
    /// Who sees it.
    pub export_to: ExportTo,
}

impl VirtualService {
    /// Whether it only serves other VirtualServices that delegate to it.
    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// A service, or a subset of it.
///
/// Source: Istio `Destination`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Where it stands.
    pub at: At,
    /// The service; a short name stands for a service of the object's namespace. Never `*`.
    pub host: HostPattern,
    /// Subset of the service's DestinationRule. Absent: the whole service.
    pub subset: Option<String>,
    /// Service port. Absent: the service's only port, otherwise the listener's.
    pub port: Option<u16>,
}
