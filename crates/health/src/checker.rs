//! What is concluded from one answer after the other.

use crate::{Check, Failure};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Draws are below this.
pub const DRAWS: u16 = 10_000;

/// Longer is no interval, and could overflow the clock.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// It answers as expected.
    Healthy,
    /// It does not.
    Unhealthy {
        /// The last failure: `status 503`, `timeout`, `grpc NOT_SERVING`.
        why: Arc<str>,
    },
    /// It is not asked any more. What was told of it holds no longer, and should be forgotten.
    Unchecked,
}

/// The state of one endpoint, and when it is to be asked next.
///
/// At first nothing is known, which counts as available. Then one success makes it healthy, whatever the threshold,
/// and [`Check::unhealthy_threshold`] failures in a row unhealthy.
///
/// Source: Envoy's active health checking, where an endpoint that was never asked counts as unhealthy. Here it counts
/// as available, so that the first configuration serves before its first probes are answered.
#[derive(Debug)]
pub struct Checker {
    check: Arc<Check>,
    state: State,
    /// Answers in a row that speak against the state.
    against: u32,
    due: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Unknown,
    Healthy,
    Unhealthy,
}

impl Checker {
    /// Asks at once, but for the jitter. `draw` is random and below [`DRAWS`].
    pub fn new(check: Arc<Check>, now: Instant, draw: u16) -> Self {
        let due = now + jitter(&check, draw);
        Self {
            check,
            state: State::Unknown,
            against: 0,
            due,
        }
    }

    /// What it asks.
    pub fn check(&self) -> &Arc<Check> {
        &self.check
    }

    /// When the next probe begins.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Whether it was told healthy or unhealthy.
    pub fn is_known(&self) -> bool {
        self.state != State::Unknown
    }

    /// Whether it is unhealthy.
    pub fn is_unhealthy(&self) -> bool {
        self.state == State::Unhealthy
    }

    /// Takes a probe's result at the moment it ended. What the endpoint became, if it flipped.
    pub fn record(
        &mut self,
        result: &Result<(), Failure>,
        now: Instant,
        draw: u16,
    ) -> Option<Health> {
        self.due = now + self.check.interval.min(LONGEST) + jitter(&self.check, draw);
        match result {
            Ok(()) => self.succeed(),
            Err(failure) => self.fail(failure),
        }
    }

    fn succeed(&mut self) -> Option<Health> {
        let needed = match self.state {
            State::Healthy => {
                self.against = 0;
                return None;
            }
            State::Unknown => 1,
            State::Unhealthy => self.check.healthy_threshold.get(),
        };
        self.flips(needed, State::Healthy)
            .then_some(Health::Healthy)
    }

    fn fail(&mut self, failure: &Failure) -> Option<Health> {
        if self.state == State::Unhealthy {
            self.against = 0;
            return None;
        }
        let needed = self.check.unhealthy_threshold.get();
        self.flips(needed, State::Unhealthy)
            .then(|| Health::Unhealthy {
                why: failure.chain().into(),
            })
    }

    /// Counts one answer against the state. Whether that makes it `next`.
    fn flips(&mut self, needed: u32, next: State) -> bool {
        self.against += 1;
        if self.against < needed {
            return false;
        }
        self.against = 0;
        self.state = next;
        true
    }
}

fn jitter(check: &Check, draw: u16) -> Duration {
    check.jitter.min(LONGEST) * u32::from(draw.min(DRAWS)) / u32::from(DRAWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ask;
    use std::num::NonZeroU32;

    fn check(healthy: u32, unhealthy: u32) -> Arc<Check> {
        Arc::new(Check {
            ask: Ask::Tcp,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            jitter: Duration::from_secs(4),
            healthy_threshold: NonZeroU32::new(healthy).unwrap(),
            unhealthy_threshold: NonZeroU32::new(unhealthy).unwrap(),
        })
    }

    /// What is told after each answer, `+` a success and `-` a failure: `H`, `U`, or `.` for nothing.
    #[track_caller]
    fn check_told(healthy: u32, unhealthy: u32, answers: &str, want: &str) {
        let mut now = Instant::now();
        let mut checker = Checker::new(check(healthy, unhealthy), now, 0);
        let told = answers.chars().map(|answer| {
            now += Duration::from_secs(10);
            let result = match answer {
                '+' => Ok(()),
                _ => Err(Failure::Timeout),
            };
            match checker.record(&result, now, 0) {
                None | Some(Health::Unchecked) => '.',
                Some(Health::Healthy) => 'H',
                Some(Health::Unhealthy { why }) => {
                    assert_eq!(&*why, "timeout");
                    'U'
                }
            }
        });
        assert_eq!(told.collect::<String>(), want, "{answers}");
    }

    #[test]
    fn failures_in_a_row_make_an_endpoint_unhealthy() {
        check_told(1, 3, "+--+---", "H.....U");
        check_told(1, 3, "---", "..U");
        check_told(1, 1, "-+-", "UHU");
    }

    #[test]
    fn successes_in_a_row_make_it_healthy_again() {
        check_told(3, 1, "-++-+++", "U.....H");
        check_told(2, 1, "----++", "U....H");
    }

    #[test]
    fn the_first_success_is_enough_when_nothing_is_known() {
        check_told(3, 3, "+", "H");
        check_told(3, 3, "--+--", "..H..");
    }

    #[test]
    fn what_stays_is_not_told_again() {
        check_told(1, 2, "++++----", "H....U..");
    }

    #[test]
    fn the_first_probe_is_at_once_but_for_the_jitter() {
        let now = Instant::now();
        let due = |draw| Checker::new(check(1, 1), now, draw).due() - now;
        assert_eq!(due(0), Duration::ZERO);
        assert_eq!(due(DRAWS / 4), Duration::from_secs(1));
    }

    #[test]
    fn the_next_probe_is_an_interval_and_a_jitter_after_the_answer() {
        let now = Instant::now();
        let mut checker = Checker::new(check(1, 1), now, 0);
        let answered = now + Duration::from_secs(3);
        checker.record(&Ok(()), answered, DRAWS / 2);
        assert_eq!(checker.due(), answered + Duration::from_secs(12));
    }

    #[test]
    fn an_interval_without_end_is_a_day() {
        let now = Instant::now();
        let endless = Check {
            interval: Duration::MAX,
            jitter: Duration::MAX,
            ..(*check(1, 1)).clone()
        };
        let mut checker = Checker::new(Arc::new(endless), now, DRAWS);
        checker.record(&Ok(()), now, u16::MAX);
        assert_eq!(checker.due(), now + LONGEST + LONGEST);
    }
}
