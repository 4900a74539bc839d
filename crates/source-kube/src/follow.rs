//! Objects of one kind, listed, watched, and told of.

use crate::connect::Connection;
use crate::known::{Known, fingerprint};
use crate::raw_object::RawObject;
use crate::refusal::reason_of;
use crate::scope::{Names, Scope};
use crate::status::seen::{Seen, Tap};
use crate::timing::Timing;
use crate::trim::trim;
use backon::ExponentialBackoff;
use config::{Change, Content, Message};
use kube::api::Api;
use kube::core::Status;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use model::json_as_yaml;
use serde_json::Value;
use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::WeakSender;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt};

/// What is to be done where the API server has none of Istio's kinds.
const NOT_DEFINED: &str = "the kind is not defined there: packaging/manifests/crds.yaml does that, and so do Istio's CRDs";

/// Failures in a row that are not told of: an API server that is restarted is back soon.
const UNTOLD_FAILURES: u32 = 2;

/// Objects that are told at once while not all of them were told yet: nobody has to hold all of their texts.
const PIECE: usize = 256;

/// Nobody listens any more.
pub(crate) struct Over;

/// What who follows something has told until now.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Progress {
    /// Nothing yet.
    Begun,
    /// Why it could not be read so far.
    Troubled,
    /// Why it must not be read, or that there is no such kind.
    Refused,
    /// What there is.
    Listed,
}

/// Follows objects of one kind.
pub(crate) struct Follower {
    scope: Scope,
    timing: Timing,
    /// Who listens decides how long this runs.
    sender: WeakSender<Message>,
    /// What was told until now.
    progress: watch::Sender<Progress>,
    pauses: ExponentialBackoff,
    known: Known,
    /// Who wants to know what was seen, once it is judged.
    tap: Option<Tap>,
    /// Whether all that there is was told once.
    was_listed: bool,
    /// In a row, and when the last of all was.
    failures: u32,
    failed: Option<Instant>,
    /// Which of the kind's versions is asked for.
    version: usize,
    /// Whether the API server does not send what there is as the beginning of a watch.
    lists: bool,
}

/// What there is, while it is listed.
#[derive(Default)]
struct Listing {
    there: BTreeSet<Arc<str>>,
    /// Of these, what is not told yet.
    news: Vec<News>,
}

/// What an object is now.
struct News {
    change: Change,
    /// Of its text.
    fingerprint: u64,
}

/// What has become of a watch.
enum Next {
    Event(Box<Event<RawObject>>),
    Failed(watcher::Error),
    /// Nothing for longer than anybody would wait.
    Silent,
}

impl Follower {
    /// Tells what it knows in `known`, and in what is returned how much it has told.
    pub(crate) fn new(
        scope: Scope,
        timing: Timing,
        sender: WeakSender<Message>,
        known: Known,
        seen: Option<&Seen>,
    ) -> (Self, watch::Receiver<Progress>) {
        let (progress, receiver) = watch::channel(Progress::Begun);
        let tap = Tap::new(seen, scope.kind, scope.namespace.as_deref());
        let follower = Self {
            scope,
            timing,
            sender,
            progress,
            pauses: timing.pauses(),
            known,
            tap,
            was_listed: false,
            failures: 0,
            failed: None,
            version: 0,
            lists: false,
        };
        (follower, receiver)
    }

    /// Runs until nobody listens any more.
    pub(crate) async fn run(mut self, mut connection: watch::Receiver<Connection>) {
        let Ok(client) = self.client(&mut connection).await else {
            return;
        };
        while self.follow(&client).await.is_ok() {}
    }

    /// A client, as soon as it is known how to reach the API server.
    async fn client(
        &mut self,
        connection: &mut watch::Receiver<Connection>,
    ) -> Result<Client, Over> {
        loop {
            let now = connection.borrow_and_update().clone();
            match now {
                Connection::Made(client) => return Ok(client),
                Connection::Failed(reason) => self.tell(reason, Progress::Troubled).await?,
                Connection::Begun => {}
            }
            connection.changed().await.map_err(|_| Over)?;
        }
    }

    /// Follows the kind in one version and by one way of listing. Returns when it is to begin anew.
    async fn follow(&mut self, client: &Client) -> Result<(), Over> {
        let mut events = pin!(watcher::watcher(self.api(client), self.config()));
        let mut listing = Listing::default();
        loop {
            match self.next(events.as_mut()).await {
                Next::Event(event) => self.take(*event, &mut listing).await?,
                Next::Silent if self.is_listed() => self.recover().await?,
                Next::Silent if self.is_told() => return Ok(()),
                Next::Silent => {
                    let reason = "the API server does not answer".to_owned();
                    self.tell(reason, Progress::Troubled).await?;
                }
                Next::Failed(error) => {
                    if self.turns_elsewhere(&error) {
                        return Ok(());
                    }
                    self.note(&error).await?;
                    let pause = self.pauses.next().unwrap_or(self.timing.longest_pause);
                    tokio::time::sleep(pause).await;
                    if self.restarts(&error) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn api(&self, client: &Client) -> Api<RawObject> {
        let resource = self.scope.kind.resource(self.version());
        match &self.scope.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }

    fn version(&self) -> &'static str {
        let versions = self.scope.kind.versions;
        versions[self.version % versions.len()]
    }

    fn config(&self) -> watcher::Config {
        let seconds = self.timing.watch.as_secs().try_into().unwrap_or(u32::MAX);
        let config = watcher::Config::default().timeout(seconds);
        let config = match &self.scope.names {
            Names::One(name) => config.fields(&format!("metadata.name={name}")),
            Names::All | Names::Among(_) => config,
        };
        match self.lists {
            true => config,
            false => config.streaming_lists(),
        }
    }

    fn is_listed(&self) -> bool {
        self.known.state().is_listed
    }

    fn is_told(&self) -> bool {
        self.known.state().told.is_some()
    }

    /// What the watch says next. While something is awaited, that is not for ever.
    async fn next(
        &self,
        mut events: Pin<&mut impl Stream<Item = watcher::Result<Event<RawObject>>>>,
    ) -> Next {
        let patience = self.patience();
        let silence = async {
            match patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            next = events.next() => match next {
                Some(Ok(event)) => Next::Event(Box::new(event)),
                Some(Err(error)) => Next::Failed(error),
                None => Next::Silent,
            },
            () = silence => Next::Silent,
        }
    }

    /// How long nothing is no answer. Absent: for as long as nothing happens.
    fn patience(&self) -> Option<Duration> {
        match (self.is_listed(), self.is_told()) {
            (true, false) => None,
            (false, true) => Some(self.timing.watch),
            (true, true) | (false, false) => Some(self.timing.patience),
        }
    }

    async fn take(&mut self, event: Event<RawObject>, listing: &mut Listing) -> Result<(), Over> {
        match event {
            Event::Init => {
                *listing = Listing::default();
                self.known.state().is_listed = false;
                self.tap.iter_mut().for_each(Tap::begin);
            }
            Event::InitApply(object) => {
                if let Some((file, news)) = self.seen(object) {
                    listing.there.insert(file);
                    listing.news.extend(news);
                }
                // Later all that is different takes effect at once.
                if !self.was_listed && listing.news.len() >= PIECE {
                    let news = std::mem::take(&mut listing.news);
                    let changes = self.noted(news);
                    return self.send(Message::Changes(changes)).await;
                }
            }
            Event::InitDone => return self.replace(std::mem::take(listing)).await,
            Event::Apply(object) => {
                if let Some((_, news)) = self.seen(object) {
                    let changes = self.noted(news);
                    return self.change(changes).await;
                }
            }
            Event::Delete(object) if self.scope.has(&object.name_any()) => {
                let file = self.file(&object);
                self.known.state().remove(&file);
                if let Some(tap) = &mut self.tap {
                    tap.loses(&file, Some(&object));
                }
                return self.change(vec![gone(file)]).await;
            }
            Event::Delete(_) => {}
        }
        Ok(())
    }

    /// What an object is told as, and what is to be told of it: nothing where what counts of it is as it was told. Absent:
    /// it is not followed.
    fn seen(&mut self, object: RawObject) -> Option<(Arc<str>, Option<News>)> {
        if !self.scope.has(&object.name_any()) {
            return None;
        }
        let file = self.file(&object);
        let version = self.version();
        if let Some(tap) = &mut self.tap {
            tap.sees(&file, &object, version);
        }
        let text = self.text(&object);
        let fingerprint = match &text {
            Ok(text) => fingerprint(text),
            Err(reason) => fingerprint(reason),
        };
        let is_news = self.known.state().is_news(&file, fingerprint);
        let news = is_news.then(|| News {
            change: Change {
                file: file.clone(),
                content: text.map_or_else(Content::Unreadable, |text| Content::Text(text.into())),
            },
            fingerprint,
        });
        Some((file, news))
    }

    /// What is told now. What is not told, since a list is begun anew, is not known either.
    fn noted(&self, news: impl IntoIterator<Item = News>) -> Vec<Change> {
        let mut known = self.known.state();
        let noted = news.into_iter().map(
            |News {
                 change,
                 fingerprint,
             }| {
                known.note(&change.file, fingerprint);
                change
            },
        );
        noted.collect()
    }

    /// All that there is takes the place of what there was, at once.
    async fn replace(&mut self, listing: Listing) -> Result<(), Over> {
        let lost = {
            let mut known = self.known.state();
            known.is_listed = true;
            known.take_lost(&listing.there)
        };
        if let Some(tap) = &mut self.tap {
            lost.iter().for_each(|file| tap.loses(file, None));
            tap.listed();
        }
        self.was_listed = true;
        let mut changes: Vec<_> = lost.into_iter().map(gone).collect();
        changes.extend(self.noted(listing.news));
        self.change(changes).await?;
        self.advance(Progress::Listed);
        Ok(())
    }

    /// Sends what changed, which also says that the kind can be followed.
    async fn change(&mut self, mut changes: Vec<Change>) -> Result<(), Over> {
        self.failures = 0;
        self.pauses = self.timing.pauses();
        let told = self.known.state().told.take();
        if told.is_some() {
            tracing::info!(kind = self.scope.kind.name, "objects are followed again");
            let folder = self.scope.folder();
            // That of a single object is the object's own.
            if !changes.iter().any(|change| change.file == folder) {
                changes.push(gone(folder));
            }
        }
        if !changes.is_empty() {
            self.send(Message::Changes(changes)).await?;
        }
        match self.tap.as_mut().and_then(Tap::mark) {
            Some(mark) => self.send(mark).await,
            None => Ok(()),
        }
    }

    async fn recover(&mut self) -> Result<(), Over> {
        self.change(Vec::new()).await
    }

    async fn note(&mut self, error: &watcher::Error) -> Result<(), Over> {
        if is_expired(error) {
            return Ok(());
        }
        // A watch that went on for a while is no failure in a row with the one before it.
        let lasted = self
            .failed
            .is_none_or(|before| before.elapsed() > self.timing.longest_pause);
        if lasted && matches!(error, watcher::Error::WatchFailed(_)) {
            self.failures = 0;
            self.pauses = self.timing.pauses();
        }
        self.failed = Some(Instant::now());
        self.failures = self.failures.saturating_add(1);
        let reason = format!("{}: {}", self.what(), self.reason(error));
        let progress = match is_refusal(error) {
            true => Progress::Refused,
            false => Progress::Troubled,
        };
        if self.failures <= UNTOLD_FAILURES && progress == Progress::Troubled {
            tracing::debug!(kind = self.scope.kind.name, "{reason}");
            return Ok(());
        }
        self.tell(reason, progress).await
    }

    /// Says how the last attempt went, also where it went as the one before. What was listed once stays listed.
    fn advance(&self, to: Progress) {
        self.progress.send_modify(|progress| {
            if *progress != Progress::Listed {
                *progress = to;
            }
        });
    }

    /// Tells that the kind cannot be followed, once for as long as that is so for the same reason.
    async fn tell(&mut self, reason: String, progress: Progress) -> Result<(), Over> {
        let is_news = {
            let mut known = self.known.state();
            if self.scope.is_single() {
                // This stands in the place of its text.
                known.forget_texts();
            }
            known.told.replace(reason.clone()).as_ref() != Some(&reason)
        };
        if is_news {
            let unreadable = Change {
                file: self.scope.folder(),
                content: Content::Unreadable(reason),
            };
            self.send(Message::Changes(vec![unreadable])).await?;
        }
        self.advance(progress);
        Ok(())
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        let sender = self.sender.upgrade().ok_or(Over)?;
        let sent = sender.send(message).await;
        sent.map_err(|_| Over)
    }

    /// Whether another way is to be tried at once: one that older API servers have.
    fn turns_elsewhere(&mut self, error: &watcher::Error) -> bool {
        match code(error) {
            Some(400 | 422) => !std::mem::replace(&mut self.lists, true),
            Some(404) => {
                self.version += 1;
                !self.version.is_multiple_of(self.scope.kind.versions.len())
            }
            _ => false,
        }
    }

    /// Whether the next try is one from the beginning: the kind may come in any of its versions; the text of a single object
    /// is to be told again where it was told why it cannot be read; and an API server that was away for long may have been
    /// put back to a former state, from which a watch tells nothing until it has caught up with what was seen. After
    /// a short time it goes on where it was: all of thousands would list everything at once.
    fn restarts(&self, error: &watcher::Error) -> bool {
        let is_away =
            matches!(error, watcher::Error::WatchStartFailed(_)) && status(error).is_none();
        let is_told = self.is_told();
        code(error) == Some(404) || is_told && (is_away || self.scope.is_single())
    }

    fn what(&self) -> String {
        let Scope { kind, names, .. } = &self.scope;
        let group = match kind.group {
            "" => "v1",
            group => group,
        };
        match names {
            Names::One(name) => format!("{} {name} cannot be followed", kind.name),
            Names::All | Names::Among(_) => {
                format!("{} of {group} cannot be followed", kind.name)
            }
        }
    }

    fn reason(&self, error: &watcher::Error) -> String {
        let reason = reason_of(status(error), error);
        match code(error) {
            Some(404) if self.scope.kind.group.ends_with(".istio.io") => {
                format!("{reason} ({NOT_DEFINED})")
            }
            _ => reason,
        }
    }

    fn file(&self, object: &RawObject) -> Arc<str> {
        let namespace = object.namespace();
        self.scope.file(namespace.as_deref(), &object.name_any())
    }

    /// What counts of an object, or why it cannot be read.
    fn text(&self, object: &RawObject) -> Result<String, String> {
        let kind = &self.scope.kind;
        let fields = object.fields();
        let mut fields = fields.map_err(|error| format!("the object cannot be read: {error}"))?;
        // In lists objects do not say what they are.
        let version = kind.resource(self.version()).api_version;
        fields.insert("apiVersion".to_owned(), version.into());
        fields.insert("kind".to_owned(), kind.name.into());
        let mut value = Value::Object(fields);
        trim(kind, &mut value);
        Ok(json_as_yaml(value.to_string()))
    }
}

pub(crate) fn gone(file: Arc<str>) -> Change {
    Change {
        file,
        content: Content::Gone,
    }
}

/// What the API server answered. Absent: it did not.
fn status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

fn code(error: &watcher::Error) -> Option<u16> {
    status(error).map(|status| status.code)
}

/// Whether only what was seen last is too old to go on from: everything is listed again.
fn is_expired(error: &watcher::Error) -> bool {
    code(error) == Some(410)
}

/// Whether waiting alone does not help.
fn is_refusal(error: &watcher::Error) -> bool {
    matches!(code(error), Some(401 | 403 | 404))
}
