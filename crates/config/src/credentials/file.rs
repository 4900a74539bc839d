//! Files of certificates, as a source tells them.

use model::SecretBytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file that the configuration asked for, as it stands now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFile {
    /// As it was asked for.
    pub path: PathBuf,
    /// What is there.
    pub content: FileContent,
}

/// What is in a file of certificates or keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FileContent {
    /// It could be read.
    Bytes {
        /// All of it.
        bytes: SecretBytes,
        /// Its permissions, as `chmod` counts them.
        mode: u32,
    },
    /// It is there, and could not be read.
    Unreadable(String),
    /// It is not there.
    Absent,
}

/// The files that were asked for, and what was told of them.
#[derive(Debug, Default)]
pub(super) struct Files {
    wanted: BTreeSet<PathBuf>,
    told: BTreeMap<PathBuf, FileContent>,
}

impl Files {
    /// Takes in what the source told. Returns whether anything is different from before.
    pub(super) fn apply(&mut self, files: Vec<CertificateFile>) -> bool {
        let mut is_different = false;
        for CertificateFile { path, content } in files {
            // Of what is not wanted any more a last word may still be on its way.
            if self.wanted.contains(&path) && self.told.get(&path) != Some(&content) {
                self.told.insert(path, content);
                is_different = true;
            }
        }
        is_different
    }

    /// Asks for exactly these. Returns whether they are others than before.
    pub(super) fn want(&mut self, wanted: BTreeSet<PathBuf>) -> bool {
        if wanted == self.wanted {
            return false;
        }
        self.told.retain(|path, _| wanted.contains(path));
        self.wanted = wanted;
        true
    }

    pub(super) fn wanted(&self) -> &BTreeSet<PathBuf> {
        &self.wanted
    }

    /// Whether everything that is wanted was told once.
    pub(super) fn are_told(&self) -> bool {
        self.told.len() == self.wanted.len()
    }

    /// Absent: nothing was told of it yet.
    pub(super) fn content(&self, path: &Path) -> Option<&FileContent> {
        self.told.get(path)
    }
}
