//! What is wanted of an API server, and whether it was told.

use rules::Namespaces;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// How long the first publication waits for what is wanted: longer than a source takes to say that it cannot be had, so
/// that what is remembered of it on disk is taken up before, and not forgotten.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// How long any other does.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the configuration needs of the objects of an API server, where not all of them are for everybody.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WantedObjects {
    /// Names of Secrets in the proxy's own namespace: those that are named as certificates.
    pub secrets: BTreeSet<String>,
    /// Namespaces whose services, and rules for them, are needed.
    pub namespaces: Namespaces,
}

/// What is wanted, and whether it was told.
#[derive(Debug, Default)]
pub(crate) struct ObjectKeeper {
    wanted: WantedObjects,
    /// Of this wish. 0: nothing was wanted yet.
    number: u64,
    /// The newest wish that was told.
    told: u64,
    /// Until when that of this one is waited for.
    awaited_until: Option<SystemTime>,
    is_published: bool,
}

impl ObjectKeeper {
    /// Takes in that all of a wish was told, or cannot be.
    pub(crate) fn apply(&mut self, number: u64) {
        self.told = self.told.max(number);
    }

    /// Asks for exactly this.
    pub(crate) fn want(&mut self, wanted: WantedObjects, now: SystemTime) {
        if self.number > 0 && wanted == self.wanted {
            return;
        }
        if self.waits_until(now).is_none() {
            // As with names: a wait that has begun does not begin again.
            let patience = match self.is_published {
                true => PATIENCE,
                false => FIRST_PATIENCE,
            };
            self.awaited_until = Some(now + patience);
        }
        self.wanted = wanted;
        self.number += 1;
    }

    /// What is wanted, and the number of this wish. 0: nothing is known of it yet.
    pub(crate) fn wanted(&self) -> (u64, &WantedObjects) {
        (self.number, &self.wanted)
    }

    /// Until when it is to be waited for. Absent: not any more.
    pub(crate) fn waits_until(&self, now: SystemTime) -> Option<SystemTime> {
        let is_told = self.told >= self.number;
        self.awaited_until.filter(|until| now < *until && !is_told)
    }

    /// Something was published, so that less is at stake.
    pub(crate) fn note_published(&mut self) {
        self.is_published = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(names: &[&str]) -> WantedObjects {
        WantedObjects {
            secrets: names.iter().map(|name| (*name).to_owned()).collect(),
            namespaces: Namespaces::All,
        }
    }

    #[test]
    fn a_wish_is_waited_for_until_it_is_told() {
        let now = SystemTime::UNIX_EPOCH;
        let mut keeper = ObjectKeeper::default();
        assert_eq!(keeper.waits_until(now), None);
        keeper.want(secrets(&[]), now);
        assert_eq!(keeper.wanted().0, 1, "nothing at all is a wish too");
        keeper.want(secrets(&["a"]), now);
        assert_eq!(keeper.wanted(), (2, &secrets(&["a"])));
        keeper.apply(1);
        assert_eq!(keeper.waits_until(now), Some(now + FIRST_PATIENCE));
        keeper.want(secrets(&["a"]), now);
        keeper.apply(2);
        assert_eq!(keeper.waits_until(now), None);
        keeper.note_published();
        keeper.want(secrets(&["b"]), now);
        assert_eq!(keeper.waits_until(now), Some(now + PATIENCE));
        assert_eq!(keeper.waits_until(now + PATIENCE), None);
    }

    #[test]
    fn wishes_in_a_row_do_not_prolong_the_wait() {
        let now = SystemTime::UNIX_EPOCH;
        let mut keeper = ObjectKeeper::default();
        for (second, name) in ["a", "b", "c"].into_iter().enumerate() {
            keeper.want(secrets(&[name]), now + Duration::from_secs(second as u64));
        }
        assert_eq!(keeper.waits_until(now), Some(now + FIRST_PATIENCE));
    }
}
