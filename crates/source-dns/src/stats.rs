//! What is counted of names that are asked for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was counted since the start. Each request that was told something is a hit, a miss or stale.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Requests that were told at once what counts: addresses, or why there are none.
    pub hits: u64,
    /// Requests that had to wait for a look-up, or were refused one.
    pub misses: u64,
    /// Requests that were told addresses after their time, since nobody knew better.
    pub stale: u64,
    /// Look-ups that nobody answered, or that did not get their turn. That a name does not exist is no failure.
    pub failures: u64,
    /// Names that were forgotten for others while they were of use. Others are forgotten without being counted.
    pub evictions: u64,
    /// Names that are remembered now.
    pub entries: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) evictions: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self, entries: usize) -> Stats {
        Stats {
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            stale: self.stale.load(Relaxed),
            failures: self.failures.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            entries: entries as u64,
        }
    }
}
