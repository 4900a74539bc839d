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
#[derive(Clone, Debug)]
pub struct TcpDestination {
    /// Relative share, at least 1.
    pub weight: u32,
    /// The cluster, or why there is none.
    pub cluster: ClusterTarget,
    /// Where it stands.
    pub origin: Arc<Origin>,
}

impl TcpRoutes {
    /// Whether they are the same routes, by identity.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<TcpRoute>, &Arc<TcpRoute>)| Arc::ptr_eq(one, other);
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(same)
    }

    /// The route of a connection from `peer` to `local`.
    pub fn route(&self, peer: IpAddr, local: IpAddr) -> Option<&Arc<TcpRoute>> {
        self.0.iter().find(|route| route.takes(peer, local))
    }
}

impl TcpRoute {
    /// Whether no connection is left for routes behind it.
    pub fn takes_all(&self) -> bool {
        self.matches.is_empty()
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{loaded, nowhere, origin};

    fn destination(weight: u32) -> TcpDestination {
        TcpDestination {
            weight,
            cluster: nowhere(),
            origin: origin(),
        }
    }

    fn route(matches: Vec<TcpMatch>, weights: &[u32]) -> Arc<TcpRoute> {
        Arc::new(TcpRoute {
            matches,
            destinations: weights.iter().map(|weight| destination(*weight)).collect(),
            total_weight: weights.iter().sum(),
            origin: origin(),
        })
    }

    fn limits(to: &[&str], from: Option<&str>) -> TcpMatch {
        TcpMatch {
            destination_subnets: to.iter().map(|net| net.parse().unwrap()).collect(),
            source_subnet: from.map(|net| net.parse().unwrap()),
        }
    }

    /// Which of the routes takes a connection from the first address to the second.
    #[track_caller]
    fn check(routes: &[Vec<TcpMatch>], cases: &[(&str, &str, Option<usize>)]) {
        let routes = routes.iter().map(|matches| route(matches.clone(), &[1]));
        let routes = TcpRoutes(routes.collect());
        for (peer, local, want) in cases {
            let found = routes.route(peer.parse().unwrap(), local.parse().unwrap());
            let position = |found| routes.0.iter().position(|one| Arc::ptr_eq(one, found));
            assert_eq!(found.and_then(position), *want, "{peer} to {local}");
        }
    }

    #[test]
    fn the_first_route_whose_subnets_hold_takes_a_connection() {
        let routes = [
            vec![limits(&[], Some("10.1.0.0/16"))],
            vec![limits(&["192.0.2.0/24", "2001:db8::/32"], None)],
            vec![
                limits(&["198.51.100.0/24"], Some("10.0.0.0/8")),
                limits(&["203.0.113.7/32"], None),
            ],
        ];
        let cases = [
            ("10.1.2.3", "192.0.2.1", Some(0)),
            ("10.2.2.3", "192.0.2.1", Some(1)),
            ("::1", "2001:db8::1", Some(1)),
            ("10.2.0.1", "198.51.100.1", Some(2)),
            ("11.0.0.1", "198.51.100.1", None),
            ("11.0.0.1", "203.0.113.7", Some(2)),
            ("11.0.0.1", "203.0.113.8", None),
            ("::ffff:10.1.2.3", "::1", None),
        ];
        check(&routes, &cases);
    }

    #[test]
    fn a_route_without_limits_leaves_nothing_to_those_behind() {
        let routes = [
            vec![limits(&[], Some("10.1.0.0/16"))],
            Vec::new(),
            Vec::new(),
        ];
        check(
            &routes,
            &[
                ("10.1.0.1", "::1", Some(0)),
                ("10.2.0.1", "::1", Some(1)),
                ("::1", "::1", Some(1)),
            ],
        );
        assert!(route(Vec::new(), &[1]).takes_all());
        assert!(!route(vec![TcpMatch::default()], &[1]).takes_all());
    }

    #[test]
    fn without_routes_nothing_is_taken() {
        check(&[], &[("10.1.0.1", "10.1.0.2", None)]);
    }

    #[test]
    fn destinations_are_drawn_by_weight() {
        let route = route(Vec::new(), &[1, 2, 1]);
        let mut counts = [0, 0, 0];
        for roll in 0..4 {
            let drawn = route.draw(&mut |_: u32| roll);
            let index = route
                .destinations
                .iter()
                .position(|one| std::ptr::eq(one, drawn));
            counts[index.unwrap()] += 1;
        }
        assert_eq!(counts, [1, 2, 1]);
    }

    #[test]
    fn the_only_destination_needs_no_dice() {
        let only = route(Vec::new(), &[7]);
        let drawn = only.draw(&mut |_: u32| -> u32 { panic!("nothing is to be decided") });
        assert_eq!(drawn.weight, 7);
        let last = route(Vec::new(), &[1, 1]);
        let drawn = last.draw(&mut loaded(1.0));
        assert!(std::ptr::eq(drawn, &last.destinations[1]));
    }
}
