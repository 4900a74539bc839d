//! What is known of one name, and how long.

use crate::Settings;
use crate::addresses::settled;
use crate::lookup::{Failure, Found};
use crate::unresolved::Unresolved;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long after a failure a name is not looked up again, so that many requests do not become many questions to a
/// server that is not well.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) type Addresses = Arc<[IpAddr]>;
pub(super) type Answer = Result<Addresses, Unresolved>;

/// What is known of one name.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What the last look-up came to.
    answer: Answer,
    /// When nobody answered that: what was known before.
    kept: Option<Addresses>,
    /// How long addresses are used while nobody knows better.
    usable_until: Instant,
    /// When the name is to be looked up again.
    due: Instant,
}

/// What a request is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) answer: Answer,
    /// Whether these are addresses after their time.
    pub(super) is_stale: bool,
}

impl Told {
    pub(super) fn fresh(answer: Answer) -> Self {
        Self {
            answer,
            is_stale: false,
        }
    }

    pub(super) fn stale(addresses: Addresses) -> Self {
        Self {
            answer: Ok(addresses),
            is_stale: true,
        }
    }

    /// Addresses after their time if there are any, else why there are none.
    pub(super) fn failed(usable: Option<Addresses>, why: Unresolved) -> Self {
        usable.map_or_else(|| Self::fresh(Err(why)), Self::stale)
    }
}

impl Known {
    /// What is known after a look-up. A server's word that there is nothing counts, nobody's word changes nothing.
    pub(super) fn after(
        outcome: Result<Found, Failure>,
        before: Option<&Self>,
        now: Instant,
        settings: &Settings,
    ) -> Self {
        match outcome {
            Ok(found) => Self::found(&found, before, now, settings),
            Err(Failure::NoSuchName { ttl }) => {
                let due = now + settings.nothing_counts_for(ttl);
                Self::nothing(Unresolved::NoSuchName, due)
            }
            Err(Failure::NoAddress { ttl }) => {
                let due = now + settings.nothing_counts_for(ttl);
                Self::nothing(Unresolved::NoAddress, due)
            }
            Err(failure) => Self::failed(failure.into(), before, now),
        }
    }

    fn found(found: &Found, before: Option<&Self>, now: Instant, settings: &Settings) -> Self {
        // Those of a kind that nobody knows stay, but not longer than others.
        let before = before.filter(|before| found.unknown.is_none() || now < before.usable_until);
        let before = before.and_then(Self::addresses);
        let addresses = settled(before.map_or(&[], |known| known), found).addresses;
        let same = before.filter(|known| ***known == *addresses);
        let due = now + settings.counts_for(found.ttl);
        Self {
            answer: Ok(same.map_or_else(|| addresses.into(), Arc::clone)),
            kept: None,
            usable_until: due + settings.stale_max,
            due,
        }
    }

    fn nothing(why: Unresolved, due: Instant) -> Self {
        Self {
            answer: Err(why),
            kept: None,
            usable_until: due,
            due,
        }
    }

    /// What is known after a look-up that nobody answered.
    pub(super) fn failed(why: Unresolved, before: Option<&Self>, now: Instant) -> Self {
        let nothing = Self::nothing(why, now + RETRY_AFTER);
        match before {
            Some(before) => Self {
                kept: before.addresses().cloned(),
                usable_until: before.usable_until,
                ..nothing
            },
            None => nothing,
        }
    }

    /// What a request is told that does not wait for another look-up.
    pub(super) fn told(&self, now: Instant) -> Told {
        match &self.answer {
            Ok(addresses) => Told::fresh(Ok(Arc::clone(addresses))),
            Err(why) => Told::failed(self.usable(now), why.clone()),
        }
    }

    /// Whether it is time for another look-up.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Whether nobody answered the last look-up.
    pub(super) fn is_failed(&self) -> bool {
        self.answer.as_ref().is_err_and(Unresolved::is_temporary)
    }

    /// Addresses, also after their time.
    pub(super) fn usable(&self, now: Instant) -> Option<Addresses> {
        let addresses = self.addresses().filter(|_| now < self.usable_until);
        addresses.cloned()
    }

    /// From when on nothing is told of this any more.
    pub(super) fn useless_from(&self) -> Instant {
        self.addresses()
            .map_or(self.due, |_| self.due.max(self.usable_until))
    }

    fn addresses(&self) -> Option<&Addresses> {
        self.answer.as_ref().ok().or(self.kept.as_ref())
    }
}
