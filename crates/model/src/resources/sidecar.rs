//! Sidecar: what a mesh proxy listens to and sees.

use crate::{
    At, Bind, ConnectionPoolSettings, Destination, HostPattern, Labels, Meta, PortProtocol,
    ServerTlsSettings,
};
use std::sync::Arc;

/// The listeners and the view of a workload's proxy.
///
/// Source: Istio `Sidecar`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// Identity.
    pub meta: Meta,
    /// `workloadSelector.labels`. Absent: the whole namespace.
    pub workload_selector: Option<Labels>,
    /// Outbound listeners. Empty: one that sees everything.
    pub egress: Vec<IstioEgressListener>,
    /// Inbound listeners. Empty: made from the services.
    pub ingress: Vec<IstioIngressListener>,
    /// Limits of inbound connections. Absent: the DestinationRule's.
    pub inbound_connection_pool: Option<ConnectionPoolSettings>,
    /// What becomes of unknown destinations. Absent: the mesh's.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// Source: Istio `IstioEgressListener`.
#[derive(Clone, Debug, PartialEq)]
pub struct IstioEgressListener {
    /// Where it stands.
    pub at: At,
    /// Absent: all ports; the last listener only.
    pub port: Option<SidecarPort>,
    /// Where to listen.
    pub bind: Option<Bind>,
    /// How connections come in.
    pub capture_mode: CaptureMode,
    /// What is seen, at least one.
    pub hosts: Vec<EgressHost>,
}

/// Source: Istio `IstioIngressListener`.
#[derive(Clone, Debug, PartialEq)]
pub struct IstioIngressListener {
    /// Where it stands.
    pub at: At,
    /// The workload's port.
    pub port: SidecarPort,
    /// Where to listen.
    pub bind: Option<Bind>,
    /// How connections come in.
    pub capture_mode: CaptureMode,
    /// Where the application listens. Absent: the same port.
    pub default_endpoint: Option<DefaultEndpoint>,
    /// TLS that ends here.
    pub tls: Option<ServerTlsSettings>,
    /// Limits of this port.
    pub connection_pool: Option<ConnectionPoolSettings>,
}

/// Source: Istio `SidecarPort`.
#[derive(Clone, Debug, PartialEq)]
pub struct SidecarPort {
    /// Where it stands.
    pub at: At,
    /// 0 only with a Unix socket.
    pub number: u16,
    /// What is spoken.
    pub protocol: PortProtocol,
    /// A label.
    pub name: String,
}

/// How connections come to a listener.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CaptureMode {
    /// As the environment has it, which is iptables.
    #[default]
    Default,
    /// Redirected.
    Iptables,
    /// The application connects to the listener.
    None,
}

/// Where an application listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DefaultEndpoint {
    /// `127.0.0.1:PORT`, or `[::1]:PORT`.
    Loopback {
        /// Whether it is IPv6.
        v6: bool,
        /// The port.
        port: u16,
    },
    /// `0.0.0.0:PORT` or `[::]:PORT`: the workload's own address.
    Instance {
        /// Whether it is IPv6.
        v6: bool,
        /// The port.
        port: u16,
    },
    /// `unix:///path`
    Unix(String),
}

/// What of a namespace is seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EgressHost {
    /// Where it stands.
    pub at: At,
    /// Whether it takes away instead: `~ns/*`, `~*/host`.
    pub exclude: bool,
    /// Whose objects; `.` is the object's own already.
    pub namespace: EgressNamespace,
    /// Which hosts.
    pub host: HostPattern,
}

/// The namespace part of an [`EgressHost`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EgressNamespace {
    /// `*`
    Any,
    /// `~`: `~/*` sees nothing.
    None,
    /// By name.
    Named(Arc<str>),
}

/// What becomes of unknown destinations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutboundTrafficPolicy {
    /// Where it stands.
    pub at: At,
    /// Default `REGISTRY_ONLY` once the block is there.
    pub mode: OutboundMode,
    /// Where unknown destinations go. With `ALLOW_ANY` only; its port is there.
    pub egress_proxy: Option<Destination>,
}

/// Whether unknown destinations are allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OutboundMode {
    /// They are not.
    #[default]
    RegistryOnly,
    /// They are.
    AllowAny,
}
