//! One look-up, and who waits for it.

use super::Demand;
use super::known::{Addresses, Known, Told};
use crate::family::resolve;
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
        match self.turn().await {
            Some(turn) => self.look_up(turn).await,
            None => {
                let before = self.before.as_ref();
                self.tell(Known::failed(Unresolved::Busy, before, Instant::now()));
            }
        }
    }

    fn tell(&self, known: Known) {
        let told = self.demand.learn(&self.name, known);
        self.told.send_replace(Some(told));
    }

    /// Absent: there was none in time.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.demand.turns.acquire();
        let permit = tokio::time::timeout(self.demand.settings.timeout, permit).await;
        permit.ok()?.ok()
    }

    async fn look_up(&self, turn: SemaphorePermit<'_>) {
        let Demand {
            lookup, settings, ..
        } = &*self.demand;
        // Waiting for its turn counts: no request waits longer than the settings say.
        let limit = settings.timeout.saturating_sub(self.began.elapsed());
        let known = |outcome, before| Known::after(outcome, before, Instant::now(), settings);
        let mut told = None;
        let early = |found| {
            // Nobody waits for the rest, so no other name shall.
            drop(turn);
            let some = known(Ok(found), self.before.as_ref());
            told = Some(some.clone());
            self.tell(some);
        };
        let outcome = resolve(lookup, &self.name, settings.family, limit, early).await;
        let is_known = outcome.as_ref().is_ok_and(|found| found.unknown.is_none());
        if is_known || told.is_none() {
            self.tell(known(outcome, told.as_ref().or(self.before.as_ref())));
        }
    }
}

impl<L: Lookup> Drop for Flight<L> {
    /// Also when its runtime ended under it: another request has to begin anew.
    fn drop(&mut self) {
        self.demand.end(&self.name);
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
