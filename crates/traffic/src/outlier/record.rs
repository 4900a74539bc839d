//! What outlier detection remembers of one endpoint.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(super) consecutive_5xx: AtomicU32,
    pub(super) consecutive_gateway: AtomicU32,
    pub(super) consecutive_local_origin: AtomicU32,
    ejected: AtomicBool,
    /// Until when. Meaningful while ejected.
    until: Mutex<Option<Instant>>,
    /// Times the base time is how long the next ejection lasts, less one.
    times: AtomicU32,
}

impl Record {
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Acquire)
    }

    pub(crate) fn ejections(&self) -> u32 {
        self.times.load(Relaxed)
    }

    /// Counts one more in a row and says how many there are.
    pub(super) fn count(counter: &AtomicU32) -> u32 {
        counter.fetch_add(1, Relaxed).saturating_add(1)
    }

    /// What is 0 is not written: most requests succeed, and writing is what costs when many threads do it.
    pub(super) fn reset(counter: &AtomicU32) {
        if counter.load(Relaxed) != 0 {
            counter.store(0, Relaxed);
        }
    }

    pub(super) fn reset_all(&self) {
        Self::reset(&self.consecutive_5xx);
        Self::reset(&self.consecutive_gateway);
        Self::reset(&self.consecutive_local_origin);
    }

    pub(super) fn set_times(&self, times: u32) {
        self.times.store(times, Relaxed);
    }

    pub(super) fn eject(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.ejected.store(true, Release);
    }

    /// Whether its time is over.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_none_or(|until| until <= now)
    }

    pub(super) fn return_to_rotation(&self) {
        self.reset_all();
        self.ejected.store(false, Release);
    }

    /// An interval has passed in which it was not ejected.
    pub(super) fn forgive(&self) {
        let times = self.times.load(Relaxed);
        self.times.store(times.saturating_sub(1), Relaxed);
    }
}
