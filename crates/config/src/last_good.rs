//! The last good version of every object, on disk, for the next start.

use model::{Defaults, Resource, ResourceRef};
use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The first line of every remembered object.
const TITLE: &str = "# Tidegate keeps the last good version of each object here. Do not edit.\n";

/// What stands before the file that an object came from.
const SOURCE: &str = "# source: ";

/// Longer names are shortened; file systems take 255 bytes.
const MAX_NAME: usize = 180;

/// A remembered file larger than this is not one of ours.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes of the two lines before the document; a path has 4096 at most.
const MAX_HEAD_BYTES: u64 = 8 * 1024;

/// A folder with one file an object, readable by its owner only: Secrets are among them.
///
/// No failure here stops anything: the worst is a start without the version before.
#[derive(Debug)]
pub(crate) struct LastGood {
    folder: PathBuf,
    defaults: Defaults,
    /// What is remembered of each file. Made when it is asked for, and anew after a change.
    by_source: OnceLock<HashMap<String, Vec<PathBuf>>>,
    /// So that a full disk is told once and not at every change.
    failing: bool,
}

/// An object as it was remembered.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// The object.
    pub(crate) resource: Resource,
    /// Its text.
    pub(crate) document: Arc<str>,
    /// The file that it came from.
    pub(crate) source: String,
}

impl LastGood {
    /// Opens the folder, and makes it when it is not there.
    pub(crate) fn open(folder: &Path, defaults: Defaults) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        close_to_others(folder);
        Ok(Self {
            folder: folder.to_path_buf(),
            defaults,
            by_source: OnceLock::new(),
            failing: false,
        })
    }

    /// The remembered version of one object.
    pub(crate) fn find(&self, reference: &ResourceRef) -> Option<Remembered> {
        let remembered = self.read(&self.path_of(reference))?;
        (remembered.resource.meta().reference == *reference).then_some(remembered)
    }

    /// Everything remembered of one file.
    pub(crate) fn of_file(&self, file: &str) -> Vec<Remembered> {
        let source = one_line(file);
        let by_source = self.by_source.get_or_init(|| self.index());
        let paths = by_source.get(&source).into_iter().flatten();
        let read = paths.filter_map(|path| self.read(path));
        read.filter(|remembered| remembered.source == source)
            .collect()
    }

    fn index(&self) -> HashMap<String, Vec<PathBuf>> {
        let mut by_source: HashMap<String, Vec<PathBuf>> = HashMap::new();
        for path in self.entries() {
            if let Some(source) = source_of(&path) {
                by_source.entry(source).or_default().push(path);
            }
        }
        by_source
    }

    /// Remembers an object. Writes nothing when it is remembered like this already.
    pub(crate) fn keep(&mut self, reference: &ResourceRef, source: &str, document: &str) {
        let text = format!("{TITLE}{SOURCE}{}\n{document}", one_line(source));
        let path = self.path_of(reference);
        if text_of(&path).is_some_and(|former| former == text) {
            return;
        }
        self.by_source.take();
        let written = self.write(&path, &text);
        self.tell(written);
    }

    /// Forgets an object that is really gone.
    pub(crate) fn forget(&mut self, reference: &ResourceRef) {
        self.delete(&self.path_of(reference));
    }

    /// Forgets everything but these objects.
    pub(crate) fn retain<'r>(&mut self, references: impl Iterator<Item = &'r ResourceRef>) {
        let kept: HashSet<PathBuf> = references
            .map(|reference| self.path_of(reference))
            .collect();
        for path in self.entries() {
            if !kept.contains(&path) {
                self.delete(&path);
            }
        }
    }

    fn delete(&mut self, path: &Path) {
        self.by_source.take();
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.tell(Err(error)),
            _ => {}
        }
    }

    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&beside)?.write_all(text.as_bytes())?;
        // No fsync: thousands of objects would take a minute, and a torn file is noticed when it is read.
        fs::rename(&beside, path)
    }

    fn tell(&mut self, result: io::Result<()>) {
        let failed = result.is_err();
        if let Err(error) = result
            && !self.failing
        {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "cannot remember the last good configuration on disk");
        }
        self.failing = failed;
    }

    fn entries(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "yaml")
            })
            .collect()
    }

    fn read(&self, path: &Path) -> Option<Remembered> {
        let text = text_of(path)?;
        let (source, document) = text
            .strip_prefix(TITLE)?
            .strip_prefix(SOURCE)?
            .split_once('\n')?;
        // The whole text is parsed, not the document alone, so that line numbers are the file's.
        let parsed = model::parse(&path.to_string_lossy().into(), &text, &self.defaults);
        let resource = parsed.objects.first()?.outcome.resource()?.clone();
        Some(Remembered {
            resource,
            document: document.into(),
            source: source.to_owned(),
        })
    }

    fn path_of(&self, reference: &ResourceRef) -> PathBuf {
        self.folder.join(file_name(reference))
    }
}

/// Readable where it can be, and never another object's.
fn file_name(reference: &ResourceRef) -> String {
    let ResourceRef {
        kind,
        namespace,
        name,
    } = reference;
    let plain = format!("{kind}.{namespace}.{name}");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if plain.len() <= MAX_NAME && plain.chars().all(is_plain) {
        return format!("{plain}.yaml");
    }
    let hash = fnv1a(format!("{kind}/{namespace}/{name}").as_bytes());
    let readable: String = plain
        .chars()
        .filter(|c| is_plain(*c))
        .take(MAX_NAME)
        .collect();
    format!("{readable}_{hash:016x}.yaml")
}

/// Fowler, Noll and Vo's hash: the same for ever, since names of files are made of it.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A folder that was there before may be open to others.
fn close_to_others(folder: &Path) {
    let is_open =
        fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if !is_open {
        return;
    }
    if let Err(error) = fs::set_permissions(folder, Permissions::from_mode(0o700)) {
        // A volume of which another is the owner. The files themselves are closed in any case.
        let folder = folder.display();
        tracing::warn!(%error, %folder, "others can list the last good configuration on disk");
    }
}

fn one_line(source: &str) -> String {
    source.replace('\n', " ")
}

/// The file that a remembered object came from, without reading the object.
fn source_of(path: &Path) -> Option<String> {
    let head = BufReader::new(File::open(path).ok()?.take(MAX_HEAD_BYTES));
    let mut lines = head.lines();
    let title = lines.next()?.ok()?;
    if title != TITLE.trim_end() {
        return None;
    }
    Some(lines.next()?.ok()?.strip_prefix(SOURCE)?.to_owned())
}

fn text_of(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}
