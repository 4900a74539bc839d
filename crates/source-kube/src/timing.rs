//! How long things may take, and how long is waited before they are tried again.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// How long things may take, and how long is waited before they are tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The first pause after a failure. It doubles with each in a row.
    pub(crate) first_pause: Duration,
    /// No pause is longer, but for a part that is chance and at most as long again. What is changed while an API server comes
    /// back is served that much later, so it is shorter than the half minute of other clients.
    pub(crate) longest_pause: Duration,
    /// How long a kind's objects are waited for at the start before it counts as unreadable.
    pub(crate) patience: Duration,
    /// How long a watch lasts before it is begun anew. Connections that broke are noticed sooner (`connect`).
    pub(crate) watch: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(8),
            patience: Duration::from_secs(10),
            watch: Duration::from_secs(290),
        }
    }
}

impl Timing {
    /// The pauses after failures in a row, without end. Part of each is chance, so that proxies do not come all at once.
    pub(crate) fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::default()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
            .build()
    }
}
