//! Who wants to know why routes did not match.

use crate::{Criterion, RequestHead, Route, RouteSet};
use std::sync::Arc;

/// Hears of every route before the one that matched, or of all when none did.
///
/// The winner is found by the index in any case; what is told about the others comes from the same
/// predicates. Serving traffic, nobody listens and nothing is spent on it.
pub trait Observer {
    /// Whether there is anything to tell.
    const LISTENS: bool = true;

    /// `route` does not match, because `criterion` does not hold.
    fn passed_over(&mut self, route: &Arc<Route>, criterion: Criterion<'_>, head: &RequestHead<'_>);
}

/// Hears nothing.
pub(super) struct Nobody;

impl Observer for Nobody {
    const LISTENS: bool = false;

    fn passed_over(&mut self, _: &Arc<Route>, _: Criterion<'_>, _: &RequestHead<'_>) {}
}

pub(super) fn report<O: Observer>(
    observer: &mut O,
    routes: &RouteSet,
    winner: Option<usize>,
    head: &RequestHead<'_>,
) {
    if !O::LISTENS {
        return;
    }
    let before = winner.unwrap_or(usize::MAX);
    for route in routes.routes().iter().take(before) {
        if let Err(criterion) = route.predicate.check(head) {
            observer.passed_over(route, criterion, head);
        }
    }
}
