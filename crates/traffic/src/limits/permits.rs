//! Requests and retries that were let through.

use super::{Limits, UNLIMITED};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Counts up to a limit.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU32);

impl Counter {
    /// Counts one more. Whether there was room.
    pub(super) fn try_add(&self, limit: u32) -> bool {
        if limit == UNLIMITED {
            self.0.fetch_add(1, Relaxed);
            return true;
        }
        let more = |count| (count < limit).then_some(count + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn remove(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(super) fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// A request that was let through. It counts as long as this exists.
#[derive(Debug)]
pub struct RequestPermit(pub(super) Arc<Limits>);

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.remove();
    }
}

/// A retry that was let through. It counts as long as this exists.
#[derive(Debug)]
pub struct RetryPermit(pub(super) Arc<Limits>);

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.retries.remove();
    }
}
