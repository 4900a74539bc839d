//! A budget of retries: a share of what else is going on.

use std::time::{Duration, Instant};

/// A bound of concurrent retries.
///
/// Source: Istio `TrafficPolicy.RetryBudget`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Of the requests that count, 0 to 100.
    pub percent: f64,
    /// Always allowed.
    pub min_concurrency: u32,
    /// How long a request counts from its beginning. Zero: as long as it is under way.
    pub interval: Duration,
}

impl RetryBudget {
    /// How many retries there may be at one time when so many requests count.
    pub(super) fn limit(&self, requests: u32) -> u32 {
        let share = f64::from(requests) * self.percent.clamp(0.0, 100.0) / 100.0;
        (share as u32).max(self.min_concurrency)
    }
}

/// Counts what happened within the last interval, to a half of it.
#[derive(Debug)]
pub(super) struct Window {
    half: Duration,
    began: Option<Instant>,
    /// In the present half, the one before, and the one before that.
    counts: [u32; 3],
}

impl Window {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            half: interval / 2,
            began: None,
            counts: [0; 3],
        }
    }

    pub(super) fn add(&mut self, now: Instant) {
        if self.half.is_zero() {
            return;
        }
        self.advance(now);
        self.counts[0] = self.counts[0].saturating_add(1);
    }

    pub(super) fn count(&mut self, now: Instant) -> u32 {
        if self.half.is_zero() {
            return 0;
        }
        self.advance(now);
        self.counts
            .iter()
            .fold(0, |sum: u32, count| sum.saturating_add(*count))
    }

    fn advance(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        let halves = passed.as_nanos() / self.half.as_nanos().max(1);
        let Ok(halves) = u32::try_from(halves) else {
            (self.began, self.counts) = (Some(now), [0; 3]);
            return;
        };
        for _ in 0..halves.min(3) {
            self.counts = [0, self.counts[0], self.counts[1]];
        }
        self.began = Some(began + self.half * halves);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::moment;

    #[test]
    fn a_budget_is_a_share_and_never_less_than_the_least() {
        let budget = RetryBudget {
            percent: 20.0,
            min_concurrency: 3,
            interval: Duration::ZERO,
        };
        let limits = [0, 10, 15, 19, 20, 1000].map(|requests| budget.limit(requests));
        assert_eq!(limits, [3, 3, 3, 3, 4, 200]);
    }

    #[test]
    fn requests_count_for_the_interval() {
        let mut window = Window::new(Duration::from_secs(10));
        let start = moment();
        let at = |seconds| start + Duration::from_secs(seconds);
        (0..4).for_each(|_| window.add(at(0)));
        window.add(at(7));
        assert_eq!(window.count(at(9)), 5);
        assert_eq!(window.count(at(15)), 1);
        assert_eq!(window.count(at(40)), 0);
        assert_eq!(window.count(at(1_000_000_000)), 0);
    }
}
