//! Finding the files of the configured roots.

use crate::read::is_absent;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders nested deeper than this are not entered.
const MAX_DEPTH: usize = 16;

/// At most this many files are taken from all roots together.
const MAX_FILES: usize = 100_000;

/// At most this many links are followed to what they lead to; of others, a change is seen at the next rescan.
const MAX_LINKS: usize = 256;

/// Tells a folder from another that later has the same name.
pub(crate) type FolderId = (u64, u64);

/// A file or folder the user named.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// As the user named it.
    shown: PathBuf,
    /// The same from the file system's root, as the kernel's notifications name it.
    path: PathBuf,
}

impl Root {
    /// # Errors
    ///
    /// When the working folder is gone, or the path is empty.
    pub(crate) fn new(shown: &Path) -> io::Result<Self> {
        Ok(Self {
            shown: shown.to_path_buf(),
            path: std::path::absolute(shown)?,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How the user would name a path at or below this root.
    fn name_of(&self, path: &Path) -> Option<Arc<str>> {
        let below = path.strip_prefix(&self.path).ok()?;
        let shown = if below.as_os_str().is_empty() {
            self.shown.clone()
        } else {
            self.shown.join(below)
        };
        Some(shown.to_string_lossy().into())
    }
}

/// How the user would name a path below one of the roots; of several, by the nearest.
pub(crate) fn name_of(roots: &[Root], path: &Path) -> Arc<str> {
    let above = roots.iter().filter(|root| path.starts_with(&root.path));
    let nearest = above.max_by_key(|root| root.path.components().count());
    nearest
        .and_then(|root| root.name_of(path))
        .unwrap_or_else(|| path.to_string_lossy().into())
}

/// What the roots hold.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// Every resource file.
    pub(crate) files: BTreeSet<PathBuf>,
    /// The folders whose files are resources.
    pub(crate) entered: BTreeSet<PathBuf>,
    /// The folders to watch: those entered, those that tell when a root appears or is replaced, and those
    /// with files that links lead to.
    pub(crate) folders: BTreeMap<PathBuf, FolderId>,
    /// Files that links lead to, as the kernel's notifications name them, and the links.
    pub(crate) targets: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// Roots that are not there.
    pub(crate) missing: BTreeSet<PathBuf>,
    /// Folders that could not be listed, and why. What was known below them stays.
    pub(crate) unlisted: BTreeMap<PathBuf, String>,
}

impl Walk {
    /// Lists the resource files of all roots. A root that is a file counts whatever its name.
    pub(crate) fn over(roots: &[Root]) -> Self {
        let mut walk = Self::default();
        let mut seen = BTreeSet::new();
        for root in roots {
            walk.watch_above(&root.path);
            match std::fs::metadata(&root.path) {
                Ok(metadata) if metadata.is_dir() => walk.enter(&root.path, 0, &mut seen),
                Ok(_) => {
                    walk.files.insert(root.path.clone());
                }
                Err(error) if is_absent(&error) => {
                    walk.missing.insert(root.path.clone());
                }
                Err(error) => {
                    walk.unlisted.insert(root.path.clone(), error.to_string());
                }
            }
        }
        walk.follow_links();
        walk
    }

    /// Whether the path is, or is below, a root that is not there or a folder that could not be listed.
    pub(crate) fn is_out_of_sight(&self, path: &Path) -> bool {
        let mut hidden = self.unlisted.keys().chain(&self.missing);
        hidden.any(|folder| path.starts_with(folder))
    }

    /// A file that a link leads to is changed where it is, and the folder of the link tells nothing of it.
    fn follow_links(&mut self) {
        let links = self.files.iter().filter(|file| file.is_symlink());
        let links: Vec<PathBuf> = links.take(MAX_LINKS).cloned().collect();
        for link in links {
            if let Ok(target) = std::fs::canonicalize(&link) {
                self.watch_target(link, &target);
            }
        }
    }

    fn watch_target(&mut self, link: PathBuf, target: &Path) {
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            return;
        };
        let Ok(metadata) = std::fs::metadata(folder) else {
            return;
        };
        let id = (metadata.dev(), metadata.ino());
        // The kernel watches a folder under one name only: the one it was given last.
        let mut watched = self.folders.iter().filter(|(_, known)| **known == id);
        let folder = match watched.next() {
            Some((folder, _)) => folder.clone(),
            // A folder that the kernel does not let us watch would end the watching of all others.
            None if std::fs::read_dir(folder).is_err() => return,
            None => {
                self.folders.insert(folder.to_path_buf(), id);
                folder.to_path_buf()
            }
        };
        self.targets
            .entry(folder.join(name))
            .or_default()
            .push(link);
    }

    /// The nearest folder above a root that exists tells when the root appears or is replaced.
    fn watch_above(&mut self, root: &Path) {
        for folder in root.ancestors().skip(1) {
            if let Ok(metadata) = std::fs::metadata(folder) {
                self.folders
                    .insert(folder.to_path_buf(), (metadata.dev(), metadata.ino()));
                return;
            }
        }
    }

    fn enter(&mut self, folder: &Path, depth: usize, seen: &mut BTreeSet<FolderId>) {
        match self.try_enter(folder, depth, seen) {
            Err(error) if !is_absent(&error) => {
                self.unlisted
                    .insert(folder.to_path_buf(), error.to_string());
            }
            _ => {}
        }
    }

    fn try_enter(
        &mut self,
        folder: &Path,
        depth: usize,
        seen: &mut BTreeSet<FolderId>,
    ) -> io::Result<()> {
        let metadata = std::fs::metadata(folder)?;
        let id = (metadata.dev(), metadata.ino());
        // Symbolic links can lead in circles.
        if !seen.insert(id) {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "folders nest deeper than {MAX_DEPTH}"
            )));
        }
        self.folders.insert(folder.to_path_buf(), id);
        self.entered.insert(folder.to_path_buf());
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if is_hidden(&path) {
                continue;
            }
            if path.is_dir() {
                self.enter(&path, depth + 1, seen);
            } else if is_resource_name(&path) {
                self.take(path)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, path: PathBuf) -> io::Result<()> {
        if self.files.len() >= MAX_FILES {
            return Err(io::Error::other(format!(
                "there are more than {MAX_FILES} files"
            )));
        }
        self.files.insert(path);
        Ok(())
    }
}

/// Whether a file of a folder is read: `.yaml`, `.yml` or `.json`, not hidden, no editor's temporary.
pub(crate) fn is_resource_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json")) && !is_hidden(path)
}

fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    // `.#name` is Emacs' lock, `#name#` its copy; `..data` and its target are the kubelet's.
    name.starts_with(b".") || name.starts_with(b"#")
}
