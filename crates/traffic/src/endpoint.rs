//! What is known about an endpoint while requests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The counters of one endpoint of one cluster. It survives changes of the configuration by address.
#[derive(Debug, Default)]
pub struct EndpointState {
    active: AtomicU32,
    total: AtomicU64,
    failed: AtomicU64,
}

impl EndpointState {
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
