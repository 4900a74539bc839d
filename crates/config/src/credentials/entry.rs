//! One reference: what was good, and what is wrong with what lies there now.

use super::find::Finder;
use super::material::{Bytes, Material};
use super::parse::Parsed;
use super::problem::{Meanwhile, Problem};
use super::{CredentialState, CredentialStatus};
use crate::ChangeKind;
use certificates::{Authorities, Credential};
use model::Origin;
use rules::CredentialRef;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a good certificate is left alone when its files do not fit: two that are replaced are replaced one
/// after the other.
const GRACE: Duration = Duration::from_secs(1);

/// A reference, and what is known of it.
pub(super) struct Entry {
    /// The servers and clusters that need it.
    pub(super) origins: Vec<Arc<Origin>>,
    pub(super) good: Option<Good>,
    /// What is wrong with what lies there now.
    trouble: Option<Trouble>,
    /// How many are read, when this is one too many.
    pub(super) surplus: Option<usize>,
}

/// What was good.
pub(super) struct Good {
    fingerprint: u64,
    source: String,
    /// Where its revocations were read.
    list: Option<String>,
    pub(super) value: Value,
    /// What is wrong with it all the same.
    blemish: Option<Problem>,
}

#[derive(Clone)]
pub(super) enum Value {
    Certificate(Arc<Credential>),
    Authorities(Arc<Authorities>),
}

pub(super) struct Trouble {
    pub(super) problem: Problem,
    /// Not told before: it may pass.
    told_from: SystemTime,
    /// Whether what lies there is what is served, for want of a better one.
    is_served: bool,
}

impl Entry {
    pub(super) fn new() -> Self {
        Self {
            origins: Vec::new(),
            good: None,
            trouble: None,
            surplus: None,
        }
    }

    /// Looks at what lies there. Returns what became of what is served.
    pub(super) fn look(
        &mut self,
        reference: &CredentialRef,
        finder: &Finder<'_>,
        now: SystemTime,
    ) -> Option<ChangeKind> {
        let found = match self.surplus {
            Some(most) => Err(Problem::TooMany(most)),
            None => finder.find(reference),
        };
        match found.and_then(|material| self.judge(reference, &material, now)) {
            // Nothing is known that was not known before.
            Err(Problem::NotTold) => None,
            Err(problem) => {
                let may_pass = problem.may_pass() && !finder.is_whole(reference);
                self.note(problem, may_pass, now);
                None
            }
            Ok(better) => {
                let kind = better.map(|better| self.replace(better));
                self.note_served(finder.stalled(reference), now);
                kind
            }
        }
    }

    /// What is better than what is served. Absent: it is what is served.
    fn judge(
        &mut self,
        reference: &CredentialRef,
        material: &Material<'_>,
        now: SystemTime,
    ) -> Result<Option<Good>, Problem> {
        let mut hasher = DefaultHasher::new();
        material.bytes.hash(&mut hasher);
        let fingerprint = hasher.finish();
        if let Some(same) = self
            .good
            .as_mut()
            .filter(|good| good.fingerprint == fingerprint)
        {
            // Perhaps from elsewhere.
            same.source.clone_from(&material.source);
            same.list.clone_from(&material.list);
            return Ok(None);
        }
        let Parsed { value, blemish } = Parsed::of(reference, material)?;
        let good = Good {
            fingerprint,
            source: material.source.clone(),
            list: material.list.clone(),
            value,
            blemish,
        };
        if let Some(served) = &self.good {
            served.check_better(&good, material, now)?;
        }
        Ok(Some(good))
    }

    fn replace(&mut self, better: Good) -> ChangeKind {
        match self.good.replace(better) {
            None => ChangeKind::Added,
            Some(_) => ChangeKind::Changed,
        }
    }

    fn note(&mut self, problem: Problem, may_pass: bool, now: SystemTime) {
        let told_from = match may_pass && self.good.is_some() {
            true => now + GRACE,
            false => now,
        };
        let former = self.trouble.as_ref().filter(|former| !former.is_served);
        self.trouble = Some(Trouble {
            problem,
            told_from: former.map_or(told_from, |former| former.told_from.min(told_from)),
            is_served: false,
        });
    }

    /// What is to be told of what is served: that its time is over, else that nothing follows it, else its blemish.
    fn note_served(&mut self, stalled: Option<Problem>, now: SystemTime) {
        let good = self.good.as_ref();
        let out_of_time = good.and_then(|good| good.out_of_time(now));
        let blemish = good.and_then(|good| good.blemish.clone());
        let is_stalled = out_of_time.is_none() && stalled.is_some();
        let problem = out_of_time.or(stalled).or(blemish);
        self.trouble = problem.map(|problem| Trouble {
            problem,
            told_from: now,
            is_served: !is_stalled,
        });
    }

    /// What is wrong and will not pass by itself.
    pub(super) fn told(&self, now: SystemTime) -> Option<&Trouble> {
        self.trouble
            .as_ref()
            .filter(|trouble| trouble.told_from <= now)
    }

    pub(super) fn meanwhile(&self, trouble: &Trouble) -> Meanwhile {
        match (&self.good, trouble.is_served) {
            (None, _) => Meanwhile::Nothing,
            (Some(_), true) => Meanwhile::Itself,
            (Some(_), false) => Meanwhile::LastGood,
        }
    }

    /// When this looks different although nothing changed.
    pub(super) fn due(&self, now: SystemTime) -> Option<SystemTime> {
        let told_from = self.trouble.as_ref().map(|trouble| trouble.told_from);
        let times = self.good.as_ref().map(Good::times);
        let all = told_from
            .into_iter()
            .chain(times.into_iter().flatten().flatten());
        all.filter(|time| *time > now).min()
    }

    pub(super) fn status(&self, reference: &CredentialRef, now: SystemTime) -> CredentialStatus {
        let told = self.told(now);
        let good = self.good.as_ref();
        let state = match (good, told) {
            (None, _) => CredentialState::Missing,
            (Some(good), _) if good.out_of_time(now).is_some() => CredentialState::OutOfTime,
            (Some(_), Some(trouble)) if !trouble.is_served => CredentialState::LastGood,
            (Some(_), _) => CredentialState::Served,
        };
        let (names, not_before, not_after) = match good.map(|good| &good.value) {
            Some(Value::Certificate(one)) => {
                let identity = one.identity.iter().map(ToString::to_string);
                let names = one.names.iter().cloned().chain(identity).collect();
                (names, Some(one.not_before), Some(one.not_after))
            }
            Some(Value::Authorities(all)) => (all.names.clone(), None, Some(all.not_after)),
            None => (Vec::new(), None, None),
        };
        let next_update = match good.map(|good| &good.value) {
            Some(Value::Authorities(all)) => all.next_update,
            _ => None,
        };
        CredentialStatus {
            reference: reference.clone(),
            source: good.map(|good| good.source.clone()),
            names,
            not_before,
            not_after,
            next_update,
            state,
            problem: told.map(|trouble| trouble.problem.message(reference)),
        }
    }
}

impl Good {
    /// When it becomes valid, and when it no longer is. The last second is within the time. Authorities are
    /// trusted at any time, their revocations want to be renewed.
    fn times(&self) -> [Option<SystemTime>; 2] {
        let after = |time| time + Duration::from_secs(1);
        match &self.value {
            Value::Certificate(one) => [Some(one.not_before), Some(after(one.not_after))],
            Value::Authorities(all) => [None, all.next_update.map(after)],
        }
    }

    fn out_of_time(&self, now: SystemTime) -> Option<Problem> {
        match &self.value {
            Value::Certificate(credential) => {
                credential
                    .check_time(now)
                    .err()
                    .map(|error| Problem::OutOfTime {
                        source: self.source.clone(),
                        reason: error.to_string(),
                    })
            }
            Value::Authorities(all) => all.check_lists(now).err().map(|error| Problem::Lapsed {
                list: self.list_or_source(),
                reason: error.to_string(),
            }),
        }
    }

    fn list_or_source(&self) -> String {
        self.list.as_ref().unwrap_or(&self.source).clone()
    }

    /// Whether `other` may be served in the place of this one. A list of revocations that is out of date may, it
    /// is honoured all the same; none may not, since a file that somebody lost would lift the revocations. They
    /// are lifted by who tells everything at once.
    fn check_better(
        &self,
        other: &Self,
        material: &Material<'_>,
        now: SystemTime,
    ) -> Result<(), Problem> {
        let may_lift = matches!(material.bytes, Bytes::Bundles { .. });
        if self.has_revocations() && !other.has_revocations() && !may_lift {
            return Err(Problem::RevocationsGone {
                list: self.list_or_source(),
            });
        }
        match other.out_of_time(now) {
            Some(problem @ Problem::OutOfTime { .. }) if self.out_of_time(now).is_none() => {
                Err(problem)
            }
            _ => Ok(()),
        }
    }

    fn has_revocations(&self) -> bool {
        matches!(&self.value, Value::Authorities(all) if !all.revocations.is_empty())
    }
}
