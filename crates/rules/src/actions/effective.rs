//! In which order header operations of a route and of its destination apply.

use crate::{Facts, ForwardAction, HeaderOps, HeaderTarget, WrittenDestinations};

/// The operations of a route and of one of its destinations, in their order.
///
/// The order differs with the number of destinations that the route was written with, as it does in Istio.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EffectiveOps<'a> {
    /// One destination: both make one list, in which all removals come first, then every `set`, the
    /// destination's after the route's, then every `add`.
    Continued {
        /// The route's.
        route: &'a HeaderOps,
        /// The destination's.
        destination: &'a HeaderOps,
    },
    /// Several destinations: the destination's run first and then the route's, so a route's `set` wins.
    InTurn {
        /// The destination's.
        destination: &'a HeaderOps,
        /// The route's.
        route: &'a HeaderOps,
    },
}

impl EffectiveOps<'_> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let (Self::Continued { route, destination } | Self::InTurn { destination, route }) = self;
        route.is_empty() && destination.is_empty()
    }

    /// Changes a message.
    pub fn apply(&self, target: &mut impl HeaderTarget, facts: &impl Facts) {
        match self {
            Self::Continued { route, destination } => {
                route.apply_removals(target);
                destination.apply_removals(target);
                route.apply_sets(target, facts);
                destination.apply_sets(target, facts);
                route.apply_adds(target, facts);
                destination.apply_adds(target, facts);
            }
            Self::InTurn { destination, route } => {
                destination.apply(target, facts);
                route.apply(target, facts);
            }
        }
    }
}

impl ForwardAction {
    /// What changes on a request to `destinations[destination]`. `None` when there is no such destination.
    pub fn request_operations(&self, destination: usize) -> Option<EffectiveOps<'_>> {
        let destination = &self.destinations.get(destination)?.request_headers;
        Some(self.in_order(&self.request_headers, destination))
    }

    /// What changes on a response from `destinations[destination]`. `None` when there is no such destination.
    pub fn response_operations(&self, destination: usize) -> Option<EffectiveOps<'_>> {
        let destination = &self.destinations.get(destination)?.response_headers;
        Some(self.in_order(&self.response_headers, destination))
    }

    /// The new authority of a request to `destinations[destination]`: the route's, else the destination's.
    pub fn authority_for(&self, destination: usize) -> Option<&http::HeaderValue> {
        let of_destination = || {
            self.destinations
                .get(destination)?
                .authority_rewrite
                .as_ref()
        };
        self.authority_rewrite.as_ref().or_else(of_destination)
    }

    fn in_order<'a>(&self, route: &'a HeaderOps, destination: &'a HeaderOps) -> EffectiveOps<'a> {
        match self.written {
            WrittenDestinations::One => EffectiveOps::Continued { route, destination },
            WrittenDestinations::Several => EffectiveOps::InTurn { destination, route },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::operations::tests::{lines, ops};
    use super::*;
    use crate::HeadFacts;
    use crate::testing::{forward, request};
    use http::HeaderValue;

    #[track_caller]
    fn check(weights: &[u32], route: &HeaderOps, destination: &HeaderOps, after: &[(&str, &str)]) {
        let mut action = forward(weights);
        action.request_headers = route.clone();
        action.response_headers = route.clone();
        for target in &mut action.destinations {
            target.request_headers = destination.clone();
            target.response_headers = destination.clone();
        }
        for operations in [
            action.request_operations(0).unwrap(),
            action.response_operations(0).unwrap(),
        ] {
            let mut target = lines(&[("a", "0")]);
            operations.apply(&mut target, &HeadFacts(&request()));
            assert_eq!(target, lines(after), "{weights:?}");
        }
    }

    #[test]
    fn with_one_destination_its_set_wins() {
        let (route, destination) = (
            ops(&[], &[("a", "route")], &[]),
            ops(&[], &[("a", "dest")], &[]),
        );
        check(&[1], &route, &destination, &[("a", "dest")]);
    }

    #[test]
    fn with_one_destination_its_set_does_not_undo_the_routes_add() {
        let (route, destination) = (
            ops(&[], &[], &[("a", "route")]),
            ops(&[], &[("a", "dest")], &[]),
        );
        check(&[1], &route, &destination, &[("a", "dest"), ("a", "route")]);
    }

    #[test]
    fn with_several_destinations_the_routes_set_wins() {
        let (route, destination) = (
            ops(&[], &[("a", "route")], &[]),
            ops(&[], &[("a", "dest")], &[]),
        );
        check(&[1, 1], &route, &destination, &[("a", "route")]);
    }

    #[test]
    fn with_one_destination_its_removals_do_not_undo_the_routes_set() {
        let (route, destination) = (ops(&[], &[("a", "route")], &[]), ops(&["a"], &[], &[]));
        check(&[1], &route, &destination, &[("a", "route")]);
    }

    #[test]
    fn a_destination_left_of_several_is_still_one_of_several() {
        let mut action = forward(&[1]);
        action.written = WrittenDestinations::Several;
        let operations = action.request_operations(0).unwrap();
        assert!(matches!(operations, EffectiveOps::InTurn { .. }));
    }

    #[test]
    fn with_several_destinations_the_routes_removals_undo_a_destinations_set() {
        let (route, destination) = (ops(&["a"], &[], &[]), ops(&[], &[("a", "dest")], &[]));
        check(&[1, 1], &route, &destination, &[]);
    }

    #[test]
    fn a_routes_authority_beats_a_destinations() {
        let mut action = forward(&[1]);
        action.destinations[0].authority_rewrite = Some(HeaderValue::from_static("dest.test"));
        assert_eq!(action.authority_for(0).unwrap(), "dest.test");
        action.authority_rewrite = Some(HeaderValue::from_static("route.test"));
        assert_eq!(action.authority_for(0).unwrap(), "route.test");
    }
}
