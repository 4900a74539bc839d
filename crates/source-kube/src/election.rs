//! Who of several replicas acts: whoever holds a Lease. What each of them does next is decided here, without network and
//! clock; [`driver`] does it.
//!
//! No clock of another machine counts. A Lease has run out when it was *seen* unchanged for as long as it lasts, and who
//! holds it acts for less than that from when it *asked* to renew it. Clocks may be set as they like, so long as none runs
//! half as fast again as another. Whoever writes names the version that it has read, so that of two that take a Lease one
//! does.
//!
//! Source: Kubernetes, "Leases"; the rules are those of client-go's leader election.

pub(crate) mod driver;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// How long a Lease may say that it lasts. What is beyond is taken for this.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// How long things last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Terms {
    /// How long a Lease lasts that is not renewed. Others wait as long before they take it.
    pub(crate) lasts: Duration,
    /// How long who holds it acts after it was asked to be renewed. What is begun until then has to end before it can be
    /// taken.
    pub(crate) acts: Duration,
    /// Between two tries to get, or to renew it.
    pub(crate) retry: Duration,
    /// How long a request may take.
    pub(crate) patience: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lasts: Duration::from_secs(15),
            acts: Duration::from_secs(10),
            retry: Duration::from_secs(2),
            patience: Duration::from_secs(3),
        }
    }
}

/// A Lease as it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    /// Who holds it. Absent: it was given back.
    pub(crate) holder: Option<String>,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// How often it was taken from another.
    pub(crate) transitions: i32,
    /// Its `resourceVersion`, another one after each renewal.
    pub(crate) version: String,
}

/// What is to be done, once it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// It is to be made, with oneself for a holder.
    Make,
    /// It is to be taken: this version of it is nobody's any more.
    Take(Record),
    /// It is one's own, and to be renewed.
    Renew(Record),
    /// It is another's.
    Wait,
}

/// What one replica knows of a Lease.
#[derive(Debug)]
pub(crate) struct Election {
    identity: String,
    terms: Terms,
    known: Known,
    acts_until: Option<Instant>,
}

#[derive(Debug)]
enum Known {
    /// What was known may be old.
    Nothing,
    /// There is none.
    Absent,
    /// This one, which was read first at that moment.
    There(Record, Instant),
}

impl Election {
    /// Knows nothing yet. No other replica, nor this one before it was started again, may have the same identity.
    pub(crate) fn new(identity: String, terms: Terms) -> Self {
        Self {
            identity,
            terms,
            known: Known::Nothing,
            acts_until: None,
        }
    }

    /// Until when this replica acts, if the Lease is its own.
    pub(crate) fn acts_until(&self) -> Option<Instant> {
        self.acts_until
    }

    /// Whether this replica acts.
    pub(crate) fn acts(&self, now: Instant) -> bool {
        self.acts_until.is_some_and(|until| now < until)
    }

    /// What is known to be one's own, and is renewed without another look. Absent: it is to be read first.
    pub(crate) fn own(&self) -> Option<Record> {
        match &self.known {
            Known::There(record, _) if self.is_own(record) => Some(record.clone()),
            _ => None,
        }
    }

    fn is_own(&self, record: &Record) -> bool {
        record.holder.as_ref() == Some(&self.identity)
    }

    /// What is to be done after it was read.
    pub(crate) fn step(&self, now: Instant) -> Step {
        match &self.known {
            Known::Nothing => Step::Wait,
            Known::Absent => Step::Make,
            Known::There(record, _) if self.is_own(record) => Step::Renew(record.clone()),
            Known::There(record, since) => match record.holder {
                Some(_) if now < *since + self.lasting(record) => Step::Wait,
                _ => Step::Take(record.clone()),
            },
        }
    }

    /// How long it is to be seen unchanged: not shorter than those of this version make theirs, whatever it says.
    fn lasting(&self, record: &Record) -> Duration {
        record.lasts.min(LONGEST).max(self.terms.lasts)
    }

    /// It was read, and the answer came now.
    pub(crate) fn saw(&mut self, record: Option<Record>, now: Instant) {
        if !record.as_ref().is_some_and(|record| self.is_own(record)) {
            self.acts_until = None;
        }
        self.known = match (record, &self.known) {
            (None, _) => Known::Absent,
            (Some(record), Known::There(before, since)) if before.version == record.version => {
                Known::There(record, *since)
            }
            (Some(record), _) => Known::There(record, now),
        };
    }

    /// It was written, with oneself for a holder, by a request that was sent then.
    pub(crate) fn wrote(&mut self, record: Record, sent: Instant, now: Instant) {
        self.acts_until = Some(sent + self.terms.acts);
        self.known = Known::There(record, now);
    }

    /// It could not be written, or nobody knows whether it was: it is to be read. Since when another's is unchanged stays
    /// known.
    pub(crate) fn failed(&mut self) {
        if self.own().is_some() {
            self.known = Known::Nothing;
        }
    }

    /// Stops acting. Returns what is to be given back, if it is one's own.
    pub(crate) fn give_up(&mut self) -> Option<Record> {
        self.acts_until = None;
        let own = self.own();
        self.known = Known::Nothing;
        own
    }
}
