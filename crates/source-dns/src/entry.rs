//! One name: what was told of it, and when it is looked up again.

use crate::Settings;
use crate::addresses::{Settled, settled};
use crate::lookup::{Failure, Found};
use config::NameAnswer;
use std::time::Duration;
use tokio::time::Instant;

/// How long after a failure a name is looked up again. Doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The longest pause after failures.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// One name.
#[derive(Debug)]
pub(crate) struct Entry {
    /// With which wish it came, see [`crate::follower::Wanted`].
    pub(crate) since: u64,
    /// When it is looked up next.
    pub(crate) due: Instant,
    /// What was told last.
    pub(crate) told: Option<NameAnswer>,
    failures: u32,
}

impl Entry {
    /// A name of which nothing is known, to be looked up at once.
    pub(crate) fn new(since: u64, now: Instant) -> Self {
        Self {
            since,
            due: now,
            told: None,
            failures: 0,
        }
    }

    /// Takes in what a look-up found, and returns what is to be told. Absent: nothing new.
    pub(crate) fn record(
        &mut self,
        outcome: Result<Found, Failure>,
        now: Instant,
        settings: &Settings,
    ) -> Option<NameAnswer> {
        let pause = match &outcome {
            Ok(found) => settings.counts_for(found.ttl),
            Err(_) => self.next_retry(),
        };
        self.failures = if outcome.is_ok() {
            0
        } else {
            self.failures.saturating_add(1)
        };
        self.due = now + pause;
        let answer = self.answer(outcome);
        if self.told.as_ref() == Some(&answer) {
            return None;
        }
        self.told = Some(answer.clone());
        Some(answer)
    }

    fn next_retry(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        FIRST_RETRY.saturating_mul(factor).min(LONGEST_RETRY)
    }

    fn answer(&self, outcome: Result<Found, Failure>) -> NameAnswer {
        let known = self.told.as_ref();
        let failure = outcome.as_ref().err().map(ToString::to_string);
        let answer = match outcome {
            Ok(found) => settled(known.map_or(&[], |told| &told.addresses), &found).into(),
            // As Envoy's strict DNS: nobody's word changes nothing, a server's word that there is nothing counts.
            Err(failure) if failure.is_temporary() => known.cloned().unwrap_or_default(),
            Err(_) => NameAnswer::default(),
        };
        NameAnswer { failure, ..answer }
    }
}

impl From<Settled> for NameAnswer {
    fn from(settled: Settled) -> Self {
        Self {
            addresses: settled.addresses,
            is_cut: settled.is_cut,
            failure: None,
        }
    }
}
