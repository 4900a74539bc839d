//! A slow start: endpoints that are new get their share little by little.

use std::time::{Duration, Instant};

/// How long new endpoints take to get their whole share.
///
/// Source: Istio `WarmupConfiguration`, Envoy's slow start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// How long it takes.
    pub duration: Duration,
    /// The least part of its share, 0 to 100 percent.
    pub minimum_percent: f64,
    /// The form of the ramp, at least 1: linear; more gets there faster at first.
    pub aggression: f64,
}

impl Warmup {
    /// The part of its share that an endpoint gets which appeared then: up to 1.
    pub(crate) fn part(&self, appeared: Option<Instant>, now: Instant) -> f64 {
        let Some(appeared) = appeared else {
            return 1.0;
        };
        let age = now.saturating_duration_since(appeared);
        if age >= self.duration {
            return 1.0;
        }
        let time = age.as_secs_f64() / self.duration.as_secs_f64();
        let least = (self.minimum_percent / 100.0).clamp(0.0, 1.0);
        time.powf(1.0 / self.aggression.max(1.0)).clamp(least, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::moment;

    #[track_caller]
    fn check(aggression: f64, cases: &[(u64, f64)]) {
        let warmup = Warmup {
            duration: Duration::from_secs(100),
            minimum_percent: 10.0,
            aggression,
        };
        let appeared = moment();
        for (age, want) in cases {
            let part = warmup.part(Some(appeared), appeared + Duration::from_secs(*age));
            assert!((part - want).abs() < 1e-9, "{age} s: {part}");
        }
    }

    #[test]
    fn the_share_grows_with_time_from_the_least_part() {
        check(
            1.0,
            &[
                (0, 0.1),
                (5, 0.1),
                (50, 0.5),
                (99, 0.99),
                (100, 1.0),
                (500, 1.0),
            ],
        );
    }

    #[test]
    fn aggression_gets_there_faster_at_first() {
        check(2.0, &[(0, 0.1), (25, 0.5), (81, 0.9)]);
    }

    #[test]
    fn what_was_there_from_the_start_is_warm() {
        let warmup = Warmup {
            duration: Duration::from_secs(100),
            minimum_percent: 10.0,
            aggression: 1.0,
        };
        assert_eq!(warmup.part(None, moment()), 1.0);
    }
}
