//! The watching itself: a thread that reads again what was touched, and tells what differs.

use crate::followed::Followed;
use crate::inbox::{Due, Inbox, Touch};
use crate::read::{MAX_FILE_BYTES, Reading, Stamp, read};
use crate::walk::{Root, Walk, is_resource_name, name_of};
use crate::watches::Watches;
use ahash::{HashMap, HashSet};
use config::{CertificateFile, Change, Content, Message};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::Sender;

/// How often a file that looks half-written is looked at again before it is taken as it is.
const TORN_LOOKS: u8 = 20;

/// How often a file that became empty or vanished is looked at again before that is believed.
const VANISHED_LOOKS: u8 = 1;

/// What is told of a root that is not there any more. Whoever really wants its objects to go can say so,
/// whereas a volume that was unmounted must not take every route with it.
const LOST: &str = "is gone, though it is to be watched: put it back, or leave an empty folder or file in its place \
                    to remove its objects";

/// Folders can appear faster than they are watched; after so many rounds the next rescan finds the rest.
const WATCH_ROUNDS: usize = 8;

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files and folders. They need not exist yet. Of one that goes away, an error is told in place of the
    /// removal of its files.
    pub roots: Vec<PathBuf>,
    /// Greatest size of a file in bytes. Default [`MAX_FILE_BYTES`].
    pub max_file_bytes: u64,
    /// How changes are noticed. Default [`Watching::Notified`].
    pub watching: Watching,
    /// How often everything is looked at although the kernel told of nothing. Default 30 s.
    pub rescan_every: Duration,
    /// How often everything is looked at when the kernel tells of nothing. Default 1 s.
    pub poll_every: Duration,
}

impl Options {
    /// The defaults, for these roots.
    pub fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            max_file_bytes: MAX_FILE_BYTES,
            watching: Watching::Notified,
            rescan_every: Duration::from_secs(30),
            poll_every: Duration::from_secs(1),
        }
    }
}

/// How changes are noticed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watching {
    /// The kernel tells. Where it cannot, as [`Watching::Polled`].
    Notified,
    /// By looking again and again, as on network file systems.
    Polled,
}

/// Files and folders under watch. Dropping it ends the watching.
#[derive(Debug)]
pub struct FileSource {
    inbox: Arc<Inbox>,
}

impl FileSource {
    /// Starts a thread that tells what the roots hold, then [`Message::Synced`], then every change.
    ///
    /// # Errors
    ///
    /// When a root is the empty path, or the thread cannot be started. Missing or unreadable files
    /// are no error here: they are told to the receiver, or awaited.
    pub fn start(options: Options, sender: Sender<Message>) -> io::Result<Self> {
        let inbox = Arc::new(Inbox::default());
        let roots = options
            .roots
            .iter()
            .map(|root| Root::new(root))
            .collect::<io::Result<_>>()?;
        let watches = match options.watching {
            Watching::Notified => Watches::new(Arc::clone(&inbox)),
            Watching::Polled => Watches::none(),
        };
        let mut watcher = FileWatcher {
            roots,
            inbox: Arc::clone(&inbox),
            watches,
            options,
            known: BTreeMap::new(),
            doubts: HashMap::default(),
            entered: BTreeSet::new(),
            targets: BTreeMap::new(),
            missing: BTreeSet::new(),
            seen: BTreeSet::new(),
            followed: Followed::default(),
        };
        std::thread::Builder::new()
            .name("source-file".into())
            // An error means that the receiver is gone, and with it the reason to watch.
            .spawn(move || watcher.run(&sender).unwrap_or(()))?;
        Ok(Self { inbox })
    }

    /// Reads every file again, as on SIGHUP.
    pub fn rescan(&self) {
        self.inbox.reread();
    }

    /// Tells how exactly these files of certificates and keys stand, each once and then whenever it changes, as
    /// [`Message::Certificates`]. They need not exist. Does not block.
    pub fn follow(&self, files: BTreeSet<PathBuf>) {
        self.inbox.follow(files);
    }

    /// The same for others to ask.
    pub fn follower(&self) -> Follower {
        Follower {
            inbox: Arc::clone(&self.inbox),
        }
    }
}

/// Asks a [`FileSource`] for files of certificates.
#[derive(Clone, Debug)]
pub struct Follower {
    inbox: Arc<Inbox>,
}

impl Follower {
    /// See [`FileSource::follow`].
    pub fn follow(&self, files: BTreeSet<PathBuf>) {
        self.inbox.follow(files);
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

/// Reads what the roots hold, once. A root that does not exist is unreadable.
///
/// # Errors
///
/// When a root is the empty path.
pub fn read_once(roots: &[PathBuf], max_file_bytes: u64) -> io::Result<Vec<Change>> {
    let roots: Vec<Root> = roots
        .iter()
        .map(|root| Root::new(root))
        .collect::<io::Result<_>>()?;
    let walk = Walk::over(&roots);
    let missing = walk
        .missing
        .iter()
        .map(|path| (path, "does not exist".to_owned()));
    let unlisted = walk
        .unlisted
        .iter()
        .map(|(path, reason)| (path, unlistable(reason)));
    let refused = missing.chain(unlisted).map(|(path, reason)| Change {
        file: name_of(&roots, path),
        content: Content::Unreadable(reason),
    });
    let files = walk.files.iter().map(|path| Change {
        file: name_of(&roots, path),
        content: read(path, max_file_bytes).content,
    });
    Ok(refused.chain(files).collect())
}

fn unlistable(reason: &str) -> String {
    format!("cannot be listed: {reason}")
}

/// The receiver is gone.
struct Unheard;

struct FileWatcher {
    options: Options,
    roots: Vec<Root>,
    inbox: Arc<Inbox>,
    watches: Watches,
    /// What was told of each file (or unlistable folder).
    known: BTreeMap<PathBuf, Known>,
    /// Files that looked like a moment of a change, and how often.
    doubts: HashMap<PathBuf, u8>,
    /// The folders whose files are resources, as of the last walk.
    entered: BTreeSet<PathBuf>,
    /// Files that links lead to, and the links, as of the last walk.
    targets: BTreeMap<PathBuf, Vec<PathBuf>>,
    /// The roots that were not there at the last walk.
    missing: BTreeSet<PathBuf>,
    /// The roots that were there once. What they held stays when they go (promise 5).
    seen: BTreeSet<PathBuf>,
    /// Files of certificates.
    followed: Followed,
}

/// What was told of a file.
struct Known {
    stamp: Option<Stamp>,
    read_at: SystemTime,
    fingerprint: u64,
    empty: bool,
}

impl FileWatcher {
    fn run(&mut self, sender: &Sender<Message>) -> Result<(), Unheard> {
        self.sweep(&Due::default(), sender)?;
        send(sender, Message::Synced)?;
        loop {
            let mut due = self.inbox.wait(self.period());
            if due.stop {
                return Ok(());
            }
            let unsettled = due.paths.iter().any(|path| self.unsettles(path));
            let follow = due.follow.take();
            let is_other = follow.is_some();
            if let Some(files) = follow {
                self.followed.replace(files);
            }
            let certificates = self.followed.concerned(&due.paths);
            let have_moved = self.followed.have_moved(&certificates);
            if is_other || have_moved || due.everything {
                self.followed.refresh();
            }
            let links = due.paths.iter().filter_map(|path| self.targets.get(path));
            let links: Vec<PathBuf> = links.flatten().cloned().collect();
            due.paths.extend(links);
            if due.everything || due.reread || unsettled || is_other || have_moved {
                self.sweep(&due, sender)?;
                self.sweep_followed(&due, &certificates, sender)?;
            } else {
                self.look(&due.paths, sender)?;
                self.look_at_followed(&certificates, sender)?;
            }
        }
    }

    fn period(&self) -> Duration {
        if self.watches.are_live() {
            self.options.rescan_every
        } else {
            self.options.poll_every
        }
    }

    /// Whether something at this path can change which files there are, or where links lead.
    fn unsettles(&self, path: &Path) -> bool {
        if self.is_resource(path) {
            return path.is_dir() || path.is_symlink();
        }
        let is_beside_root =
            |root: &Root| root.path().parent() == path.parent() && root.path().is_file();
        self.is_entered(path.parent())
            || self.is_entered(Some(path))
            || self
                .roots
                .iter()
                .any(|root| root.path().starts_with(path) || is_beside_root(root))
    }

    fn is_resource(&self, path: &Path) -> bool {
        let is_root =
            self.roots.iter().any(|root| root.path() == path) && !self.is_entered(Some(path));
        let is_listed = is_resource_name(path) && self.is_entered(path.parent());
        is_root || is_listed || self.known.contains_key(path)
    }

    fn is_entered(&self, folder: Option<&Path>) -> bool {
        folder.is_some_and(|folder| self.entered.contains(folder))
    }

    /// Reads the touched files again.
    fn look(&mut self, paths: &[PathBuf], sender: &Sender<Message>) -> Result<(), Unheard> {
        let resources: BTreeSet<&PathBuf> =
            paths.iter().filter(|path| self.is_resource(path)).collect();
        let changes = resources
            .into_iter()
            .filter_map(|path| self.reread(path))
            .collect();
        tell(sender, changes)
    }

    /// Looks for new and vanished files everywhere, and reads again what may have changed.
    fn sweep(&mut self, due: &Due, sender: &Sender<Message>) -> Result<(), Unheard> {
        let walk = self.walk();
        let mut changes = Vec::new();
        let touched: HashSet<&PathBuf> = due.paths.iter().collect();
        for (folder, reason) in &walk.unlisted {
            let content = Content::Unreadable(unlistable(reason));
            let reading = Reading {
                stamp: None,
                torn: false,
                content,
            };
            changes.extend(self.consider(folder, &reading));
        }
        for path in &walk.files {
            let is_touched = due.reread || touched.contains(path);
            if is_touched || (!self.inbox.is_waiting(path) && self.may_have_changed(path)) {
                changes.extend(self.reread(path));
            }
        }
        for path in self.lost(&walk).into_iter().chain(self.vanished(&walk)) {
            changes.extend(self.reread(&path));
        }
        changes.sort_by(|one, other| one.file.cmp(&other.file));
        self.entered = walk.entered;
        self.targets = walk.targets;
        tell(sender, changes)
    }

    /// Reads the touched ones of the followed files again, and all that may have changed.
    fn sweep_followed(
        &mut self,
        due: &Due,
        touched: &BTreeSet<PathBuf>,
        sender: &Sender<Message>,
    ) -> Result<(), Unheard> {
        let mut files = match due.reread {
            true => self.followed.all(),
            false => self.followed.changed(&self.inbox),
        };
        files.extend(touched.iter().cloned());
        self.look_at_followed(&files, sender)
    }

    fn look_at_followed(
        &mut self,
        files: &BTreeSet<PathBuf>,
        sender: &Sender<Message>,
    ) -> Result<(), Unheard> {
        let news: Vec<CertificateFile> = self.followed.reread(files, &self.inbox);
        if news.is_empty() {
            return Ok(());
        }
        send(sender, Message::Certificates(news))
    }

    fn walk(&mut self) -> Walk {
        let mut walk = Walk::over(&self.roots);
        for _ in 0..WATCH_ROUNDS {
            let mut folders = walk.folders.clone();
            self.followed.add_folders(&mut folders);
            if !self.watches.follow(&folders) {
                break;
            }
            // What was put into a folder before the watch on it is seen by walking once more.
            walk = Walk::over(&self.roots);
            self.followed.refresh();
        }
        for root in walk.missing.difference(&self.missing) {
            tracing::warn!(path = %name_of(&self.roots, root), "does not exist, waiting for it");
        }
        self.missing.clone_from(&walk.missing);
        let there = self.roots.iter().map(|root| root.path().to_path_buf());
        self.seen
            .extend(there.filter(|root| !walk.missing.contains(root)));
        walk
    }

    /// The roots that were there once and are not any more.
    fn lost(&self, walk: &Walk) -> Vec<PathBuf> {
        let lost = walk.missing.intersection(&self.seen);
        lost.filter(|root| !self.inbox.is_waiting(root))
            .cloned()
            .collect()
    }

    fn vanished(&self, walk: &Walk) -> Vec<PathBuf> {
        let is_gone = |path: &&PathBuf| !walk.files.contains(*path) && !walk.is_out_of_sight(path);
        let is_quiet = |path: &&PathBuf| !self.inbox.is_waiting(path);
        self.known
            .keys()
            .filter(is_gone)
            .filter(is_quiet)
            .cloned()
            .collect()
    }

    fn may_have_changed(&self, path: &Path) -> bool {
        let Some(known) = self.known.get(path) else {
            return true;
        };
        let stamp = std::fs::metadata(path)
            .ok()
            .map(|metadata| Stamp::of(&metadata));
        let is_same = stamp.is_some() && stamp == known.stamp;
        !is_same || !stamp.is_some_and(|stamp| stamp.is_trusted(known.read_at))
    }

    fn reread(&mut self, path: &Path) -> Option<Change> {
        let mut reading = read(path, self.options.max_file_bytes);
        // A folder with the name of a file, or a folder that could not be listed and now can.
        if path.is_dir() {
            reading.content = Content::Gone;
        } else if !matches!(reading.content, Content::Gone) {
            self.note_seen(path);
        } else if let Some(root) = self.lost_root_of(path) {
            if root != path {
                // Nobody knows whether the file is gone too. Its root tells.
                self.doubts.remove(path);
                return None;
            }
            reading.content = Content::Unreadable(LOST.to_owned());
        }
        self.consider(path, &reading)
    }

    fn note_seen(&mut self, path: &Path) {
        if self.roots.iter().any(|root| root.path() == path) {
            self.seen.insert(path.to_path_buf());
        }
    }

    /// The root that the path is in, when that is not there any more.
    fn lost_root_of(&self, path: &Path) -> Option<&Path> {
        let mut roots = self.seen.iter().filter(|root| path.starts_with(root));
        roots.find(|root| !root.exists()).map(PathBuf::as_path)
    }

    /// Tells what differs from what was told before, unless it looks like a moment of a change.
    fn consider(&mut self, path: &Path, reading: &Reading) -> Option<Change> {
        if self.is_doubtful(path, reading) {
            *self.doubts.entry(path.to_path_buf()).or_default() += 1;
            self.inbox.touch(path.to_path_buf(), Touch::Doubtful);
            return None;
        }
        self.doubts.remove(path);
        let fingerprint = reading.fingerprint();
        let known = Known {
            stamp: reading.stamp,
            read_at: SystemTime::now(),
            fingerprint,
            empty: is_empty(&reading.content),
        };
        let former = match &reading.content {
            Content::Gone => Some(self.known.remove(path)?),
            _ => self.known.insert(path.to_path_buf(), known),
        };
        if former.is_some_and(|former| former.fingerprint == fingerprint) {
            return None;
        }
        Some(Change {
            file: name_of(&self.roots, path),
            content: reading.content.clone(),
        })
    }

    fn is_doubtful(&self, path: &Path, reading: &Reading) -> bool {
        let known = self.known.get(path);
        let looks = self.doubts.get(path).copied().unwrap_or(0);
        let vanished = match &reading.content {
            Content::Gone => known.is_some(),
            Content::Unreadable(reason) if reason == LOST => {
                known.is_none_or(|known| known.fingerprint != reading.fingerprint())
            }
            content => is_empty(content) && known.is_some_and(|known| !known.empty),
        };
        let torn = reading.torn && known.is_some();
        (vanished && looks < VANISHED_LOOKS) || (torn && looks < TORN_LOOKS)
    }
}

fn is_empty(content: &Content) -> bool {
    matches!(content, Content::Text(text) if text.trim().is_empty())
}

fn tell(sender: &Sender<Message>, changes: Vec<Change>) -> Result<(), Unheard> {
    if changes.is_empty() {
        return Ok(());
    }
    send(sender, Message::Changes(changes))
}

fn send(sender: &Sender<Message>, message: Message) -> Result<(), Unheard> {
    sender.blocking_send(message).map_err(|_| Unheard)
}
