//! All series of one kind, and the way to them that what is counted takes.

use ahash::RandomState;
use arc_swap::ArcSwap;
use std::array;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Series that are kept; what is counted beyond them is counted in one that stands for the rest.
///
/// A series of requests takes about 3 KiB, and about 60 KiB of a scrape.
pub(super) const SERIES_LIMIT: usize = 10_000;

/// The labels of the series that stands for those beyond [`SERIES_LIMIT`].
pub(super) const REST: &str = "reporter=\"source\",destination_service=\"tidegate_series_limit\"";

/// Parts of what is remembered, so that remembering one more copies little.
const PARTS: usize = 64;

/// Combinations that a part remembers before it starts anew.
const PART_LIMIT: usize = 1024;

/// The counters of one combination of labels.
pub(super) trait Series {
    /// All at zero.
    fn new(labels: Arc<str>) -> Self;
    /// As they stand between the braces.
    fn labels(&self) -> &Arc<str>;
    /// A number that is another one after something was counted; 0 when nothing ever was.
    fn activity(&self) -> u64;
}

type Known<K, S> = HashMap<(u64, K), Arc<S>, RandomState>;

/// All series of one kind. Found by a number that stands for where traffic went, and by `K`, how it ended.
pub(super) struct Cache<K, S> {
    /// What is looked up without a lock; copied to be changed, which happens once a combination.
    known: [ArcSwap<Known<K, S>>; PARTS],
    /// Every series by its labels, and its activity when idle ones were last forgotten.
    all: Mutex<BTreeMap<Arc<str>, Entry<S>>>,
    rest: Arc<S>,
}

struct Entry<S> {
    series: Arc<S>,
    activity_before: Option<u64>,
}

impl<K: Copy + Eq + Hash, S: Series> Cache<K, S> {
    pub(super) fn new() -> Self {
        Self {
            known: array::from_fn(|_| ArcSwap::default()),
            all: Mutex::default(),
            rest: Arc::new(S::new(REST.into())),
        }
    }

    /// Hands a series to `count`. `labels` is called only for a combination not seen lately.
    pub(super) fn with<R>(
        &self,
        destination: u64,
        outcome: K,
        labels: impl FnOnce() -> String,
        count: impl FnOnce(&Arc<S>) -> R,
    ) -> R {
        let key = (destination, outcome);
        if let Some(series) = part(&self.known, destination).load().get(&key) {
            return count(series);
        }
        let series = self.series(labels());
        let counted = count(&series);
        self.remember(key, series);
        counted
    }

    /// The series of these labels.
    pub(super) fn series(&self, labels: String) -> Arc<S> {
        let labels: Arc<str> = labels.into();
        let mut all = self.lock();
        if let Some(entry) = all.get(&labels) {
            return entry.series.clone();
        }
        if all.len() >= SERIES_LIMIT {
            return self.rest.clone();
        }
        let series = Arc::new(S::new(labels.clone()));
        all.insert(
            labels,
            Entry {
                series: series.clone(),
                activity_before: None,
            },
        );
        series
    }

    /// Destinations that share their labels share a series, so what is remembered has its own limit.
    fn remember(&self, key: (u64, K), series: Arc<S>) {
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
    pub(super) fn all(&self) -> Vec<Arc<S>> {
        let mut all: Vec<_> = self
            .lock()
            .values()
            .map(|entry| entry.series.clone())
            .collect();
        if self.rest.activity() > 0 {
            all.push(self.rest.clone());
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry<S>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Series> Entry<S> {
    fn is_idle(&self) -> bool {
        self.activity_before == Some(self.series.activity())
    }

    /// Whether it stays. One that somebody else holds does: it may be counted in at any moment.
    fn keep(&mut self) -> bool {
        let keep = !self.is_idle() || Arc::strong_count(&self.series) > 1;
        self.activity_before = Some(self.series.activity());
        keep
    }
}

/// Where a destination is remembered. Numbers given one after the other are spread evenly.
fn part<K, S>(known: &[ArcSwap<Known<K, S>>; PARTS], destination: u64) -> &ArcSwap<Known<K, S>> {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    &known[(destination.wrapping_mul(GOLDEN) >> 32) as usize % PARTS]
}
