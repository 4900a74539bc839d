//! What is known about an endpoint while requests run.

use crate::outlier::Record;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// The counters and the health of one endpoint of one cluster. It survives changes of the configuration by address.
#[derive(Debug, Default)]
pub struct EndpointState {
    active: AtomicU32,
    total: AtomicU64,
    failed: AtomicU64,
    /// Active checks found it unhealthy.
    unhealthy: AtomicBool,
    /// What outlier detection has recorded.
    pub(crate) record: Record,
    /// Since when it has been there. Absent: from the start, so that it need not warm up.
    appeared: Option<Instant>,
}

impl EndpointState {
    /// An endpoint that has just appeared among others. [`Self::default`] makes one that was there from the start.
    pub fn new(now: Instant) -> Self {
        Self {
            appeared: Some(now),
            ..Self::default()
        }
    }

    /// Requests in flight to it.
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Attempts ever sent to it, retries included.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Attempts that got no answer, or a 5xx.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Counts one more failed attempt.
    pub fn record_failure(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// Counts one more request in flight, until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.active.fetch_add(1, Relaxed);
        self.total.fetch_add(1, Relaxed);
        ActiveRequest(Arc::clone(self))
    }

    /// Whether it may take requests: neither ejected, nor found unhealthy.
    pub fn is_available(&self) -> bool {
        !self.is_ejected() && !self.is_unhealthy()
    }

    /// Whether it is out because it failed.
    pub fn is_ejected(&self) -> bool {
        self.record.is_ejected()
    }

    /// How often in a row it was ejected. The number goes down while it does well.
    pub fn ejections(&self) -> u32 {
        self.record.ejections()
    }

    /// Whether active checks found it unhealthy.
    pub fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Relaxed)
    }

    /// Takes note of what active checks found. Whether that is news, so that
    /// [`EndpointSet::refresh`](crate::EndpointSet::refresh) has to be called.
    pub fn set_unhealthy(&self, unhealthy: bool) -> bool {
        self.unhealthy.swap(unhealthy, Relaxed) != unhealthy
    }

    pub(crate) fn appeared(&self) -> Option<Instant> {
        self.appeared
    }
}

/// A request in flight. It is counted as long as this exists.
#[derive(Debug)]
pub struct ActiveRequest(Arc<EndpointState>);

impl ActiveRequest {
    /// The endpoint it is counted at.
    pub fn endpoint(&self) -> &Arc<EndpointState> {
        &self.0
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}
