//! Which endpoint takes the next request.

use crate::EndpointSet;
use crate::set::common_divisor;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So often an endpoint is drawn anew when it was tried before in this request, as Envoy does.
const SELECTION_ATTEMPTS: usize = 5;

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Balancer {
    /// Two different ones are drawn by weight; the one with fewer requests in flight for its weight is taken.
    LeastRequest,
    /// In turn: of as many requests as the weights sum up to, each gets exactly its weight.
    RoundRobin,
    /// Drawn by weight.
    Random,
}

/// Whose turn it is in a round. It survives changes of the configuration by cluster.
#[derive(Debug, Default)]
pub struct Turn(AtomicU64);

impl Turn {
    /// A round that begins somewhere: a random start keeps many gateways from beginning at the same endpoint.
    pub fn starting_at(position: u32) -> Self {
        Self(AtomicU64::new(position.into()))
    }

    fn next(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }
}

impl Balancer {
    /// Selects a member by its index, if there is one to select. Those in `tried` are avoided as long as there
    /// are others: after five vain draws the first untried one in order is taken.
    ///
    /// Source: Istio `HTTPRetry.retryIgnorePreviousHosts`.
    pub fn select<T>(
        self,
        set: &EndpointSet<T>,
        turn: &Turn,
        tried: &[usize],
        dice: &mut impl FnMut(u32) -> u32,
    ) -> Option<usize> {
        if set.total() == 0 {
            return None;
        }
        for _ in 0..SELECTION_ATTEMPTS {
            let drawn = self.draw(set, turn, dice);
            if !tried.contains(&drawn) {
                return Some(drawn);
            }
        }
        let untried =
            (0..set.members().len()).find(|index| set.share(*index) > 0 && !tried.contains(index));
        Some(untried.unwrap_or_else(|| self.draw(set, turn, dice)))
    }

    fn draw<T>(
        self,
        set: &EndpointSet<T>,
        turn: &Turn,
        dice: &mut impl FnMut(u32) -> u32,
    ) -> usize {
        match self {
            Self::LeastRequest => less_busy_of_two(set, dice),
            Self::RoundRobin => in_turn(set, turn),
            Self::Random => set.at(dice(set.total())),
        }
    }
}

/// Walks the positions `0..total` with a stride that visits each once before any comes again, and spreads the
/// visits to one member over the round. No lock, and exact over every whole round.
fn in_turn<T>(set: &EndpointSet<T>, turn: &Turn) -> usize {
    let total = u64::from(set.total());
    let stride = if set.is_even() {
        1
    } else {
        stride(set.total())
    };
    let step = turn.next() % total;
    let position = step * u64::from(stride) % total;
    set.at(u32::try_from(position).unwrap_or(0))
}

/// A number near `total` divided by the golden ratio that shares no divisor with `total`.
fn stride(total: u32) -> u32 {
    let near = u64::from(total) * 618 / 1000;
    let near = u32::try_from(near).unwrap_or(total);
    (near.max(1)..)
        .find(|stride| common_divisor(total, *stride) == 1)
        .unwrap_or(1)
}

fn less_busy_of_two<T>(set: &EndpointSet<T>, dice: &mut impl FnMut(u32) -> u32) -> usize {
    let first = set.at(dice(set.total()));
    let rest = set.total() - set.share(first);
    if rest == 0 {
        return first;
    }
    let second = set.at(past(set, first, dice(rest)));
    // Idle ones tie, and the first was drawn by weight: shares hold without load, and with it.
    if load(set, second, first) < load(set, first, second) {
        second
    } else {
        first
    }
}

/// Moves a position drawn among the others beyond the share of `skipped`.
fn past<T>(set: &EndpointSet<T>, skipped: usize, position: u32) -> u32 {
    if position < set.start(skipped) {
        position
    } else {
        position + set.share(skipped)
    }
}

/// Requests in flight for the weight, multiplied by the other's weight so that nothing is divided.
fn load<T>(set: &EndpointSet<T>, index: usize, other: usize) -> u64 {
    u64::from(set.members()[index].state.active()) * u64::from(set.share(other))
}
