//! What the limits of a cluster let through: connections, requests that wait for one, requests, retries.

mod budget;
mod gate;
mod permits;
#[cfg(test)]
mod tests;

pub use budget::RetryBudget;
pub use gate::{Entry, Slot, Waiting};
pub use permits::{RequestPermit, RetryPermit};

use budget::Window;
use gate::Gate;
use permits::Counter;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// No limit.
pub const UNLIMITED: u32 = u32::MAX;

/// The limits of a cluster, [`UNLIMITED`] where there is none.
///
/// Source: Istio `ConnectionPoolSettings` and `RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitsPolicy {
    /// Connections in use at one time.
    pub max_connections: u32,
    /// Requests that wait for one.
    pub max_pending: u32,
    /// Requests at one time, those that wait too.
    pub max_requests: u32,
    /// Retries at one time. A budget takes its place.
    pub max_retries: u32,
    /// Bounds retries by what else is going on.
    pub retry_budget: Option<RetryBudget>,
}

impl Default for LimitsPolicy {
    /// No limits.
    fn default() -> Self {
        Self {
            max_connections: UNLIMITED,
            max_pending: UNLIMITED,
            max_requests: UNLIMITED,
            max_retries: UNLIMITED,
            retry_budget: None,
        }
    }
}

/// What the limits of a cluster let through. Everything that was let through is counted until its guard is dropped.
pub struct Limits {
    gate: Gate,
    requests: Counter,
    max_requests: AtomicU32,
    retries: Counter,
    bound: Mutex<RetryBound>,
}

/// What bounds retries.
#[derive(Debug)]
struct RetryBound {
    max_retries: u32,
    budget: Option<(RetryBudget, Window)>,
}

impl Limits {
    /// Nothing is counted yet.
    pub fn new(policy: LimitsPolicy) -> Self {
        let limits = Self {
            gate: Gate::new(),
            requests: Counter::default(),
            max_requests: AtomicU32::new(UNLIMITED),
            retries: Counter::default(),
            bound: Mutex::new(RetryBound {
                max_retries: UNLIMITED,
                budget: None,
            }),
        };
        limits.set(policy);
        limits
    }

    /// Goes on under other limits. What was let through stays so.
    pub fn set(&self, policy: LimitsPolicy) {
        self.max_requests.store(policy.max_requests, Relaxed);
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.max_retries = policy.max_retries;
        if bound.budget.as_ref().map(|(budget, _)| *budget) != policy.retry_budget {
            let window = |budget: RetryBudget| (budget, Window::new(budget.interval));
            bound.budget = policy.retry_budget.map(window);
        }
        drop(bound);
        let has_windows = policy
            .retry_budget
            .is_some_and(|budget| !budget.interval.is_zero());
        self.gate.set_windows(has_windows);
        self.gate.set(policy.max_connections, policy.max_pending);
    }

    /// Asks for a connection.
    pub fn enter(self: &Arc<Self>) -> Entry {
        gate::enter(self)
    }

    /// A connection whatever the limit says, and before those who wait: for one that is open already.
    pub fn enter_anyway(self: &Arc<Self>) -> Slot {
        gate::enter_anyway(self)
    }

    /// Lets a request through. `None`: there are as many as there may be.
    pub fn request(self: &Arc<Self>, now: Instant) -> Option<RequestPermit> {
        let limit = self.max_requests.load(Relaxed);
        if !self.requests.try_add(limit) {
            return None;
        }
        // Only a budget with an interval needs to know, and that is rare.
        if self.gate.has_windows() {
            self.note_request(now);
        }
        Some(RequestPermit(self.clone()))
    }

    /// Lets a retry through. `None`: there are as many as there may be.
    pub fn retry(self: &Arc<Self>, now: Instant) -> Option<RetryPermit> {
        let limit = self.retry_limit(now);
        self.retries
            .try_add(limit)
            .then(|| RetryPermit(self.clone()))
    }

    /// Connections in use.
    pub fn active_connections(&self) -> u32 {
        self.gate.active()
    }

    /// The [ticket](Waiting::ticket) of who has waited longest. `None`: nobody waits.
    pub fn first_in_line(&self) -> Option<u64> {
        self.gate.first()
    }

    /// Requests that wait for a connection.
    pub fn pending(&self) -> u32 {
        self.gate.pending()
    }

    /// Requests under way.
    pub fn active_requests(&self) -> u32 {
        self.requests.count()
    }

    /// Retries under way.
    pub fn active_retries(&self) -> u32 {
        self.retries.count()
    }

    fn retry_limit(&self, now: Instant) -> u32 {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let max_retries = bound.max_retries;
        match &mut bound.budget {
            None => max_retries,
            Some((budget, window)) => budget.limit(window.count(now).max(self.active_requests())),
        }
    }

    fn note_request(&self, now: Instant) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, window)) = &mut bound.budget {
            window.add(now);
        }
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("connections", &self.active_connections())
            .field("pending", &self.pending())
            .field("requests", &self.active_requests())
            .field("retries", &self.active_retries())
            .finish_non_exhaustive()
    }
}
