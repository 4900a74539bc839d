//! The endpoints of a cluster, with their shares.

use crate::EndpointState;
use std::sync::Arc;

/// One endpoint: what the caller needs to reach it, its share and its counters.
#[derive(Clone, Debug)]
pub struct Member<T> {
    /// How it is reached. Never looked at here.
    pub value: T,
    /// Relative share. 0: never selected.
    pub weight: u32,
    /// Its counters, shared with the sets before and after this one.
    pub state: Arc<EndpointState>,
}

/// The endpoints of a cluster. Immutable; a change makes a new one around the same states.
#[derive(Debug)]
pub struct EndpointSet<T> {
    members: Box<[Member<T>]>,
    /// `ends[i]` is the sum of the shares of members `0..=i`.
    ends: Box<[u32]>,
    /// All shares are equal, so that a position is an index.
    even: bool,
}

impl<T> EndpointSet<T> {
    /// Takes the members in this order. Weights are scaled down together when their sum is beyond `u32`.
    pub fn new(members: Vec<Member<T>>) -> Self {
        let shares = shares(&members);
        let even = shares.iter().all(|share| *share == 1);
        let mut sum = 0;
        let ends = shares.into_iter().map(|share| {
            sum += share;
            sum
        });
        Self {
            ends: ends.collect(),
            members: members.into(),
            even,
        }
    }

    /// All members, those that are never selected too.
    pub fn members(&self) -> &[Member<T>] {
        &self.members
    }

    /// The sum of the shares. 0: nothing can be selected.
    pub(crate) fn total(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether all shares are equal.
    pub(crate) fn is_even(&self) -> bool {
        self.even
    }

    /// The member whose share covers this position in `0..total`.
    pub(crate) fn at(&self, position: u32) -> usize {
        if self.even {
            return position as usize;
        }
        self.ends.partition_point(|end| *end <= position)
    }

    /// Where the share of a member begins.
    pub(crate) fn start(&self, index: usize) -> u32 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// The share of a member.
    pub(crate) fn share(&self, index: usize) -> u32 {
        self.ends[index] - self.start(index)
    }
}

/// The weights with their common divisor taken out, small enough to be summed up in a `u32`.
fn shares<T>(members: &[Member<T>]) -> Vec<u32> {
    let divisor = members
        .iter()
        .fold(0, |divisor, member| common_divisor(divisor, member.weight))
        .max(1);
    let sum: u64 = members
        .iter()
        .map(|member| u64::from(member.weight / divisor))
        .sum();
    let shift = (64 - sum.leading_zeros()).saturating_sub(31);
    members
        .iter()
        .map(|member| scaled(member.weight / divisor, shift))
        .collect()
}

/// Halves a share `shift` times, but leaves something of what was there.
fn scaled(share: u32, shift: u32) -> u32 {
    if share == 0 {
        0
    } else {
        (share >> shift).max(1)
    }
}

/// The greatest common divisor; 0 divides everything.
pub(crate) fn common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
