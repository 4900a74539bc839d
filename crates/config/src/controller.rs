//! The loop between sources and the data plane.

use crate::{
    CertificateFile, Change, Configuration, Identity, Mark, Message, Published, QUEUE,
    ResolvedName, WantedObjects,
};
use model::{Diagnostic, Hostname, Severity};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

/// How often certificates are looked at although nothing was told, at least: the clock may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);

/// So that what fails at every look is not looked at all the time.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// Diagnostics that are logged at once, errors first: one object can have thousands.
const MOST_LOGGED: usize = 200;

/// Asks a source to tell how these files of certificates stand, now and whenever they change, as
/// [`Message::Certificates`]. Files that it was asked for before and are not among them are of no interest
/// any more. Must not block.
pub type Follow = Box<dyn Fn(&BTreeSet<PathBuf>) + Send>;

/// Asks a source to tell what these names stand for, now and whenever it changes, as [`Message::Names`]. Names
/// that it was asked for before and are not among them are of no interest any more; of those that come again it
/// is to tell again. Must not block.
pub type Resolve = Box<dyn Fn(&BTreeSet<Hostname>) + Send>;

/// Asks a source to follow these objects of an API server beside those that are for everybody, and to tell as
/// [`Message::Objects`] when it has told all of this wish, which has a number. What was wanted before and is not any more is
/// to be gone only then. Must not block.
pub type FollowObjects = Box<dyn Fn(u64, &WantedObjects) + Send>;

/// Who is asked for what the configuration names. Absent: nobody tells, and nothing is waited for.
#[derive(Default)]
pub struct Followers {
    /// Files of certificates. Where nobody tells of these, the identity is not waited for either.
    pub files: Option<Follow>,
    /// Names of endpoints.
    pub names: Option<Resolve>,
    /// Objects of an API server.
    pub objects: Option<FollowObjects>,
}

/// The newest configuration. `None` until all sources have told everything once. Closed when no source is left, and what is
/// in force is on disk.
pub type Publications = watch::Receiver<Option<Arc<Published>>>;

/// Starts a thread that compiles what sources tell and publishes it.
///
/// Nothing is published until each of `sources` has said [`Message::Synced`], and `followers` have told of the
/// files of certificates, of names and of objects; these only so long; nor while there is nothing and a source is
/// [blind](Message::Blind). The thread ends when all senders are dropped.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(
    configuration: Configuration,
    sources: usize,
    followers: Followers,
    receiver: Receiver<Message>,
) -> io::Result<Publications> {
    let (publish, publications) = watch::channel(None);
    let controller = Controller {
        configuration,
        awaited: sources,
        is_blind: false,
        publish,
        told: HashSet::new(),
        followers,
        followed: BTreeSet::new(),
        resolved: BTreeSet::new(),
        wish: 0,
        marks: Vec::new(),
        starting: true,
        is_held_back: false,
    };
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    std::thread::Builder::new()
        .name("config".into())
        .spawn(move || controller.run(receiver, &clock))?;
    Ok(publications)
}

struct Controller {
    configuration: Configuration,
    /// Sources that have not told everything yet.
    awaited: usize,
    /// Whether one of them can tell nothing for now.
    is_blind: bool,
    publish: watch::Sender<Option<Arc<Published>>>,
    /// What has been logged, so that a reload does not repeat it.
    told: HashSet<String>,
    followers: Followers,
    /// The files that were asked for.
    followed: BTreeSet<PathBuf>,
    /// The names that were asked for.
    resolved: BTreeSet<Hostname>,
    /// The wish for objects that was asked for. 0: none.
    wish: u64,
    /// What is to be told when what was told before them is judged.
    marks: Vec<Mark>,
    /// Whether nothing was published yet.
    starting: bool,
    /// Whether something is not published yet for want of files or answers.
    is_held_back: bool,
}

/// What sources told.
#[derive(Default)]
struct News {
    changes: Vec<Change>,
    files: Vec<CertificateFile>,
    identity: Vec<Identity>,
    names: Vec<ResolvedName>,
    /// Wishes.
    objects: Vec<u64>,
}

/// What ends a wait for sources.
enum Wake {
    Told(Message),
    /// Nobody told anything meanwhile, and something is still to be written to disk.
    Behind,
    /// It is time to look at the certificates.
    Due,
    /// All sources are gone.
    Over,
}

impl Controller {
    fn run(mut self, mut receiver: Receiver<Message>, clock: &Runtime) {
        loop {
            let wake = clock.block_on(self.wait(&mut receiver));
            let received_at = SystemTime::now();
            let news = match wake {
                Wake::Told(message) => self.gather(message, &mut receiver),
                Wake::Behind => {
                    self.configuration.remember();
                    continue;
                }
                Wake::Due => News::default(),
                Wake::Over => return self.configuration.remember_all(),
            };
            // A bug must cost the change that met it, and not the ability to change.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.take(news, received_at)));
            if outcome.is_err() {
                // What was told is not judged, and never will be.
                self.marks.clear();
                self.configuration.give_up();
                tracing::error!(
                    "a change of the configuration could not be compiled, the former one stays"
                );
            }
        }
    }

    /// Whether something is to be written to disk before anything else is due.
    fn is_behind(&self) -> bool {
        // What is held back is not to wait for the disk, too.
        !self.starting && !self.is_held_back && self.configuration.is_behind()
    }

    async fn wait(&self, receiver: &mut Receiver<Message>) -> Wake {
        let told = tokio::time::timeout(self.patience(), receiver.recv()).await;
        match told {
            Ok(Some(message)) => Wake::Told(message),
            Ok(None) => Wake::Over,
            Err(_) if self.is_behind() => Wake::Behind,
            Err(_) => Wake::Due,
        }
    }

    /// How long nothing need be done unless a source tells something.
    fn patience(&self) -> Duration {
        let now = SystemTime::now();
        let held_until = self.held_until(now).unwrap_or(now);
        let held_until = self.is_held_back.then_some(held_until);
        if self.is_behind() {
            return SHORTEST_WAIT;
        }
        let due = [held_until, self.configuration.due()].into_iter().flatten();
        let left = due.map(|due| due.duration_since(now).unwrap_or_default());
        let left = left.min().unwrap_or(LOOK_EVERY);
        left.clamp(SHORTEST_WAIT, LOOK_EVERY)
    }

    /// Until when nothing is published although there is something. Absent: not any more.
    fn held_until(&self, now: SystemTime) -> Option<SystemTime> {
        let Followers {
            files,
            names,
            objects,
        } = &self.followers;
        let files = files.as_ref();
        let files = files.and_then(|_| self.configuration.waits_for_files_until(now));
        let names = names.as_ref();
        let names = names.and_then(|_| self.configuration.waits_for_names_until(now));
        let objects = objects.as_ref();
        let objects = objects.and_then(|_| self.configuration.waits_for_objects_until(now));
        files.max(names).max(objects)
    }

    /// A message and all that wait behind it, so that a burst is compiled once.
    fn gather(&mut self, first: Message, receiver: &mut Receiver<Message>) -> News {
        let mut news = News::default();
        self.note(first, &mut news);
        for _ in 0..QUEUE {
            let Ok(message) = receiver.try_recv() else {
                break;
            };
            self.note(message, &mut news);
        }
        news
    }

    fn note(&mut self, message: Message, news: &mut News) {
        match message {
            Message::Changes(more) => news.changes.extend(more),
            Message::Certificates(more) => news.files.extend(more),
            Message::Identity(more) => news.identity.push(more),
            Message::Names(more) => news.names.extend(more),
            Message::Objects(number) => news.objects.push(number),
            Message::Synced => self.awaited = self.awaited.saturating_sub(1),
            Message::Blind => self.is_blind = true,
            Message::Sighted => self.is_blind = false,
            Message::Mark(mark) => self.marks.push(mark),
        }
    }

    /// Whether there is nothing to serve, and a source that cannot see what there is.
    fn waits_for_sight(&self) -> bool {
        self.starting && self.is_blind && self.configuration.is_empty()
    }

    fn take(&mut self, news: News, received_at: SystemTime) {
        self.configuration.apply(news.changes);
        self.configuration.apply_files(news.files);
        for identity in news.identity {
            self.configuration.apply_identity(identity);
        }
        self.configuration.apply_names(news.names);
        for number in news.objects {
            self.configuration.apply_objects(number);
        }
        if self.awaited > 0 {
            return;
        }
        self.configuration.prepare(received_at);
        self.follow_wanted();
        if self.waits_for_sight() {
            // Else nobody would know what it waits for.
            self.log(&self.configuration.diagnostics_of_files());
            return;
        }
        self.is_held_back = self.held_until(received_at).is_some();
        if self.is_held_back {
            return;
        }
        if let Some(published) = self.configuration.compile(received_at) {
            self.publish(published);
        }
        for mark in self.marks.drain(..) {
            mark.reached(self.configuration.publications());
        }
        self.configuration.remember();
    }

    fn publish(&mut self, mut published: Published) {
        self.log(&published.diagnostics);
        self.publish.send_modify(|newest| {
            if let Some(earlier) = newest {
                published.continue_from(earlier);
            }
            *newest = Some(Arc::new(published));
        });
        if std::mem::take(&mut self.starting) {
            self.configuration.forget_others();
        }
    }

    fn follow_wanted(&mut self) {
        let wanted = self.configuration.wanted_files();
        if let Some(follow) = &self.followers.files
            && *wanted != self.followed
        {
            follow(wanted);
            self.followed.clone_from(wanted);
        }
        let wanted = self.configuration.wanted_names();
        if let Some(resolve) = &self.followers.names
            && *wanted != self.resolved
        {
            resolve(wanted);
            self.resolved.clone_from(wanted);
        }
        let (number, wanted) = self.configuration.wanted_objects();
        if let Some(follow) = &self.followers.objects
            && number != self.wish
        {
            follow(number, wanted);
            self.wish = number;
        }
    }

    fn log(&mut self, diagnostics: &[Diagnostic]) {
        let texts: Vec<_> = diagnostics.iter().map(text).collect();
        let all = diagnostics.iter().zip(&texts);
        let mut news: Vec<_> = all.filter(|(_, text)| !self.told.contains(*text)).collect();
        news.sort_by_key(|(diagnostic, _)| diagnostic.severity != Severity::Error);
        for (diagnostic, text) in news.iter().take(MOST_LOGGED) {
            log(diagnostic, text);
        }
        let left = news.len().saturating_sub(MOST_LOGGED);
        if left > 0 {
            tracing::warn!(
                left,
                "more is wrong, all of which is on the admin page /diagnostics"
            );
        }
        self.told = texts.into_iter().collect();
    }
}

/// A diagnostic without its line: what merely moved is not new.
fn text(diagnostic: &Diagnostic) -> String {
    match &diagnostic.position {
        Some(position) if diagnostic.resource.is_none() => {
            format!("{}: {diagnostic}", position.file)
        }
        _ => diagnostic.to_string(),
    }
}

fn log(diagnostic: &Diagnostic, text: &str) {
    let place = diagnostic.position.as_ref().map(tracing::field::display);
    let help = diagnostic.help.as_deref();
    match diagnostic.severity {
        Severity::Error => tracing::error!(code = diagnostic.code, place, help, "{text}"),
        Severity::Warning => tracing::warn!(code = diagnostic.code, place, help, "{text}"),
    }
}
