//! What the watcher noticed and nobody has looked at yet.

use ahash::HashMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Beyond this many touched paths, everything is looked at instead.
const MAX_PATHS: usize = 4096;

/// A path that is touched again and again is looked at after this time at the latest.
const PATIENCE: Duration = Duration::from_millis(500);

/// A path that is being written is closed soon, or its writer hangs.
const PATIENCE_WITH_WRITERS: Duration = Duration::from_secs(3);

/// What happened to a path, which decides how soon it is worth a look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Touch {
    /// Closed after writing, renamed, removed, or its permissions changed: complete.
    Settled,
    /// Created: a link, which is complete, or a file that will be written now.
    Created,
    /// Written to and not closed yet: half-written.
    Writing,
    /// Looked at already, but what was seen may be a moment of a change: empty, gone, half-written.
    Doubtful,
}

impl Touch {
    fn delay(self) -> Duration {
        Duration::from_millis(match self {
            Self::Settled => 5,
            Self::Doubtful => 100,
            Self::Created => 250,
            Self::Writing => 2000,
        })
    }

    fn patience(self) -> Duration {
        if self == Self::Writing {
            PATIENCE_WITH_WRITERS
        } else {
            PATIENCE
        }
    }
}

/// What is to be looked at now.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Due {
    /// These paths.
    pub(crate) paths: Vec<PathBuf>,
    /// All roots.
    pub(crate) everything: bool,
    /// All files, even where the file system says that nothing changed.
    pub(crate) reread: bool,
    /// Exactly these files of certificates are of interest now. Absent: the same as before.
    pub(crate) follow: Option<BTreeSet<PathBuf>>,
    /// Nobody needs the answer any more.
    pub(crate) stop: bool,
}

/// Collects what the watcher noticed until it is worth a look.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    touched: HashMap<PathBuf, Waiting>,
    everything: Option<Waiting>,
    reread: bool,
    follow: Option<BTreeSet<PathBuf>>,
    stop: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    due: Instant,
}

impl Waiting {
    fn touched(former: Option<Self>, touch: Touch, now: Instant) -> Self {
        let since = former.map_or(now, |waiting| waiting.since);
        Self {
            since,
            due: (now + touch.delay()).min(since + touch.patience()),
        }
    }
}

impl Inbox {
    /// Notes that something happened to `path`.
    pub(crate) fn touch(&self, path: PathBuf, touch: Touch) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.touched.len() >= MAX_PATHS {
            state.touched.clear();
            state.everything = Some(Waiting::touched(state.everything, touch, now));
        } else {
            let former = state.touched.get(&path).copied();
            state
                .touched
                .insert(path, Waiting::touched(former, touch, now));
        }
        self.changed.notify_one();
    }

    /// Notes that anything may have happened.
    pub(crate) fn touch_everything(&self) {
        let mut state = self.lock();
        state.everything = Some(Waiting::touched(
            state.everything,
            Touch::Settled,
            Instant::now(),
        ));
        self.changed.notify_one();
    }

    /// Asks to read every file again.
    pub(crate) fn reread(&self) {
        let mut state = self.lock();
        state.reread = true;
        self.changed.notify_one();
    }

    /// Asks for exactly these files of certificates.
    pub(crate) fn follow(&self, files: BTreeSet<PathBuf>) {
        let mut state = self.lock();
        state.follow = Some(files);
        self.changed.notify_one();
    }

    /// Ends the watching.
    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_one();
    }

    /// Whether a look at `path` is already planned for later.
    pub(crate) fn is_waiting(&self, path: &std::path::Path) -> bool {
        self.lock().touched.contains_key(path)
    }

    /// Waits until something is due, or until `period` has passed, which makes everything due.
    pub(crate) fn wait(&self, period: Duration) -> Due {
        let end = Instant::now() + period;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let mut due = state.take_due(now);
            due.everything |= now >= end;
            if due != Due::default() {
                return due;
            }
            let next = state.next_due().map_or(end, |next| next.min(end));
            let timeout = next.saturating_duration_since(now);
            let waited = self.changed.wait_timeout(state, timeout);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_due(&mut self, now: Instant) -> Due {
        let everything = self
            .everything
            .take_if(|waiting| waiting.due <= now)
            .is_some();
        let due = self.touched.extract_if(|_, waiting| waiting.due <= now);
        let paths = due.map(|(path, _)| path).collect();
        let reread = std::mem::take(&mut self.reread);
        Due {
            paths,
            everything,
            reread,
            follow: self.follow.take(),
            stop: self.stop,
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let touched = self.touched.values().map(|waiting| waiting.due);
        touched
            .chain(self.everything.map(|waiting| waiting.due))
            .min()
    }
}
