//! Routes of connections.

use super::Destination;
use crate::{At, GatewayRef, HostPattern, Labels, Located};
use ipnet::IpNet;
use std::sync::Arc;

/// A rule for TLS connections that are not ended, by SNI.
///
/// Source: Istio `TLSRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsRoute {
    /// Where it stands.
    pub at: At,
    /// Alternatives (`match`), at least one.
    pub matches: Vec<TlsMatchAttributes>,
    /// By weight, for each connection. Never empty.
    pub route: Vec<RouteDestination>,
}

/// Criteria that must all hold.
///
/// Source: Istio `TLSMatchAttributes`.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsMatchAttributes {
    /// Where it stands.
    pub at: At,
    /// At least one; each covered by a host of the VirtualService.
    pub sni_hosts: Vec<Located<HostPattern>>,
    /// Addresses connected to. Empty: all.
    pub destination_subnets: Vec<IpNet>,
    /// The listener's port. Absent: all.
    pub port: Option<u16>,
    /// Labels of the calling workload. Sidecars only.
    pub source_labels: Labels,
    /// Namespace of the calling workload. Sidecars only.
    pub source_namespace: Option<Arc<str>>,
    /// Overrides the VirtualService's. Empty: those.
    pub gateways: Vec<Located<GatewayRef>>,
}

/// A rule for connections.
///
/// Source: Istio `TCPRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpRoute {
    /// Where it stands.
    pub at: At,
    /// Alternatives (`match`). Empty: always.
    pub matches: Vec<L4MatchAttributes>,
    /// By weight, for each connection. Never empty.
    pub route: Vec<RouteDestination>,
}

/// Criteria that must all hold.
///
/// Source: Istio `L4MatchAttributes`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct L4MatchAttributes {
    /// Where it stands.
    pub at: At,
    /// Addresses connected to. Empty: all.
    pub destination_subnets: Vec<IpNet>,
    /// The listener's port. Absent: all.
    pub port: Option<u16>,
    /// Addresses of clients. Absent: all. Istio takes it and does nothing with it; here it counts.
    pub source_subnet: Option<IpNet>,
    /// Labels of the calling workload. Sidecars only.
    pub source_labels: Labels,
    /// Namespace of the calling workload. Sidecars only.
    pub source_namespace: Option<Arc<str>>,
    /// Overrides the VirtualService's. Empty: those.
    pub gateways: Vec<Located<GatewayRef>>,
}

/// A destination with its share of connections.
///
/// Source: Istio `RouteDestination`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteDestination {
    /// Where it stands.
    pub at: At,
    /// Where to.
    pub destination: Destination,
    /// Relative share. Absent means 0: nothing, unless it is the only destination, which gets everything.
    pub weight: Option<u32>,
}
