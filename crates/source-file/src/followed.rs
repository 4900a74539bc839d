//! Files of certificates and keys that are followed by name, wherever links lead.

use crate::inbox::{Inbox, Touch};
use crate::read::{CertificateReading, Stamp, read_certificate};
use crate::trail::trail;
use crate::walk::FolderId;
use ahash::HashMap;
use config::{CertificateFile, FileContent};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// More are not followed.
const MAX_FOLLOWED: usize = 200_000;

/// How often a file that changed while it was read is read again before it is taken as it is.
const TORN_LOOKS: u8 = 20;

/// How often a file that vanished or became empty is looked at again before that is believed.
const VANISHED_LOOKS: u8 = 1;

/// The files, and what was told of each.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    files: BTreeMap<PathBuf, File>,
    /// Which files a notified path concerns.
    concerned: HashMap<PathBuf, Vec<PathBuf>>,
}

#[derive(Debug, Default)]
struct File {
    /// From the file system's root.
    path: PathBuf,
    way: Way,
    told: Option<Told>,
    /// How often it looked like a moment of a change.
    doubts: u8,
}

/// How a file is reached.
#[derive(Debug, Default, PartialEq)]
struct Way {
    /// See [`trail`].
    points: Vec<PathBuf>,
    /// The folder it is in: another may have the same name later.
    folder: Option<FolderId>,
}

impl Way {
    fn to(path: &Path) -> Self {
        Self {
            points: trail(path),
            folder: path.parent().and_then(folder_id),
        }
    }
}

#[derive(Debug)]
struct Told {
    stamp: Option<Stamp>,
    read_at: SystemTime,
    /// Equal contents have equal ones. The content itself may be a key, which need not lie here too.
    fingerprint: u64,
    is_filled: bool,
}

impl Followed {
    /// Follows exactly these from now on. What was told of them before need not be told again.
    pub(crate) fn replace(&mut self, wanted: BTreeSet<PathBuf>) {
        self.files.retain(|path, _| wanted.contains(path));
        if wanted.len() > MAX_FOLLOWED {
            tracing::warn!(
                files = wanted.len(),
                "more files of certificates than are followed, the last are left aside"
            );
        }
        for shown in wanted.into_iter().take(MAX_FOLLOWED) {
            let path = std::path::absolute(&shown).unwrap_or_else(|_| shown.clone());
            self.files.entry(shown).or_insert_with(|| File {
                path,
                ..File::default()
            });
        }
    }

    /// Finds out anew where links lead.
    pub(crate) fn refresh(&mut self) {
        for file in self.files.values_mut() {
            file.way = Way::to(&file.path);
        }
    }

    /// Adds the folders to watch to those watched already, by the names that these have.
    pub(crate) fn add_folders(&mut self, folders: &mut BTreeMap<PathBuf, FolderId>) {
        let names = folders.iter().map(|(folder, id)| (*id, folder.clone()));
        let mut names = Names {
            by_id: names.collect(),
            by_folder: HashMap::default(),
        };
        self.concerned.clear();
        for (shown, file) in &self.files {
            let points = file
                .way
                .points
                .iter()
                .filter_map(|point| names.notified(point));
            // A look that is planned once more is planned by the path itself.
            for point in points.chain([file.path.clone()]) {
                self.concerned.entry(point).or_default().push(shown.clone());
            }
        }
        folders.extend(names.by_id.into_iter().map(|(id, folder)| (folder, id)));
    }

    /// The files that these touched paths concern.
    pub(crate) fn concerned(&self, paths: &[PathBuf]) -> BTreeSet<PathBuf> {
        let concerned = paths.iter().filter_map(|path| self.concerned.get(path));
        concerned.flatten().cloned().collect()
    }

    /// Whether links lead elsewhere now, so that other folders are to be watched.
    pub(crate) fn have_moved(&self, files: &BTreeSet<PathBuf>) -> bool {
        let mut files = files.iter().filter_map(|shown| self.files.get(shown));
        files.any(|file| file.way != Way::to(&file.path))
    }

    /// All of them that may have changed since they were told.
    pub(crate) fn changed(&self, inbox: &Inbox) -> BTreeSet<PathBuf> {
        let may_have_changed = |file: &File| {
            let is_planned = file
                .way
                .points
                .last()
                .is_some_and(|path| inbox.is_waiting(path));
            !is_planned && file.may_have_changed()
        };
        let changed = self.files.iter().filter(|(_, file)| may_have_changed(file));
        changed.map(|(shown, _)| shown.clone()).collect()
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeSet<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// Reads these again, and returns what is to be told of them.
    pub(crate) fn reread(
        &mut self,
        files: &BTreeSet<PathBuf>,
        inbox: &Inbox,
    ) -> Vec<CertificateFile> {
        let mut news = Vec::new();
        for shown in files {
            let Some(file) = self.files.get_mut(shown) else {
                continue;
            };
            if let Some(content) = file.reread(inbox) {
                news.push(CertificateFile {
                    path: shown.clone(),
                    content,
                });
            }
        }
        news
    }
}

impl File {
    fn may_have_changed(&self) -> bool {
        let Some(told) = &self.told else {
            return true;
        };
        let metadata = std::fs::metadata(&self.path);
        let stamp = metadata.ok().map(|metadata| Stamp::of(&metadata));
        stamp != told.stamp || stamp.is_some_and(|stamp| !stamp.is_trusted(told.read_at))
    }

    /// What is there now. Absent: it is the same as before, or it is to be looked at once more.
    fn reread(&mut self, inbox: &Inbox) -> Option<FileContent> {
        let reading = read_certificate(&self.path);
        if self.is_doubtful(&reading) {
            self.doubts += 1;
            inbox.touch(self.path.clone(), Touch::Doubtful);
            return None;
        }
        self.doubts = 0;
        let content = reading.content;
        let fingerprint = fingerprint(&content);
        let is_same = self
            .told
            .as_ref()
            .is_some_and(|told| told.fingerprint == fingerprint);
        self.told = Some(Told {
            stamp: reading.stamp,
            read_at: SystemTime::now(),
            fingerprint,
            is_filled: is_filled(&content),
        });
        (!is_same).then_some(content)
    }

    fn is_doubtful(&self, reading: &CertificateReading) -> bool {
        let was_filled = self.told.as_ref().is_some_and(|told| told.is_filled);
        let has_vanished = match &reading.content {
            FileContent::Unreadable(_) => false,
            content => was_filled && !is_filled(content),
        };
        (has_vanished && self.doubts < VANISHED_LOOKS) || (reading.torn && self.doubts < TORN_LOOKS)
    }
}

fn fingerprint(content: &FileContent) -> u64 {
    let mut hasher = DefaultHasher::new();
    match content {
        FileContent::Bytes { bytes, mode } => (0u8, bytes.as_bytes(), mode).hash(&mut hasher),
        FileContent::Unreadable(reason) => (1u8, reason).hash(&mut hasher),
        FileContent::Absent => 2u8.hash(&mut hasher),
    }
    hasher.finish()
}

fn is_filled(content: &FileContent) -> bool {
    matches!(content, FileContent::Bytes { bytes, .. } if !bytes.as_bytes().is_empty())
}

/// Folders by the names they are watched by: the kernel watches a folder under one name only.
struct Names {
    by_id: HashMap<FolderId, PathBuf>,
    /// The names of folders asked for before. Absent: it cannot be watched.
    by_folder: HashMap<PathBuf, Option<PathBuf>>,
}

impl Names {
    /// The path by which a change is notified.
    fn notified(&mut self, point: &Path) -> Option<PathBuf> {
        let (folder, name) = (point.parent()?, point.file_name()?);
        if let Some(known) = self.by_folder.get(folder) {
            return Some(known.as_ref()?.join(name));
        }
        let watched = self.watch(folder);
        self.by_folder.insert(folder.to_path_buf(), watched.clone());
        Some(watched?.join(name))
    }

    fn watch(&mut self, folder: &Path) -> Option<PathBuf> {
        let id = folder_id(folder)?;
        if let Some(known) = self.by_id.get(&id) {
            return Some(known.clone());
        }
        // A folder that the kernel does not let us watch would end the watching of all others.
        std::fs::read_dir(folder).ok()?;
        self.by_id.insert(id, folder.to_path_buf());
        Some(folder.to_path_buf())
    }
}

fn folder_id(folder: &Path) -> Option<FolderId> {
    let metadata = std::fs::metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
