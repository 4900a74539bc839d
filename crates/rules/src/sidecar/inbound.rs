//! The listener for what a workload receives.

use crate::{Authorization, OutboundProtocol, PeerMtls, TcpRoutes, TlsServer, VirtualHosts};
use ahash::HashMap;
use model::Origin;
use std::sync::Arc;

/// What a sidecar does with connections to its workload.
#[derive(Debug)]
pub struct Inbound {
    /// The ports of the workload that a Service, or the `ingress` of its Sidecar, has.
    pub ports: HashMap<u16, Arc<InboundPort>>,
    /// All others.
    pub otherwise: Arc<InboundPort>,
    /// Whether clients have to come in the mesh's TLS.
    pub mtls: Arc<PeerMtls>,
    /// Who may do what.
    pub authorization: Arc<Authorization>,
    /// How the mesh's TLS ends.
    pub server: Arc<TlsServer>,
}

/// A port of the workload.
#[derive(Debug)]
pub struct InboundPort {
    /// What is spoken there.
    pub protocol: OutboundProtocol,
    /// For requests: one host `*`. Empty where there can be none.
    pub virtual_hosts: VirtualHosts,
    /// For connections: one route.
    pub routes: TcpRoutes,
    /// TLS that ends here where the mesh's does not.
    ///
    /// Source: Istio `Sidecar.ingress.tls`.
    pub tls: Option<Arc<TlsServer>>,
    /// What has it.
    pub origin: Arc<Origin>,
}

impl Inbound {
    /// All that end TLS.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<TlsServer>> {
        let ports = self.ports.values();
        std::iter::once(&self.server).chain(ports.filter_map(|port| port.tls.as_ref()))
    }

    /// The port of this number.
    pub fn port(&self, number: u16) -> &Arc<InboundPort> {
        self.ports.get(&number).unwrap_or(&self.otherwise)
    }
}
