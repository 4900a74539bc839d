//! Names that endpoints are found by, and what a resolver told of them.

#[cfg(test)]
mod tests;

use crate::ChangeKind;
use model::{Hostname, ResourceRef};
use rules::{NameAnswer, NameAnswers};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a publication waits for the first answers about names.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a name stands for now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ResolvedName {
    /// As it was asked for.
    pub name: Hostname,
    /// What is known of it.
    pub answer: NameAnswer,
}

/// The names that are asked for, and what was told of them.
#[derive(Debug, Default)]
pub(crate) struct NameKeeper {
    wanted: BTreeSet<Hostname>,
    answers: Arc<NameAnswers>,
    /// Whether something was told that the endpoints do not know yet.
    stale: bool,
    /// Until when names are waited for of which nothing was told.
    awaited_until: Option<SystemTime>,
    /// Names that stand for something else than before.
    changed: BTreeMap<Hostname, ChangeKind>,
}

impl NameKeeper {
    /// Takes in what a resolver told.
    pub(crate) fn apply(&mut self, names: Vec<ResolvedName>) {
        for ResolvedName { name, answer } in names {
            // Of what is not wanted any more a last word may still be on its way.
            let known = self.answers.get(&name);
            if !self.wanted.contains(&name) || known == Some(&answer) {
                continue;
            }
            let (kind, before): (_, &[_]) = match known {
                Some(known) => (ChangeKind::Changed, &known.addresses),
                None => (ChangeKind::Added, &[]),
            };
            if *before != *answer.addresses {
                // What is new and changes before anybody saw it is new.
                self.changed.entry(name.clone()).or_insert(kind);
            }
            Arc::make_mut(&mut self.answers).insert(name, answer);
            self.stale = true;
        }
    }

    /// Asks for exactly these.
    pub(crate) fn want(&mut self, wanted: &BTreeSet<Hostname>, now: SystemTime) {
        if *wanted == self.wanted {
            return;
        }
        let has_news = !wanted.is_subset(&self.wanted);
        if has_news && self.waits_until(now).is_none() {
            // A wait that has begun does not begin again, or names without an answer could prolong it for ever.
            self.awaited_until = Some(now + PATIENCE);
        }
        self.wanted.clone_from(wanted);
        Arc::make_mut(&mut self.answers).retain(|name, _| wanted.contains(name));
        self.changed.retain(|name, _| wanted.contains(name));
    }

    pub(crate) fn wanted(&self) -> &BTreeSet<Hostname> {
        &self.wanted
    }

    /// Until when answers are to be waited for. Absent: not any more.
    pub(crate) fn waits_until(&self, now: SystemTime) -> Option<SystemTime> {
        let are_told = self.answers.len() == self.wanted.len();
        self.awaited_until.filter(|until| now < *until && !are_told)
    }

    pub(crate) fn answers(&self) -> &Arc<NameAnswers> {
        &self.answers
    }

    /// Whether anything was told since the last time.
    pub(crate) fn take_stale(&mut self) -> bool {
        std::mem::take(&mut self.stale)
    }

    /// The names whose addresses changed since the last time, as a receipt has it: `name api.example.com`.
    pub(crate) fn take_changes(&mut self) -> Vec<(ResourceRef, ChangeKind)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let named = |name: Hostname| ResourceRef {
            kind: "name".into(),
            namespace: "".into(),
            name: name.shared(),
        };
        changed.map(|(name, kind)| (named(name), kind)).collect()
    }
}
