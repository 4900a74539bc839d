//! How long to wait for an answer, and before asking again: pure functions of failures and dice.

use std::time::Duration;

/// Dice are `0..DRAWS`.
pub(crate) const DRAWS: u16 = 10_000;

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// For the head of an answer, and again for its first message.
    pub(crate) patience: Duration,
    /// After the first failure. Doubles with each further one.
    pub(crate) first_pause: Duration,
    /// After any failure, at most.
    pub(crate) longest_pause: Duration,
    /// After one that says that asking again is of no use. It is of some once another server is there.
    pub(crate) hopeless_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            hopeless_pause: Duration::from_secs(300),
        }
    }
}

impl Timing {
    /// After so many failures in a row, 1 or more. Half of it is by chance, so that all proxies of a machine do not
    /// ask at once when its server is back.
    pub(crate) fn pause_after(&self, failures: u32, draw: u16) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let pause = self.first_pause.saturating_mul(doubled);
        by_chance(pause.min(self.longest_pause), draw)
    }

    /// After a failure that says that asking again is of no use.
    pub(crate) fn pause_without_hope(&self, draw: u16) -> Duration {
        by_chance(self.hopeless_pause, draw)
    }
}

fn by_chance(wait: Duration, draw: u16) -> Duration {
    wait / 2 + wait / 2 * u32::from(draw.min(DRAWS)) / u32::from(DRAWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_half_of_them_is_by_chance() {
        let timing = Timing::default();
        let millis = |failures, draw| timing.pause_after(failures, draw).as_millis();
        for (failures, least, most) in [
            (1, 500, 1000),
            (2, 1000, 2000),
            (5, 8000, 16_000),
            (6, 15_000, 30_000),
            (u32::MAX, 15_000, 30_000),
        ] {
            assert_eq!(millis(failures, 0), least);
            assert_eq!(millis(failures, DRAWS), most);
            assert_eq!(millis(failures, DRAWS / 2), (least + most) / 2);
        }
        assert_eq!(timing.pause_without_hope(0), Duration::from_secs(150));
    }
}
