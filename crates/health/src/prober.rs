//! Asks a set of targets that may change at any time.

use crate::scheduler::Scheduler;
use crate::{Check, Connect, Counts, Health, TargetKey};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Who is asked what.
pub type Targets = HashMap<TargetKey, Arc<Check>>;

/// Asks targets until it is dropped.
#[derive(Debug)]
pub struct Prober {
    targets: watch::Sender<Arc<Targets>>,
    task: JoinHandle<()>,
}

impl Prober {
    /// Asks nobody yet. One task keeps the schedule of all targets, and has at most
    /// [`CONCURRENT_PROBES`](crate::CONCURRENT_PROBES) probes in flight.
    ///
    /// `report` is called on that task, once for each flip, in order; it must not block.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    pub fn start(
        connector: Arc<dyn Connect>,
        counts: Arc<dyn Counts>,
        report: impl Fn(&TargetKey, &Health) + Send + Sync + 'static,
    ) -> Self {
        let (targets, follow) = watch::channel(Arc::default());
        let scheduler = Scheduler::new(connector, counts, Box::new(report));
        Self {
            targets,
            task: tokio::spawn(scheduler.run(follow)),
        }
    }

    /// Asks exactly these from now on.
    ///
    /// New ones are asked at once, but for their jitter. Gone ones are reported [`Health::Unchecked`] if anything was
    /// ever told of them. Those whose check is the same keep state and schedule; where it changed, they begin anew.
    pub fn follow(&self, targets: Targets) {
        self.targets.send_replace(Arc::new(targets));
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
