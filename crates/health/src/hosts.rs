//! What is counted for each host.

use std::collections::HashMap;
use std::sync::Arc;

/// Where probes are counted.
pub trait Counts: Send + Sync + 'static {
    /// A probe of the host ended, by a fixed word: `success`, or a [`Failure::word`](crate::Failure::word).
    fn checked(&self, host: &str, result: &'static str);

    /// So many endpoints of the host are unhealthy.
    fn unhealthy(&self, host: &str, endpoints: usize);

    /// No endpoint of the host is asked any more.
    fn forget(&self, host: &str);
}

/// How many endpoints each host has.
pub(crate) struct Hosts {
    counts: Arc<dyn Counts>,
    tallies: HashMap<Arc<str>, Tally>,
}

#[derive(Default)]
struct Tally {
    targets: usize,
    unhealthy: usize,
}

impl Hosts {
    pub(crate) fn new(counts: Arc<dyn Counts>) -> Self {
        Self {
            counts,
            tallies: HashMap::new(),
        }
    }

    pub(crate) fn count(&self, host: &str, result: &'static str) {
        self.counts.checked(host, result);
    }

    /// A target of the host is asked from now on.
    pub(crate) fn begin(&mut self, host: &Arc<str>) {
        let tally = self.tallies.entry(Arc::clone(host)).or_default();
        tally.targets += 1;
        self.counts.unhealthy(host, tally.unhealthy);
    }

    /// A target of the host is not asked any more.
    pub(crate) fn end(&mut self, host: &str) {
        if let Some(tally) = self.tallies.get_mut(host) {
            tally.targets -= 1;
        }
    }

    pub(crate) fn one_more_is_unhealthy(&mut self, host: &str) {
        self.tally(host, |unhealthy| unhealthy + 1);
    }

    pub(crate) fn one_less_is_unhealthy(&mut self, host: &str) {
        self.tally(host, |unhealthy| unhealthy - 1);
    }

    /// Forgets hosts without targets. Apart from [`end`](Self::end), so that a host whose endpoints were all replaced
    /// goes on counting.
    pub(crate) fn forget_empty(&mut self) {
        let Self { counts, tallies } = self;
        tallies.retain(|host, tally| {
            if tally.targets == 0 {
                counts.forget(host);
            }
            tally.targets > 0
        });
    }

    fn tally(&mut self, host: &str, change: impl FnOnce(usize) -> usize) {
        if let Some(tally) = self.tallies.get_mut(host) {
            tally.unhealthy = change(tally.unhealthy);
            self.counts.unhealthy(host, tally.unhealthy);
        }
    }
}
