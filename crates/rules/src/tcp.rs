//! Routes of connections: Istio's `tcp` and `tls` rules, compiled.

use crate::{ClusterTarget, Dice};
use ipnet::IpNet;
use model::Origin;
use std::net::IpAddr;
use std::sync::Arc;

/// Ordered routes; the first that matches takes the connection.
#[derive(Clone, Debug, Default)]
pub struct TcpRoutes(pub Vec<Arc<TcpRoute>>);

/// One match with its destinations.
#[derive(Debug)]
pub struct TcpRoute {
    /// Alternatives. Empty: always.
    pub matches: Vec<TcpMatch>,
    /// Where connections go, by weight. Never empty; the sum of weights is at least 1.
    pub destinations: Vec<TcpDestination>,
    /// The sum of the weights.
    pub total_weight: u32,
    /// The VirtualService's rule.
    pub origin: Arc<Origin>,
}

/// Criteria that must all hold; those of the port, the gateway and the SNI were looked at when compiling.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TcpMatch {
    /// Addresses connected to. Empty: all.
    pub destination_subnets: Vec<IpNet>,
    /// Addresses of clients. Absent: all.
    pub source_subnet: Option<IpNet>,
}

/// One of a route's destinations.
#[derive(Debug)]
pub struct TcpDestination {
    /// Relative share, at least 1.
    pub weight: u32,
    /// The cluster, or why there is none.
    pub cluster: ClusterTarget,
    /// Where it stands.
    pub origin: Arc<Origin>,
}

impl TcpRoutes {
    /// The route of a connection from `peer` to `local`.
    pub fn route(&self, peer: IpAddr, local: IpAddr) -> Option<&Arc<TcpRoute>> {
        self.0.iter().find(|route| route.takes(peer, local))
    }
}

impl TcpRoute {
    fn takes(&self, peer: IpAddr, local: IpAddr) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|one| one.holds(peer, local))
    }

    /// Draws one of the destinations by weight.
    pub fn draw(&self, dice: &mut impl Dice) -> &TcpDestination {
        let mut left = match self.destinations.len() {
            1 => 0,
            _ => dice.roll(self.total_weight.max(1)),
        };
        let drawn = self.destinations.iter().position(|destination| {
            let is_drawn = left < destination.weight;
            left = left.saturating_sub(destination.weight);
            is_drawn
        });
        &self.destinations[drawn.unwrap_or_default()]
    }
}

impl TcpMatch {
    fn holds(&self, peer: IpAddr, local: IpAddr) -> bool {
        let to = self.destination_subnets.is_empty()
            || self
                .destination_subnets
                .iter()
                .any(|net| net.contains(&local));
        to && self.source_subnet.is_none_or(|net| net.contains(&peer))
    }
}
