//! How long things may take, and how long is waited before they are tried again.

use rand::Rng;
use rand::rngs::SmallRng;
use std::time::Duration;

/// How long things may take, and how long is waited before they are tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The first pause after a failure. It doubles with each in a row.
    pub(crate) first_pause: Duration,
    /// No pause is longer.
    pub(crate) longest_pause: Duration,
    /// How long a kind's objects are waited for at the start before it counts as unreadable.
    pub(crate) patience: Duration,
    /// How long a watch lasts before it is begun anew. A connection that broke in silence is noticed then.
    pub(crate) watch: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            watch: Duration::from_secs(290),
        }
    }
}

impl Timing {
    /// The pause after so many failures in a row: half of it is chance, so that proxies do not come all at once.
    pub(crate) fn pause(&self, failures: u32, dice: &mut SmallRng) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        let whole = doubled.min(self.longest_pause);
        whole.mul_f64(dice.random_range(0.5..=1.0))
    }
}
