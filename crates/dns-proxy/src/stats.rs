//! What is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Queries that came, good or bad.
    pub queries: u64,
    /// Those that were answered from the names that are known here.
    pub answered: u64,
    /// Those that were asked on, whatever came of it.
    pub forwarded: u64,
    /// Those that were asked on, and no nameserver answered.
    pub failed: u64,
    /// Those that were refused because too many were being asked on.
    pub overflowed: u64,
    /// Those that came before the names were known, and were not asked on.
    pub early: u64,
    /// Those that were none, or of a kind that is not answered.
    pub malformed: u64,
    /// Times that a nameserver did not answer, or said that it cannot.
    pub nameserver_failures: u64,
    /// Answers of nameservers that belong to no query: they have another number or question.
    pub strays: u64,
    /// Answers that were cut, as they are longer than who asked can take over UDP.
    pub truncated: u64,
    /// TCP connections that were taken.
    pub connections: u64,
    /// TCP connections that were closed at once, as there were too many.
    pub refused_connections: u64,
}

/// Tells what was counted, as long as it is kept.
#[derive(Clone, Debug)]
pub struct StatsHandle(pub(crate) Arc<Counters>);

impl StatsHandle {
    /// What was counted up to now.
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) queries: AtomicU64,
    pub(crate) answered: AtomicU64,
    pub(crate) forwarded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) overflowed: AtomicU64,
    pub(crate) early: AtomicU64,
    pub(crate) malformed: AtomicU64,
    pub(crate) nameserver_failures: AtomicU64,
    pub(crate) strays: AtomicU64,
    pub(crate) truncated: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) refused_connections: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    fn stats(&self) -> Stats {
        Stats {
            queries: self.queries.load(Relaxed),
            answered: self.answered.load(Relaxed),
            forwarded: self.forwarded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            overflowed: self.overflowed.load(Relaxed),
            early: self.early.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            nameserver_failures: self.nameserver_failures.load(Relaxed),
            strays: self.strays.load(Relaxed),
            truncated: self.truncated.load(Relaxed),
            connections: self.connections.load(Relaxed),
            refused_connections: self.refused_connections.load(Relaxed),
        }
    }
}
