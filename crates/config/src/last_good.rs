//! The last good version of every object, on disk, for the next start.

use model::{Defaults, Resource, ResourceRef, Severity};
use std::collections::{BTreeMap, HashSet, btree_map};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Bound;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

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

/// Of so many files it is told why they cannot be used; the folder is one of ours, and has none usually.
const MAX_TOLD: usize = 1000;

/// For how long objects are written before others have their turn. A file takes from microseconds to milliseconds.
const WRITTEN_FOR: Duration = Duration::from_millis(2);

/// A folder with one file an object, readable by its owner only: Secrets are among them.
///
/// Files are written by and by. What is found of an object is what was noted last, written or not. No failure here stops
/// anything: the worst is a start without the version before.
#[derive(Debug)]
pub(crate) struct LastGood {
    folder: PathBuf,
    defaults: Defaults,
    /// What is still to be written.
    unwritten: BTreeMap<ResourceRef, Version>,
    /// The last of these that was tried. Absent: none was since something was noted.
    tried: Option<ResourceRef>,
    /// What is written of each file. Made when it is asked for, and anew after a change.
    by_source: OnceLock<BTreeMap<String, Vec<PathBuf>>>,
    /// So that a full disk is told once and not at every change.
    failing: bool,
    /// The files of which it was told that they cannot be used.
    told: Mutex<HashSet<PathBuf>>,
}

/// What is to be found of an object at the next start.
#[derive(Clone, Debug)]
pub(crate) enum Version {
    /// That it is really gone.
    Gone,
    /// This.
    Good {
        /// Its text.
        document: Arc<str>,
        /// The file that it is from.
        source: Arc<str>,
    },
}

/// Why a remembered file is left aside.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("does not begin as what is kept here does")]
    Foreign,
    #[error("holds no valid object: {0}")]
    Invalid(String),
    #[error("holds {0} in place of what its name says")]
    Another(ResourceRef),
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
            unwritten: BTreeMap::new(),
            tried: None,
            by_source: OnceLock::new(),
            failing: false,
            told: Mutex::default(),
        })
    }

    /// The remembered version of one object.
    pub(crate) fn find(&self, reference: &ResourceRef) -> Option<Remembered> {
        let path = self.path_of(reference);
        if let Some(version) = self.unwritten.get(reference) {
            return self.unwritten(&path, version);
        }
        let read = self.try_read(&path).and_then(|remembered| {
            let found = &remembered.resource.meta().reference;
            match found == reference {
                true => Ok(remembered),
                false => Err(Unusable::Another(found.clone())),
            }
        });
        self.usable(&path, read)
    }

    /// Everything remembered of one file, or of all files below a folder.
    pub(crate) fn of_file(&self, file: &str) -> Vec<Remembered> {
        let source = one_line(file);
        let is_of = |one: &str| Path::new(one).starts_with(&source);
        let by_source = self.by_source.get_or_init(|| self.index());
        // Those below a folder do not come one after the other: `a.b` is between `a` and `a/b`.
        let begins_alike = by_source.range(source.clone()..);
        let begins_alike = begins_alike.take_while(|(one, _)| one.starts_with(&source));
        let paths = begins_alike
            .filter(|(one, _)| is_of(one))
            .flat_map(|(_, paths)| paths);
        let read = paths.filter_map(|path| self.usable(path, self.try_read(path)));
        let written = read.filter(|remembered| {
            let reference = &remembered.resource.meta().reference;
            is_of(&remembered.source) && !self.unwritten.contains_key(reference)
        });
        // Parsed is only what is of that file: after a start all of a cluster may be unwritten.
        let unwritten = self.unwritten.iter().filter(|(_, version)| match version {
            Version::Gone => false,
            Version::Good { source, .. } => is_of(&one_line(source)),
        });
        let unwritten = unwritten
            .filter_map(|(reference, version)| self.unwritten(&self.path_of(reference), version));
        written.chain(unwritten).collect()
    }

    fn unwritten(&self, path: &Path, version: &Version) -> Option<Remembered> {
        match version {
            Version::Gone => None,
            Version::Good { document, source } => {
                self.usable(path, self.parse(path, &text(source, document)))
            }
        }
    }

    fn index(&self) -> BTreeMap<String, Vec<PathBuf>> {
        let mut by_source: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for path in self.entries() {
            if let Some(source) = self.usable(&path, source_of(&path)) {
                by_source.entry(source).or_default().push(path);
            }
        }
        by_source
    }

    /// What is to be found of an object from now on.
    pub(crate) fn note(&mut self, reference: ResourceRef, version: Version) {
        self.unwritten.insert(reference, version);
        self.tried = None;
    }

    /// Writes a piece of what is left, so that nobody's change waits until thirty thousand files are written.
    pub(crate) fn write_some(&mut self) {
        let began = Instant::now();
        while began.elapsed() < WRITTEN_FOR
            && let Some((reference, version)) = self.left().next()
        {
            let (reference, version) = (reference.clone(), version.clone());
            let written = self.write_one(&reference, &version);
            if written.is_ok() {
                self.unwritten.remove(&reference);
            }
            self.tell(written);
            self.tried = Some(reference);
        }
    }

    /// Writes all that is left, as long as it takes. What cannot be written is told of.
    pub(crate) fn write_all(&mut self) {
        self.tried = None;
        while self.is_behind() {
            self.write_some();
        }
        let (objects, folder) = (self.unwritten.len(), self.folder.display());
        if objects > 0 {
            tracing::warn!(objects, %folder, "the last good configuration on disk is older than what was in force");
        }
    }

    /// Whether something is to be written. What could not be is tried again when something is noted.
    pub(crate) fn is_behind(&self) -> bool {
        self.left().next().is_some()
    }

    fn left(&self) -> btree_map::Range<'_, ResourceRef, Version> {
        let tried = self.tried.as_ref();
        let begin = tried.map_or(Bound::Unbounded, Bound::Excluded);
        self.unwritten.range((begin, Bound::Unbounded))
    }

    fn write_one(&mut self, reference: &ResourceRef, version: &Version) -> io::Result<()> {
        let path = self.path_of(reference);
        match version {
            Version::Gone => self.delete(&path),
            Version::Good { document, source } => self.keep(&path, &text(source, document)),
        }
    }

    /// Writes nothing when it is there already.
    fn keep(&mut self, path: &Path, text: &str) -> io::Result<()> {
        if text_of(path).is_ok_and(|former| former == text) {
            return Ok(());
        }
        self.by_source.take();
        self.told().remove(path);
        write(path, text)
    }

    /// Forgets everything but these objects.
    pub(crate) fn retain<'r>(&mut self, references: impl Iterator<Item = &'r ResourceRef>) {
        let kept: HashSet<PathBuf> = references
            .map(|reference| self.path_of(reference))
            .collect();
        for path in self.entries() {
            if !kept.contains(&path) {
                let deleted = self.delete(&path);
                self.tell(deleted);
            }
        }
    }

    fn delete(&mut self, path: &Path) -> io::Result<()> {
        self.by_source.take();
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            deleted => deleted,
        }
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

    fn try_read(&self, path: &Path) -> Result<Remembered, Unusable> {
        self.parse(path, &text_of(path)?)
    }

    fn parse(&self, path: &Path, text: &str) -> Result<Remembered, Unusable> {
        let (source, document) = text
            .strip_prefix(TITLE)
            .and_then(|text| text.strip_prefix(SOURCE)?.split_once('\n'))
            .ok_or(Unusable::Foreign)?;
        // Objects of an API server are told of by their own place, which is no file: whoever asks whether one counts finds it.
        let place = match Path::new(source).exists() {
            true => path.to_string_lossy(),
            false => source.into(),
        };
        // The whole text is parsed, not the document alone, so that line numbers are the file's.
        let parsed = model::parse(&place.into(), text, &self.defaults);
        let object = parsed.objects.first();
        let resource = object
            .and_then(|object| object.outcome.resource())
            .ok_or_else(|| Unusable::Invalid(first_error(&parsed)))?;
        Ok(Remembered {
            resource: resource.clone(),
            document: document.into(),
            source: source.to_owned(),
        })
    }

    /// What was read, or nothing and a word about why not: once, and not for a file that is not there.
    fn usable<T>(&self, path: &Path, read: Result<T, Unusable>) -> Option<T> {
        let error = match read {
            Ok(read) => return Some(read),
            Err(Unusable::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
                return None;
            }
            Err(error) => error,
        };
        let mut told = self.told();
        if told.len() < MAX_TOLD && told.insert(path.to_path_buf()) {
            let file = path.display();
            tracing::warn!(%file, reason = %error, "a last good version on disk cannot be used, \
                the others are; it is written anew when its object is next good, or can be deleted");
        }
        None
    }

    fn told(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path_of(&self, reference: &ResourceRef) -> PathBuf {
        self.folder.join(file_name(reference))
    }
}

fn text(source: &str, document: &str) -> String {
    format!("{TITLE}{SOURCE}{}\n{document}", one_line(source))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&beside)?.write_all(text.as_bytes())?;
    // No fsync: thousands of objects would take a minute, and a torn file is noticed when it is read.
    fs::rename(&beside, path)
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
fn source_of(path: &Path) -> Result<String, Unusable> {
    let head = BufReader::new(File::open(path)?.take(MAX_HEAD_BYTES));
    let mut lines = head.lines();
    let mut next = || lines.next().transpose();
    if next()?.as_deref() != Some(TITLE.trim_end()) {
        return Err(Unusable::Foreign);
    }
    let source = next()?.and_then(|line| Some(line.strip_prefix(SOURCE)?.to_owned()));
    source.ok_or(Unusable::Foreign)
}

fn text_of(path: &Path) -> Result<String, Unusable> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Unusable::TooLarge);
    }
    Ok(text)
}

fn first_error(parsed: &model::Parsed) -> String {
    let mut all = parsed.all_diagnostics();
    all.find(|one| one.severity == Severity::Error)
        .map_or_else(|| "there is none".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn reference(name: &str) -> ResourceRef {
        ResourceRef {
            kind: "Service".into(),
            namespace: "default".into(),
            name: name.into(),
        }
    }

    fn document(name: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: 80}}]}}\n"
        )
    }

    fn good(name: &str) -> Version {
        Version::Good {
            document: document(name).into(),
            source: "a.yaml".into(),
        }
    }

    fn keep(last_good: &mut LastGood, name: &str) {
        last_good.note(reference(name), good(name));
        last_good.write_all();
    }

    fn told(last_good: &LastGood) -> Vec<String> {
        let told = last_good.told();
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = told.iter().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn what_cannot_be_used_is_told_once_and_the_others_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut last_good = LastGood::open(folder.path(), Defaults::default()).unwrap();
        for name in ["good", "cut", "moved"] {
            keep(&mut last_good, name);
        }
        let path = |name: &str| folder.path().join(format!("Service.default.{name}.yaml"));
        let text = fs::read_to_string(path("cut")).unwrap();
        fs::write(path("cut"), &text[..text.len() - 10]).unwrap();
        fs::rename(path("moved"), path("other")).unwrap();
        fs::write(path("junk"), [0xff, 0xfe]).unwrap();
        fs::write(path("foreign"), document("foreign")).unwrap();
        symlink("loop.yaml", folder.path().join("loop.yaml")).unwrap();
        for _ in 0..2 {
            assert_eq!(last_good.of_file("a.yaml").len(), 2);
            assert!(last_good.find(&reference("good")).is_some());
            assert!(last_good.find(&reference("other")).is_none());
            assert!(last_good.find(&reference("none")).is_none());
        }
        let all =
            ["cut", "foreign", "junk", "other"].map(|name| format!("Service.default.{name}.yaml"));
        assert_eq!(
            told(&last_good),
            [&all[..], &["loop.yaml".to_owned()]].concat()
        );
        keep(&mut last_good, "cut");
        assert_eq!(last_good.of_file("a.yaml").len(), 3);
        assert!(!told(&last_good).contains(&all[0]));
    }

    #[test]
    fn the_reason_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let last_good = LastGood::open(folder.path(), Defaults::default()).unwrap();
        let path = folder.path().join("one.yaml");
        let reason = |text: &str| {
            fs::write(&path, text).unwrap();
            last_good.try_read(&path).unwrap_err().to_string()
        };
        assert_eq!(
            reason(&document("one")),
            "does not begin as what is kept here does"
        );
        let broken = reason(&format!("{TITLE}{SOURCE}a.yaml\n}}{{"));
        assert!(broken.starts_with("holds no valid object: "), "{broken}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let folder = last_good.try_read(&path).unwrap_err().to_string();
        assert!(folder.starts_with("cannot be read: "), "{folder}");
    }

    #[test]
    fn what_was_noted_last_is_found_whether_it_is_written_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut last_good = LastGood::open(folder.path(), Defaults::default()).unwrap();
        keep(&mut last_good, "gone");
        keep(&mut last_good, "moved");
        last_good.note(reference("gone"), Version::Gone);
        last_good.note(reference("new"), good("new"));
        let moved = Version::Good {
            document: document("moved").into(),
            source: "b.yaml".into(),
        };
        last_good.note(reference("moved"), moved);
        for _ in 0..2 {
            let found = ["gone", "new", "moved"].map(|name| last_good.find(&reference(name)));
            assert_eq!(found.map(|one| one.is_some()), [false, true, true]);
            let of_file = ["a.yaml", "b.yaml"].map(|file| last_good.of_file(file).len());
            assert_eq!(of_file, [1, 1]);
            last_good.write_all();
            assert!(!last_good.is_behind());
        }
    }

    #[test]
    fn what_cannot_be_written_keeps_nothing_else_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut last_good = LastGood::open(folder.path(), Defaults::default()).unwrap();
        let path = last_good.path_of(&reference("first"));
        fs::create_dir_all(path.join("in the way")).unwrap();
        for name in ["first", "second"] {
            last_good.note(reference(name), good(name));
        }
        last_good.write_all();
        assert!(!last_good.is_behind(), "it would be tried for ever");
        assert_eq!(last_good.unwritten.len(), 1);
        assert!(last_good.find(&reference("first")).is_some());
        fs::remove_dir_all(&path).unwrap();
        keep(&mut last_good, "third");
        let left = LastGood::open(folder.path(), Defaults::default()).unwrap();
        assert_eq!(left.of_file("a.yaml").len(), 3);
    }
}
