//! One look-up, and who waits for it.

use super::Demand;
use super::known::{Addresses, Known, Told};
use crate::family::{Patience, RESOLUTION_DELAY, resolve};
use crate::lookup::Lookup;
use crate::unresolved::Unresolved;
use model::Hostname;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{SemaphorePermit, watch};
use tokio::time::Instant;

/// How long a look-up may take before those who wait are told addresses after their time, if there are any. Servers
/// that are well answer sooner; that one is not shall hardly be felt.
const STALE_AFTER: Duration = Duration::from_millis(300);

/// A look-up that goes on, whoever waits for it or does not any more.
pub(super) struct Flight<L: Lookup> {
    demand: Arc<Demand<L>>,
    name: Hostname,
    began: Instant,
    before: Option<Known>,
    told: watch::Sender<Option<Told>>,
}

/// A place in the queue of those who wait for a look-up.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    began: Instant,
    told: watch::Receiver<Option<Told>>,
}

impl<L: Lookup> Flight<L> {
    pub(super) fn new(
        demand: Arc<Demand<L>>,
        name: Hostname,
        before: Option<Known>,
        began: Instant,
    ) -> (Self, Waiting) {
        let (told, receiver) = watch::channel(None);
        let flight = Self {
            demand,
            name,
            began,
            before,
            told,
        };
        let waiting = Waiting {
            began,
            told: receiver,
        };
        (flight, waiting)
    }

    pub(super) async fn run(self) {
        let known = match self.turn().await {
            Some(_permit) => self.look_up().await,
            None => Known::failed(Unresolved::Busy, self.before.as_ref(), Instant::now()),
        };
        let told = self.demand.land(&self.name, known);
        self.told.send_replace(Some(told));
    }

    /// Absent: there was none in time.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.demand.turns.acquire();
        let permit = tokio::time::timeout(self.demand.settings.timeout, permit).await;
        permit.ok()?.ok()
    }

    async fn look_up(&self) -> Known {
        let Demand {
            lookup, settings, ..
        } = &*self.demand;
        // Waiting for its turn counts: no request waits longer than the settings say.
        let patience = Patience {
            whole: settings.timeout.saturating_sub(self.began.elapsed()),
            later: RESOLUTION_DELAY,
        };
        let outcome = resolve(lookup, &self.name, settings.family, patience).await;
        Known::after(outcome, self.before.as_ref(), Instant::now(), settings)
    }
}

impl<L: Lookup> Drop for Flight<L> {
    /// When its runtime ended under it, another request has to begin anew.
    fn drop(&mut self) {
        if self.told.borrow().is_none() {
            self.demand.give_up(&self.name);
        }
    }
}

impl Waiting {
    /// Waits for the end of the look-up, but only a moment when there is something usable.
    pub(super) async fn told(mut self, usable: Option<Addresses>) -> Told {
        let until = self.began + STALE_AFTER;
        let told = match &usable {
            Some(_) => tokio::time::timeout_at(until, self.end()).await.ok(),
            None => Some(self.end().await),
        };
        told.flatten().unwrap_or_else(|| {
            let why = "the look-up broke off".to_owned();
            Told::failed(usable, Unresolved::Failed(why))
        })
    }

    /// Absent: it broke off.
    async fn end(&mut self) -> Option<Told> {
        let told = self.told.wait_for(Option::is_some).await;
        told.ok()?.clone()
    }
}
