//! How often something may be done.

use std::time::{Duration, Instant};

/// Tokens that come at a rate, and are kept up to a number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    capacity: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) fn new(per_second: f64, capacity: f64, now: Instant) -> Self {
        Self {
            per_second,
            capacity,
            tokens: capacity,
            at: now,
        }
    }

    /// Takes a token, or tells how long there will be none.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.capacity);
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(
            (1.0 - self.tokens) / self.per_second,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(20.0, 50.0, start);
        let mut taken = 0;
        for tick in 0..1000 {
            let now = start + Duration::from_millis(tick * 10);
            while bucket.take(now).is_ok() {
                taken += 1;
            }
        }
        assert!((249..=250).contains(&taken), "{taken}");
        let idle = start + Duration::from_secs(1000);
        assert_eq!((0..100).filter(|_| bucket.take(idle).is_ok()).count(), 50);
        let wait = bucket.take(idle).unwrap_err();
        assert!(wait <= Duration::from_millis(50), "{wait:?}");
    }
}
