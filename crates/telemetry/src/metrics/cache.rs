//! All series of requests, and the way to them that a request takes.

use super::labels::render;
use super::{RequestLabels, RequestOutcome, RequestSample, RequestSeries};
use ahash::RandomState;
use arc_swap::ArcSwap;
use std::array;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Series that are kept; a request beyond them is counted in one that stands for the rest.
///
/// A series takes about 3 KiB, and about 60 KiB of a scrape.
pub(super) const SERIES_LIMIT: usize = 10_000;

/// The labels of the series that stands for those beyond [`SERIES_LIMIT`].
pub(super) const REST: &str = "reporter=\"source\",destination_service=\"tidegate_series_limit\"";

/// Parts of what is remembered, so that remembering one more copies little.
const PARTS: usize = 64;

/// Combinations that a part remembers before it starts anew.
const PART_LIMIT: usize = 1024;

type Key = (u64, RequestOutcome);
type Known = HashMap<Key, Arc<RequestSeries>, RandomState>;

pub(super) struct RequestCache {
    /// What requests look up without a lock; copied to be changed, which happens once a combination.
    known: [ArcSwap<Known>; PARTS],
    /// Every series by its labels, and how many requests it had when idle ones were last forgotten.
    all: Mutex<BTreeMap<Arc<str>, Entry>>,
    rest: Arc<RequestSeries>,
}

struct Entry {
    series: Arc<RequestSeries>,
    count_before: Option<u64>,
}

impl RequestCache {
    pub(super) fn new() -> Self {
        let rest = Arc::new(RequestSeries::new(REST.into()));
        Self {
            known: array::from_fn(|_| ArcSwap::default()),
            all: Mutex::default(),
            rest,
        }
    }

    pub(super) fn record<'l>(
        &self,
        destination: u64,
        outcome: RequestOutcome,
        sample: RequestSample,
        labels: impl FnOnce() -> RequestLabels<'l>,
    ) {
        let key = (destination, outcome);
        if let Some(series) = part(&self.known, destination).load().get(&key) {
            return series.record(sample);
        }
        let series = self.series(&labels(), outcome);
        series.record(sample);
        self.remember(key, series);
    }

    pub(super) fn series(
        &self,
        labels: &RequestLabels<'_>,
        outcome: RequestOutcome,
    ) -> Arc<RequestSeries> {
        let labels: Arc<str> = render(labels, outcome).into();
        let mut all = self.lock();
        if let Some(entry) = all.get(&labels) {
            return entry.series.clone();
        }
        if all.len() >= SERIES_LIMIT {
            return self.rest.clone();
        }
        let series = Arc::new(RequestSeries::new(labels.clone()));
        all.insert(
            labels,
            Entry {
                series: series.clone(),
                count_before: None,
            },
        );
        series
    }

    /// Destinations that share their labels share a series, so what is remembered has its own limit.
    fn remember(&self, key: Key, series: Arc<RequestSeries>) {
        let _one_at_a_time = self.lock();
        let part = part(&self.known, key.0);
        let known = part.load();
        let mut copy = if known.len() < PART_LIMIT {
            Known::clone(&known)
        } else {
            Known::default()
        };
        copy.insert(key, series);
        part.store(Arc::new(copy));
    }

    pub(super) fn forget_idle(&self) {
        let mut all = self.lock();
        for part in &self.known {
            let mut copy = Known::clone(&part.load());
            copy.retain(|_, series| {
                all.get(series.labels())
                    .is_some_and(|entry| !entry.is_idle())
            });
            copy.shrink_to_fit();
            part.store(Arc::new(copy));
        }
        all.retain(|_, entry| entry.keep());
    }

    /// All series in the order of their labels.
    pub(super) fn all(&self) -> Vec<Arc<RequestSeries>> {
        let mut all: Vec<_> = self
            .lock()
            .values()
            .map(|entry| entry.series.clone())
            .collect();
        if self.rest.count() > 0 {
            all.push(self.rest.clone());
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_idle(&self) -> bool {
        self.count_before == Some(self.series.count())
    }

    /// Whether it stays. One that somebody else holds does: it may be counted in at any moment.
    fn keep(&mut self) -> bool {
        let keep = !self.is_idle() || Arc::strong_count(&self.series) > 1;
        self.count_before = Some(self.series.count());
        keep
    }
}

/// Where a destination is remembered. Numbers given one after the other are spread evenly.
fn part(known: &[ArcSwap<Known>; PARTS], destination: u64) -> &ArcSwap<Known> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    &known[(destination.wrapping_mul(GOLDEN) >> 32) as usize % PARTS]
}
