//! Which endpoint takes the next request.

use crate::hash::second_hash;
use crate::member::Member;
use crate::rotation::{Group, Level, Rotation};
use crate::shares::{Shares, common_divisor};
use crate::warmup::Warmup;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So often an endpoint is drawn anew when it was tried before in this request, as Envoy does.
const SELECTION_ATTEMPTS: usize = 5;

/// How endpoints are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balancing {
    /// The way of choosing among those that are alike.
    pub algorithm: Algorithm,
    /// How new endpoints get their share. Absent: at once. For round robin and least request.
    pub warmup: Option<Warmup>,
    /// Where fewer than this many percent of a priority's endpoints are available, all of them take part. 0: never.
    ///
    /// Source: Istio `OutlierDetection.min_health_percent`.
    pub panic_threshold: u8,
}

/// How an endpoint is chosen among those that are alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// Two different ones are drawn by weight; the first is taken unless the other had fewer requests in flight for its
    /// weight even with this one.
    LeastRequest,
    /// In turn: of as many requests as the weights sum up to, each gets exactly its weight.
    RoundRobin,
    /// Drawn by weight.
    Random,
    /// The same hash meets the same endpoint, by points on a ring.
    RingHash {
        /// Points on it at least; at most 8 Mi.
        minimum_size: u64,
    },
    /// The same hash meets the same endpoint, by a table of fixed size.
    Maglev {
        /// Places in it, a prime.
        table_size: u64,
    },
}

/// What is known of the request that an endpoint is chosen for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'c> {
    /// What tells the client from others. Absent: algorithms that go by it draw.
    pub hash: Option<u64>,
    /// Endpoints that were tried before, by index. They are avoided as long as there are others, unless a hash
    /// decides.
    ///
    /// Source: Istio `HTTPRetry.retry_ignore_previous_hosts`.
    pub tried: &'c [usize],
    /// Whether priorities are avoided too of which one was tried.
    ///
    /// Source: Istio `HTTPRetry.retry_remote_localities`.
    pub leave_priority: bool,
}

/// Rounds that go on at the same time: a request that is tried again elsewhere must not use up a step here.
const ROUNDS: usize = 16;

/// Whose turn it is in a round. It survives changes of the configuration by cluster.
#[derive(Debug, Default)]
pub struct Turn([AtomicU64; ROUNDS]);

impl Turn {
    /// Rounds that begin somewhere: a random start keeps many gateways from beginning at the same endpoint.
    pub fn starting_at(position: u32) -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(position.into())))
    }

    /// The next step of the round of a part. The first 16 parts have rounds of their own.
    fn next(&self, part: usize) -> u64 {
        self.0[part % ROUNDS].fetch_add(1, Relaxed)
    }
}

impl Balancing {
    pub(crate) fn select<T>(
        &self,
        rotation: &Rotation,
        members: &[Member<T>],
        turn: &Turn,
        choice: Choice<'_>,
        dice: &mut impl FnMut(u32) -> u32,
    ) -> Option<usize> {
        let draw = Draw {
            algorithm: self.algorithm,
            rotation,
            members,
            turn,
            hash: choice.hash.filter(|_| self.is_by_hash()),
        };
        if choice.leave_priority
            && let Some(level) = untouched(rotation, members, choice.tried)
        {
            return draw.in_level(level, dice);
        }
        if draw.hash.is_some() {
            return draw.anywhere(dice);
        }
        for _ in 0..SELECTION_ATTEMPTS {
            let drawn = draw.anywhere(dice)?;
            if !choice.tried.contains(&drawn) {
                return Some(drawn);
            }
        }
        draw.untried(choice.tried).or_else(|| draw.anywhere(dice))
    }

    fn is_by_hash(&self) -> bool {
        matches!(
            self.algorithm,
            Algorithm::RingHash { .. } | Algorithm::Maglev { .. }
        )
    }
}

/// Those whose share is not zero.
fn loaded<'l, T>(all: &'l [T], shares: &'l Shares) -> impl Iterator<Item = &'l T> {
    let with_share = move |(index, one)| (shares.share(index) > 0).then_some(one);
    all.iter().enumerate().filter_map(with_share)
}

/// The nearest priority of which nobody was tried, once somebody was.
fn untouched<'r, T>(
    rotation: &'r Rotation,
    members: &[Member<T>],
    tried: &[usize],
) -> Option<&'r Level> {
    if tried.is_empty() {
        return None;
    }
    let touches = |level: &Level| {
        let mut tried = tried.iter().filter_map(|index| members.get(*index));
        tried.any(|member| member.place.priority == level.priority)
    };
    rotation.levels.iter().find(|level| !touches(level))
}

/// One draw: of a priority, of a place in it, of an endpoint there.
struct Draw<'d, T> {
    algorithm: Algorithm,
    rotation: &'d Rotation,
    members: &'d [Member<T>],
    turn: &'d Turn,
    hash: Option<u64>,
}

impl<T> Draw<'_, T> {
    /// Somebody who was not tried, of the priorities and parts that get anything.
    fn untried(&self, tried: &[usize]) -> Option<usize> {
        let levels = loaded(&self.rotation.levels, &self.rotation.loads);
        let groups = levels.flat_map(|level| loaded(&level.groups, &level.shares));
        let members = groups.flat_map(|group| loaded(&group.members, &group.shares));
        members.copied().find(|member| !tried.contains(member))
    }

    fn anywhere(&self, dice: &mut impl FnMut(u32) -> u32) -> Option<usize> {
        let levels = &self.rotation.levels;
        let level = match levels.len() {
            0 => return None,
            1 => 0,
            _ => self.part_of(&self.rotation.loads, dice),
        };
        self.in_level(&levels[level], dice)
    }

    fn in_level(&self, level: &Level, dice: &mut impl FnMut(u32) -> u32) -> Option<usize> {
        let group = match level.groups.len() {
            0 => return None,
            1 => 0,
            _ => self.part_of(&level.shares, dice),
        };
        self.in_group(&level.groups[group], dice)
    }

    /// Whose the request is, by its hash or by chance.
    fn part_of(&self, shares: &Shares, dice: &mut impl FnMut(u32) -> u32) -> usize {
        let total = shares.total();
        let drawn = match self.hash {
            Some(hash) => u32::try_from(hash % u64::from(total)).unwrap_or(0),
            None => dice(total),
        };
        shares.at(drawn)
    }

    fn in_group(&self, group: &Group, dice: &mut impl FnMut(u32) -> u32) -> Option<usize> {
        let shares = &group.shares;
        if shares.total() == 0 {
            return None;
        }
        let by_hash = self.hash.and_then(|hash| self.by_hash(group, hash));
        if by_hash.is_some() {
            return by_hash;
        }
        let position = match self.algorithm {
            Algorithm::LeastRequest => self.less_busy_of_two(group, dice),
            Algorithm::RoundRobin => in_turn(shares, self.turn, group.part.number),
            Algorithm::Random | Algorithm::RingHash { .. } | Algorithm::Maglev { .. } => {
                shares.at(dice(shares.total()))
            }
        };
        group.members.get(position).copied()
    }

    /// Whose the hash is, of those in rotation. Where hardly anybody is, it is drawn by the hash itself: that takes
    /// the same time whoever is out, but clients move whenever somebody comes back.
    fn by_hash(&self, group: &Group, hash: u64) -> Option<usize> {
        let all = &group.part.members;
        let table = group.part.table.as_ref()?;
        let takes_part = |position: usize| self.rotation.takes_part[all[position]];
        if let Some(position) = table.owner(hash, takes_part) {
            return all.get(position).copied();
        }
        let drawn = second_hash(&hash.to_le_bytes()) % u64::from(group.shares.total());
        let position = group.shares.at(u32::try_from(drawn).unwrap_or(0));
        group.members.get(position).copied()
    }

    fn less_busy_of_two(&self, group: &Group, dice: &mut impl FnMut(u32) -> u32) -> usize {
        let shares = &group.shares;
        let first = shares.at(dice(shares.total()));
        let rest = shares.total() - shares.share(first);
        if rest == 0 {
            return first;
        }
        let second = shares.at(past(shares, first, dice(rest)));
        // The first was drawn by weight, and so shares hold as long as it stays: the other has to be better off with the
        // request than the first is without. A light one that is idle would win every time otherwise.
        let load_of_first = self.active(group, first) * u64::from(shares.share(second));
        let load_of_second = (self.active(group, second) + 1) * u64::from(shares.share(first));
        if load_of_second <= load_of_first {
            second
        } else {
            first
        }
    }

    /// Requests in flight.
    fn active(&self, group: &Group, position: usize) -> u64 {
        u64::from(self.members[group.members[position]].state.active())
    }
}

/// Walks the positions `0..total` with a stride that visits each once before any comes again, and spreads the
/// visits to one member over the round. No lock, and exact over every whole round.
fn in_turn(shares: &Shares, turn: &Turn, part: usize) -> usize {
    let total = u64::from(shares.total());
    let stride = if shares.is_even() { 1 } else { stride(total) };
    let step = turn.next(part) % total;
    let position = step * stride % total;
    shares.at(u32::try_from(position).unwrap_or(0))
}

/// A number near `total` divided by the golden ratio that shares no divisor with `total`.
fn stride(total: u64) -> u64 {
    let near = total * 618 / 1000;
    (near.max(1)..)
        .find(|stride| common_divisor(total, *stride) == 1)
        .unwrap_or(1)
}

/// Moves a position drawn among the others beyond the share of `skipped`.
fn past(shares: &Shares, skipped: usize, position: u32) -> u32 {
    if position < shares.start(skipped) {
        position
    } else {
        position + shares.share(skipped)
    }
}
