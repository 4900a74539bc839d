//! The counters of one combination of labels.
//!
//! A request adds to six numbers. Threads add to different copies of them, so that cores do not
//! fight for a cache line; a scrape sums the copies up. The number of requests is not counted by
//! itself: each stands in exactly one bucket of the durations.

use super::cache::Series;
use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Upper bounds of the histograms, for milliseconds and bytes alike, as Envoy has them.
pub(super) const BOUNDS: [&str; BUCKETS - 1] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000",
];

/// [`BOUNDS`] as whole numbers; the first, a half, is zero for bytes.
const BYTE_BOUNDS: [u64; BUCKETS - 1] = [
    0, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
    1_800_000, 3_600_000,
];

/// [`BOUNDS`] of milliseconds in microseconds.
const MICROSECOND_BOUNDS: [u64; BUCKETS - 1] = [
    500,
    1000,
    5000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// With the last, unbounded one.
pub(super) const BUCKETS: usize = 20;

/// Copies of the numbers of a series.
pub(super) const SHARDS: usize = 4;

/// One finished request, as numbers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RequestSample {
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// Head and body of the request as they came from downstream.
    pub request_bytes: u64,
    /// Head and body of the response as they went downstream.
    pub response_bytes: u64,
}

/// Istio's standard metrics for one combination of labels.
pub struct RequestSeries {
    labels: Arc<str>,
    shards: [Shard; SHARDS],
}

/// Whole cache lines of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard {
    microseconds: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl RequestSeries {
    /// Counts one finished request.
    pub fn record(&self, sample: RequestSample) {
        let microseconds = u64::try_from(sample.duration.as_micros()).unwrap_or(u64::MAX);
        let shard = &self.shards[shard_of_thread()];
        shard.microseconds.add(microseconds, &MICROSECOND_BOUNDS);
        shard.request_bytes.add(sample.request_bytes, &BYTE_BOUNDS);
        shard
            .response_bytes
            .add(sample.response_bytes, &BYTE_BOUNDS);
    }

    /// How many requests were counted.
    pub fn count(&self) -> u64 {
        self.totals(|shard| &shard.microseconds).count()
    }

    pub(super) fn microseconds(&self) -> Totals {
        self.totals(|shard| &shard.microseconds)
    }

    pub(super) fn request_bytes(&self) -> Totals {
        self.totals(|shard| &shard.request_bytes)
    }

    pub(super) fn response_bytes(&self) -> Totals {
        self.totals(|shard| &shard.response_bytes)
    }

    fn totals(&self, histogram: impl Fn(&Shard) -> &Histogram) -> Totals {
        let mut totals = Totals::default();
        for histogram in self.shards.iter().map(histogram) {
            for (total, bucket) in totals.buckets.iter_mut().zip(&histogram.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
            totals.sum = totals
                .sum
                .wrapping_add(histogram.sum.load(Ordering::Relaxed));
        }
        totals
    }
}

impl Series for RequestSeries {
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
        self.count()
    }
}

impl Histogram {
    fn add(&self, value: u64, bounds: &[u64; BUCKETS - 1]) {
        let bucket = bounds.partition_point(|&bound| bound < value);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }
}

/// A histogram at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    /// How many fell into each bucket, not cumulated.
    pub(super) buckets: [u64; BUCKETS],
    pub(super) sum: u64,
}

impl Totals {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Threads take turns with the shards.
pub(super) fn shard_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    SHARD.with(|shard| *shard)
}
