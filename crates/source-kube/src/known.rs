//! What was told of the objects that are followed together.

use crate::scope::Scope;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was told of the objects that are followed together. Who follows them writes it; who ends that reads it.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    /// The files that were told of, and what their text was. Absent: another followed it.
    files: BTreeMap<Arc<str>, Option<u64>>,
    /// Whether all that there is was told.
    pub(crate) is_listed: bool,
    /// Why they cannot be followed, as it was told.
    pub(crate) told: Option<String>,
}

/// A text that is told from others, and not kept.
pub(crate) fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Known {
    /// Nobody waits while this is held.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a text is another than the file was told with.
    pub(crate) fn is_news(&self, file: &str, fingerprint: u64) -> bool {
        self.files.get(file) != Some(&Some(fingerprint))
    }

    /// Notes a text that is told.
    pub(crate) fn note(&mut self, file: &Arc<str>, fingerprint: u64) {
        self.files.insert(file.clone(), Some(fingerprint));
    }

    /// Forgets a file that is gone.
    pub(crate) fn remove(&mut self, file: &str) {
        self.files.remove(file);
    }

    /// Forgets and returns the files that are not among those that are there.
    pub(crate) fn take_lost(&mut self, there: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        let lost: Vec<_> = self
            .files
            .keys()
            .filter(|file| !there.contains(*file))
            .cloned()
            .collect();
        for file in &lost {
            self.files.remove(file);
        }
        lost
    }

    /// Forgets what the texts were, so that they are told again.
    pub(crate) fn forget_texts(&mut self) {
        for fingerprint in self.files.values_mut() {
            *fingerprint = None;
        }
    }

    /// What is gone once nobody follows these any more, but for `others`, who take over what they cover.
    pub(crate) fn left_to<'o>(
        &mut self,
        scope: &Scope,
        others: impl Iterator<Item = (&'o Scope, &'o Known)> + Clone,
    ) -> Vec<Arc<str>> {
        let folder = scope.folder();
        let mut files = std::mem::take(&mut self.files);
        let mut gone = Vec::new();
        if self.told.is_some() && scope.is_single() {
            files.entry(folder).or_default();
        } else if self.told.is_some() && !others.clone().any(|other| tells(other, &folder)) {
            gone.push(folder);
        }
        for (file, _) in files {
            let mut covering = others.clone().filter(|(scope, _)| scope.covers(&file));
            let is_kept = covering.any(|(_, known)| known.state().keeps(&file));
            if !is_kept {
                gone.push(file);
            }
        }
        gone
    }

    /// Whether a file stays that another told of. Who has not listed what there is cannot say that it is gone.
    fn keeps(&mut self, file: &Arc<str>) -> bool {
        if !self.is_listed {
            self.files.entry(file.clone()).or_default();
        }
        self.files.contains_key(file)
    }
}

/// Whether another tells the same of the same folder.
fn tells((scope, known): (&Scope, &Known), folder: &str) -> bool {
    known.state().told.is_some() && *scope.folder() == *folder
}
