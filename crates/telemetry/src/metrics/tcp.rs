//! Istio's metrics of connections whose bytes are forwarded as they are, for one combination of labels.

use super::cache::Series;
use super::series::{SHARDS, shard_of_thread};
use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of connections. Threads add to different copies of them, as for requests.
pub struct TcpSeries {
    labels: Arc<str>,
    shards: [Shard; SHARDS],
}

/// A cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard {
    opened: AtomicU64,
    closed: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl TcpSeries {
    /// Counts a connection that began.
    pub fn opened(&self) {
        self.shard().opened.fetch_add(1, Relaxed);
    }

    /// Counts a connection that ended.
    pub fn closed(&self) {
        self.shard().closed.fetch_add(1, Relaxed);
    }

    /// Counts bytes that came from clients.
    pub fn received(&self, bytes: u64) {
        self.shard().received.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that went to clients.
    pub fn sent(&self, bytes: u64) {
        self.shard().sent.fetch_add(bytes, Relaxed);
    }

    fn shard(&self) -> &Shard {
        &self.shards[shard_of_thread()]
    }

    pub(super) fn totals(&self) -> Totals {
        let sum = |counter: fn(&Shard) -> &AtomicU64| {
            let counts = self.shards.iter().map(|shard| counter(shard).load(Relaxed));
            counts.fold(0, u64::wrapping_add)
        };
        Totals {
            opened: sum(|shard| &shard.opened),
            closed: sum(|shard| &shard.closed),
            received: sum(|shard| &shard.received),
            sent: sum(|shard| &shard.sent),
        }
    }
}

impl Series for TcpSeries {
    fn new(labels: Arc<str>) -> Self {
        Self {
            labels,
            shards: array::from_fn(|_| Shard::default()),
        }
    }

    fn labels(&self) -> &Arc<str> {
        &self.labels
    }

    fn activity(&self) -> u64 {
        let totals = self.totals();
        [totals.opened, totals.closed, totals.received, totals.sent]
            .into_iter()
            .fold(0, u64::wrapping_add)
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Totals {
    pub(super) opened: u64,
    pub(super) closed: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}
