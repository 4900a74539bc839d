//! The objects of all files, merged: what should be in force.

use crate::last_good::{LastGood, Remembered};
use crate::{Change, Content};
use model::{Defaults, Diagnostic, Outcome, Position, Resource, ResourceRef, Resources, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// Adds to an error that the object it is about has an older version, which is in force.
pub(crate) fn say_that_the_older_stays(error: &mut Diagnostic) {
    const STAYS: &str = "its last good version stays in force";
    error.help = Some(match error.help.take() {
        Some(help) => format!("{help}; until then {STAYS}"),
        None => STAYS.to_owned(),
    });
}

/// What every file holds, and the objects of all of them.
///
/// An object that cannot be read keeps the version read before; so do all objects of a file that
/// cannot be read, or in which something stands that tells no name (promise 5).
#[derive(Debug)]
pub struct Store {
    defaults: Defaults,
    files: BTreeMap<Arc<str>, File>,
    /// Those of them with diagnostics: with each change they are asked for what is wrong, and most are fine.
    troubled: BTreeSet<Arc<str>>,
    /// Which files hold an object, in the order of their names.
    holders: BTreeMap<ResourceRef, BTreeSet<Arc<str>>>,
    contested: BTreeSet<ResourceRef>,
    merged: Resources,
}

/// What was found in one file.
#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ResourceRef, Held>,
    diagnostics: Vec<Diagnostic>,
}

/// An object of a file.
#[derive(Clone, Debug)]
struct Held {
    resource: Resource,
    document: Arc<str>,
    fingerprint: u64,
    origin: Origin,
}

/// Where a version of an object is from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    /// It stands in the file.
    File,
    /// It stood there. The file now holds something else, which is refused.
    Former,
    /// The same, and it was read by a process before this one.
    Disk,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// Its text is another.
    Changed,
    /// Its text is the same, its place in the file is not.
    Moved,
    /// It is not there any more.
    Removed,
}

impl Store {
    /// Nothing yet.
    pub fn new(defaults: Defaults) -> Self {
        Self {
            defaults,
            files: BTreeMap::new(),
            troubled: BTreeSet::new(),
            holders: BTreeMap::new(),
            contested: BTreeSet::new(),
            merged: Resources::default(),
        }
    }

    /// Takes in what sources told. Returns the objects whose version in force should be another now.
    pub fn apply(&mut self, changes: Vec<Change>) -> BTreeMap<ResourceRef, ChangeKind> {
        self.apply_remembering(changes, None)
    }

    /// As [`Self::apply`]; where no version was read before, one remembered on disk takes its place.
    pub(crate) fn apply_remembering(
        &mut self,
        changes: Vec<Change>,
        last_good: Option<&LastGood>,
    ) -> BTreeMap<ResourceRef, ChangeKind> {
        let mut before = BTreeMap::new();
        for change in changes {
            self.replace(change, last_good, &mut before);
        }
        before
            .into_iter()
            .filter_map(|(reference, fingerprint)| {
                let kind = self.merge(&reference, fingerprint)?;
                Some((reference, kind))
            })
            .collect()
    }

    /// The objects that should be in force.
    pub fn resources(&self) -> &Resources {
        &self.merged
    }

    /// What is wrong in the files, those refused included.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let troubled = self.troubled.iter().filter_map(|name| self.files.get(name));
        let of_files = troubled.flat_map(|file| file.diagnostics.iter().cloned());
        let duplicates = self
            .contested
            .iter()
            .flat_map(|reference| self.duplicates(reference));
        of_files.chain(duplicates).collect()
    }

    /// The file and the text of an object that is to be remembered; none for one that is from there.
    pub(crate) fn document(&self, reference: &ResourceRef) -> Option<(Arc<str>, Arc<str>)> {
        let file = self.winning_file(reference)?;
        let held = self.held(file, reference)?;
        (held.origin != Origin::Disk).then(|| (Arc::clone(file), Arc::clone(&held.document)))
    }

    /// All objects known, in force or not.
    pub(crate) fn references(&self) -> impl Iterator<Item = &ResourceRef> {
        self.holders.keys()
    }

    /// Whether any file names this object.
    pub(crate) fn holds(&self, reference: &ResourceRef) -> bool {
        self.holders.contains_key(reference)
    }

    /// Replaces one file. Notes in `before` which text of each of its objects counted until now.
    fn replace(
        &mut self,
        change: Change,
        last_good: Option<&LastGood>,
        before: &mut BTreeMap<ResourceRef, Option<u64>>,
    ) {
        let Change {
            file: name,
            content,
        } = change;
        let former = self.files.get(&name);
        let next = match content {
            Content::Gone => File::default(),
            Content::Unreadable(reason) => {
                let is_folder = self.holds_files_below(&name);
                let remembered = last_good.filter(|_| !is_folder);
                let mut file = File::unreadable(&name, reason, former, remembered);
                if !file.objects.is_empty() || is_folder {
                    file.say_that_all_stays();
                }
                file
            }
            Content::Text(text) => File::parse(&name, &text, &self.defaults, former, last_good),
        };
        for reference in former
            .iter()
            .flat_map(|file| file.objects.keys())
            .chain(next.objects.keys())
        {
            if !before.contains_key(reference) {
                let fingerprint = self.winner(reference).map(|held| held.fingerprint);
                before.insert(reference.clone(), fingerprint);
            }
        }
        self.index(&name, &next);
        match next.diagnostics.is_empty() {
            true => self.troubled.remove(&name),
            false => self.troubled.insert(name.clone()),
        };
        if next.objects.is_empty() && next.diagnostics.is_empty() {
            self.files.remove(&name);
        } else {
            self.files.insert(name, next);
        }
    }

    /// Whether files of a folder are known. What is in them is nobody's to say while it cannot be listed.
    fn holds_files_below(&self, folder: &str) -> bool {
        let is_below =
            |file: &Arc<str>| **file != *folder && Path::new(&**file).starts_with(folder);
        self.files.keys().any(is_below)
    }

    fn index(&mut self, name: &Arc<str>, next: &File) {
        for reference in self
            .files
            .get(name)
            .iter()
            .flat_map(|file| file.objects.keys())
        {
            if let Some(holders) = self.holders.get_mut(reference) {
                holders.remove(name);
            }
        }
        for reference in next.objects.keys() {
            self.holders
                .entry(reference.clone())
                .or_default()
                .insert(Arc::clone(name));
        }
    }

    /// Puts the version of an object that counts now among the merged ones. Absent: it is the same.
    fn merge(&mut self, reference: &ResourceRef, before: Option<u64>) -> Option<ChangeKind> {
        if self.holders.get(reference).is_some_and(BTreeSet::is_empty) {
            self.holders.remove(reference);
        }
        if self
            .holders
            .get(reference)
            .is_some_and(|holders| holders.len() > 1)
        {
            self.contested.insert(reference.clone());
        } else {
            self.contested.remove(reference);
        }
        let Some(held) = self.winner(reference) else {
            return self.merged.remove(reference).map(|_| ChangeKind::Removed);
        };
        // The compiler knows what did not change by its identity: an equal object stays the same one.
        if self.merged.find(reference).as_ref() == Some(&held.resource) {
            return None;
        }
        let (resource, is_same_text) = (held.resource.clone(), before == Some(held.fingerprint));
        Some(match self.merged.insert(resource) {
            None => ChangeKind::Added,
            Some(_) if is_same_text => ChangeKind::Moved,
            Some(_) => ChangeKind::Changed,
        })
    }

    fn held(&self, file: &str, reference: &ResourceRef) -> Option<&Held> {
        self.files.get(file)?.objects.get(reference)
    }

    /// The file whose version counts: the first by name, but none that is stale while another is not.
    fn winning_file(&self, reference: &ResourceRef) -> Option<&Arc<str>> {
        let holders = self.holders.get(reference)?;
        let is_fresh = |file: &&Arc<str>| {
            self.held(file, reference)
                .is_some_and(|held| !held.is_stale())
        };
        holders.iter().find(is_fresh).or_else(|| holders.first())
    }

    fn winner(&self, reference: &ResourceRef) -> Option<&Held> {
        self.held(self.winning_file(reference)?, reference)
    }

    /// One error for each file that defines what an earlier one defines.
    fn duplicates<'s>(
        &'s self,
        reference: &'s ResourceRef,
    ) -> impl Iterator<Item = Diagnostic> + 's {
        let winner = self.winning_file(reference);
        let place = self
            .winner(reference)
            .and_then(|held| held.resource.meta().position.clone());
        let files = self.holders.get(reference).into_iter().flatten();
        let losers = files.filter(move |file| Some(*file) != winner);
        losers.filter_map(move |file| {
            let held = self.held(file, reference).filter(|held| !held.is_stale())?;
            let first = place
                .as_ref()
                .map_or_else(|| "another file".to_owned(), Position::to_string);
            Some(duplicate(&held.resource, &first))
        })
    }
}

impl File {
    fn parse(
        name: &Arc<str>,
        text: &str,
        defaults: &Defaults,
        former: Option<&Self>,
        last_good: Option<&LastGood>,
    ) -> Self {
        let parsed = model::parse(name, text, defaults);
        let may_be_another = parsed.unidentified || is_cut_off(text, &parsed.diagnostics);
        let mut file = Self {
            objects: BTreeMap::new(),
            diagnostics: parsed.diagnostics,
        };
        let mut refused = Vec::new();
        for object in parsed.objects {
            match object.outcome {
                Outcome::Accepted(resource) => {
                    file.diagnostics.extend(object.diagnostics);
                    file.add(resource, object.text.into());
                }
                Outcome::Refused => refused.push((object.reference, object.diagnostics)),
            }
        }
        if may_be_another {
            file.keep_all(name, former, last_good);
        }
        for (reference, diagnostics) in refused {
            file.refuse(reference, diagnostics, former, last_good);
        }
        file
    }

    fn unreadable(
        name: &str,
        reason: String,
        former: Option<&Self>,
        last_good: Option<&LastGood>,
    ) -> Self {
        let mut file = Self {
            objects: BTreeMap::new(),
            diagnostics: vec![unreadable(name, reason)],
        };
        file.keep_all(name, former, last_good);
        file
    }

    fn say_that_all_stays(&mut self) {
        for diagnostic in &mut self.diagnostics {
            diagnostic.help = Some("the objects read from it before stay in force".to_owned());
        }
    }

    fn add(&mut self, resource: Resource, document: Arc<str>) {
        let reference = resource.meta().reference.clone();
        if let Some(first) = self.objects.get(&reference) {
            let place = first.resource.meta().position.as_ref();
            let place = place.map_or_else(|| "this file".to_owned(), Position::to_string);
            return self.diagnostics.push(duplicate(&resource, &place));
        }
        self.objects
            .insert(reference, Held::new(resource, document));
    }

    /// Something in the file cannot be told by name, so whatever is missing now may be it.
    fn keep_all(&mut self, name: &str, former: Option<&Self>, last_good: Option<&LastGood>) {
        let Some(former) = former else {
            let remembered = last_good
                .map(|last_good| last_good.of_file(name))
                .unwrap_or_default();
            return remembered
                .into_iter()
                .for_each(|remembered| self.keep(Held::from(remembered)));
        };
        former
            .objects
            .values()
            .for_each(|held| self.keep(held.clone()));
    }

    /// An object that is told by name and refused keeps the version before.
    fn refuse(
        &mut self,
        reference: ResourceRef,
        mut diagnostics: Vec<Diagnostic>,
        former: Option<&Self>,
        last_good: Option<&LastGood>,
    ) {
        let read_before = former
            .and_then(|former| former.objects.get(&reference))
            .cloned();
        let remembered = || Some(Held::from(last_good?.find(&reference)?));
        if let Some(held) = read_before.or_else(remembered) {
            self.keep(held);
        }
        if self.objects.contains_key(&reference) {
            let errors = diagnostics
                .iter_mut()
                .filter(|one| one.severity == Severity::Error);
            errors.for_each(say_that_the_older_stays);
        }
        self.diagnostics.extend(diagnostics);
    }

    fn keep(&mut self, held: Held) {
        let reference = held.resource.meta().reference.clone();
        let origin = match held.origin {
            Origin::File => Origin::Former,
            former => former,
        };
        self.objects
            .entry(reference)
            .or_insert(Held { origin, ..held });
    }
}

impl Held {
    fn new(resource: Resource, document: Arc<str>) -> Self {
        let mut hasher = DefaultHasher::new();
        document.hash(&mut hasher);
        Self {
            resource,
            document,
            fingerprint: hasher.finish(),
            origin: Origin::File,
        }
    }

    fn is_stale(&self) -> bool {
        self.origin != Origin::File
    }
}

impl From<Remembered> for Held {
    fn from(remembered: Remembered) -> Self {
        Self {
            origin: Origin::Disk,
            ..Self::new(remembered.resource, remembered.document)
        }
    }
}

/// Whether the file ends within the word that says what its last object is: somebody is writing it.
fn is_cut_off(text: &str, diagnostics: &[Diagnostic]) -> bool {
    let last = u32::try_from(text.lines().count()).unwrap_or(u32::MAX);
    let is_of_last_line = |position: &Position| position.line == last;
    let mut skipped = diagnostics.iter().filter(|one| one.code == "skipped_kind");
    !text.ends_with('\n') && skipped.any(|one| one.position.as_ref().is_some_and(is_of_last_line))
}

fn unreadable(file: &str, reason: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: "unreadable_file",
        resource: None,
        path: String::new(),
        message: reason,
        help: None,
        position: Some(Position {
            file: file.into(),
            line: 1,
            column: 1,
        }),
    }
}

fn duplicate(loser: &Resource, winner: &str) -> Diagnostic {
    let meta = loser.meta();
    Diagnostic {
        severity: Severity::Error,
        code: "duplicate_object",
        resource: Some(meta.reference.clone()),
        path: String::new(),
        message: format!("is defined already at {winner}, which stays in force"),
        help: Some("remove or rename one of the two".to_owned()),
        position: meta.position.clone(),
    }
}
