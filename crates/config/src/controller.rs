//! The loop between sources and the data plane.

use crate::{CertificateFile, Change, Configuration, Message, Published, QUEUE};
use model::{Diagnostic, Severity};
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

/// Asks a source to tell how these files of certificates stand, now and whenever they change, as
/// [`Message::Certificates`]. Files that it was asked for before and are not among them are of no interest
/// any more. Must not block.
pub type Follow = Box<dyn Fn(&BTreeSet<PathBuf>) + Send>;

/// The newest configuration. `None` until all sources have told everything once.
pub type Publications = watch::Receiver<Option<Arc<Published>>>;

/// Starts a thread that compiles what sources tell and publishes it.
///
/// Nothing is published until each of `sources` has said [`Message::Synced`], and `follow`'s has told of the
/// files of certificates. Absent `follow`: there are none. The thread ends when all senders are dropped.
///
/// # Errors
///
/// When the thread cannot be started.
pub fn start(
    configuration: Configuration,
    sources: usize,
    follow: Option<Follow>,
    receiver: Receiver<Message>,
) -> io::Result<Publications> {
    let (publish, publications) = watch::channel(None);
    let controller = Controller {
        configuration,
        awaited: sources,
        publish,
        told: HashSet::new(),
        follow,
        followed: BTreeSet::new(),
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
    publish: watch::Sender<Option<Arc<Published>>>,
    /// What has been logged, so that a reload does not repeat it.
    told: HashSet<String>,
    /// Has files of certificates read.
    follow: Option<Follow>,
    /// What it was asked for.
    followed: BTreeSet<PathBuf>,
    /// Whether nothing was published yet.
    starting: bool,
    /// Whether something is not published yet for want of files.
    is_held_back: bool,
}

/// What sources told.
#[derive(Default)]
struct News {
    changes: Vec<Change>,
    files: Vec<CertificateFile>,
}

/// What ends a wait for sources.
enum Wake {
    Told(Message),
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
                Wake::Due => News::default(),
                Wake::Over => return,
            };
            // A bug must cost the change that met it, and not the ability to change.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.take(news, received_at)));
            if outcome.is_err() {
                tracing::error!(
                    "a change of the configuration could not be compiled, the former one stays"
                );
            }
        }
    }

    async fn wait(&self, receiver: &mut Receiver<Message>) -> Wake {
        let told = tokio::time::timeout(self.patience(), receiver.recv()).await;
        match told {
            Ok(Some(message)) => Wake::Told(message),
            Ok(None) => Wake::Over,
            Err(_) => Wake::Due,
        }
    }

    /// How long nothing need be done unless a source tells something.
    fn patience(&self) -> Duration {
        let now = SystemTime::now();
        let held_until = self.configuration.waits_until(now).unwrap_or(now);
        let held_until = self.is_held_back.then_some(held_until);
        let due = [held_until, self.configuration.due()].into_iter().flatten();
        let left = due.map(|due| due.duration_since(now).unwrap_or_default());
        let left = left.min().unwrap_or(LOOK_EVERY);
        left.clamp(SHORTEST_WAIT, LOOK_EVERY)
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
            Message::Synced => self.awaited = self.awaited.saturating_sub(1),
        }
    }

    fn take(&mut self, news: News, received_at: SystemTime) {
        self.configuration.apply(news.changes);
        self.configuration.apply_files(news.files);
        if self.awaited > 0 {
            return;
        }
        self.configuration.prepare(received_at);
        self.follow_wanted();
        let waits = self.configuration.waits_until(received_at).is_some();
        self.is_held_back = waits && self.follow.is_some();
        if self.is_held_back {
            return;
        }
        let Some(mut published) = self.configuration.compile(received_at) else {
            return;
        };
        self.log(&published.diagnostics);
        self.publish.send_modify(|newest| {
            if let Some(earlier) = newest {
                published.continue_from(earlier);
            }
            *newest = Some(Arc::new(published));
        });
        self.configuration.remember();
        if std::mem::take(&mut self.starting) {
            self.configuration.forget_others();
        }
    }

    fn follow_wanted(&mut self) {
        let wanted = self.configuration.wanted_files();
        if let Some(follow) = &self.follow
            && *wanted != self.followed
        {
            follow(wanted);
            self.followed.clone_from(wanted);
        }
    }

    fn log(&mut self, diagnostics: &[Diagnostic]) {
        let mut told = HashSet::with_capacity(diagnostics.len());
        for diagnostic in diagnostics {
            // Without its line: what merely moved is not new.
            let text = match &diagnostic.position {
                Some(position) if diagnostic.resource.is_none() => {
                    format!("{}: {diagnostic}", position.file)
                }
                _ => diagnostic.to_string(),
            };
            if !self.told.contains(&text) {
                log(diagnostic, &text);
            }
            told.insert(text);
        }
        self.told = told;
    }
}

fn log(diagnostic: &Diagnostic, text: &str) {
    let place = diagnostic
        .position
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let help = diagnostic.help.as_deref().unwrap_or_default();
    match diagnostic.severity {
        Severity::Error => tracing::error!(code = diagnostic.code, %place, help, "{text}"),
        Severity::Warning => tracing::warn!(code = diagnostic.code, %place, help, "{text}"),
    }
}
