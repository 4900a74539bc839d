//! One kind of objects, listed, watched, and told of.

use crate::kinds::Kind;
use crate::status::seen::{Seen, Tap};
use crate::timing::Timing;
use crate::trim::trim;
use backon::ExponentialBackoff;
use config::{Change, Content, Message};
use kube::api::{Api, DynamicObject};
use kube::core::Status;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::oneshot;
use tokio_stream::{Stream, StreamExt};

/// What the names of all that is told begin with.
pub(crate) const PREFIX: &str = "kubernetes:";

/// Failures in a row that are not told of: an API server that is restarted is back soon.
const UNTOLD_FAILURES: u32 = 2;

/// Nobody listens any more.
pub(crate) struct Over;

/// A kind of objects that is followed.
pub(crate) struct Follower {
    kind: Kind,
    /// In this namespace alone. Absent: in all.
    namespace: Option<String>,
    timing: Timing,
    /// Who listens decides how long this runs.
    sender: WeakSender<Message>,
    /// Told when it is known what there is at first, or that this cannot be known.
    synced: Option<oneshot::Sender<()>>,
    pauses: ExponentialBackoff,
    /// Who wants to know what was seen, once it is judged.
    tap: Option<Tap>,
    state: State,
}

/// What was told, and how it goes.
#[derive(Default)]
struct State {
    /// The files that were told of.
    known: BTreeSet<Arc<str>>,
    /// Whether all that there is was told once.
    is_listed: bool,
    /// In a row.
    failures: u32,
    /// Why the kind cannot be followed, as it was told.
    told: Option<String>,
    /// Which of the kind's versions is asked for.
    version: usize,
    /// Whether the API server does not send what there is as the beginning of a watch.
    lists: bool,
}

/// The objects that there are, while they are listed.
type Listing = BTreeMap<Arc<str>, Content>;

/// What has become of a watch.
enum Next {
    Event(Box<Event<DynamicObject>>),
    Failed(watcher::Error),
    /// Nothing for longer than anybody would wait.
    Silent,
}

impl Follower {
    pub(crate) fn new(
        kind: Kind,
        namespace: Option<String>,
        timing: Timing,
        sender: WeakSender<Message>,
        seen: Option<&Seen>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (synced, receiver) = oneshot::channel();
        let tap = Tap::new(seen, kind, namespace.as_deref());
        let follower = Self {
            kind,
            namespace,
            timing,
            sender,
            synced: Some(synced),
            pauses: timing.pauses(),
            tap,
            state: State::default(),
        };
        (follower, receiver)
    }

    /// Runs until nobody listens any more.
    pub(crate) async fn run(mut self, client: Client) {
        while self.follow(&client).await.is_ok() {}
    }

    /// Follows the kind in one version and by one way of listing. Returns when another is to be tried.
    async fn follow(&mut self, client: &Client) -> Result<(), Over> {
        let mut events = pin!(watcher::watcher(self.api(client), self.config()));
        let mut listing = Listing::new();
        loop {
            match self.next(events.as_mut()).await {
                Next::Event(event) => self.take(*event, &mut listing).await?,
                Next::Silent if self.state.is_listed => self.recover().await?,
                Next::Silent => {
                    self.tell("the API server does not answer".to_owned())
                        .await?
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

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        let resource = self.kind.resource(self.version());
        match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }

    fn version(&self) -> &'static str {
        let versions = self.kind.versions;
        versions[self.state.version % versions.len()]
    }

    fn config(&self) -> watcher::Config {
        let seconds = self.timing.watch.as_secs().try_into().unwrap_or(u32::MAX);
        let config = watcher::Config::default().timeout(seconds);
        match self.state.lists {
            true => config,
            false => config.streaming_lists(),
        }
    }

    /// What the watch says next. While something is awaited, that is not for ever.
    async fn next(
        &self,
        mut events: Pin<&mut impl Stream<Item = watcher::Result<Event<DynamicObject>>>>,
    ) -> Next {
        let is_awaited = match self.state.is_listed {
            true => self.state.told.is_some(),
            false => self.state.told.is_none(),
        };
        let silence = async {
            match is_awaited {
                true => tokio::time::sleep(self.timing.patience).await,
                false => std::future::pending().await,
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

    async fn take(
        &mut self,
        event: Event<DynamicObject>,
        listing: &mut Listing,
    ) -> Result<(), Over> {
        match event {
            Event::Init => {
                listing.clear();
                self.tap.iter_mut().for_each(Tap::begin);
            }
            Event::InitApply(object) => {
                let file = self.file(&object);
                self.sees(&file, &object);
                listing.insert(file, self.text(object));
            }
            Event::InitDone => return self.replace(std::mem::take(listing)).await,
            Event::Apply(object) => {
                let file = self.file(&object);
                self.sees(&file, &object);
                let content = self.text(object);
                self.state.known.insert(file.clone());
                return self.change(vec![Change { file, content }]).await;
            }
            Event::Delete(object) => {
                let file = self.file(&object);
                self.state.known.remove(&file);
                if let Some(tap) = &mut self.tap {
                    tap.loses(&file, Some(&object));
                }
                return self.change(vec![gone(file)]).await;
            }
        }
        Ok(())
    }

    fn sees(&mut self, file: &Arc<str>, object: &DynamicObject) {
        let version = self.version();
        if let Some(tap) = &mut self.tap {
            tap.sees(file, object, version);
        }
    }

    /// All that there is takes the place of what there was, at once.
    async fn replace(&mut self, listing: Listing) -> Result<(), Over> {
        let known: BTreeSet<_> = listing.keys().cloned().collect();
        let before = std::mem::replace(&mut self.state.known, known);
        let lost: Vec<_> = before.difference(&self.state.known).cloned().collect();
        if let Some(tap) = &mut self.tap {
            lost.iter().for_each(|file| tap.loses(file, None));
            tap.listed();
        }
        let mut changes: Vec<_> = lost.into_iter().map(gone).collect();
        let there = listing.into_iter();
        changes.extend(there.map(|(file, content)| Change { file, content }));
        self.state.is_listed = true;
        self.change(changes).await?;
        self.tell_synced();
        Ok(())
    }

    /// Sends what changed, which also says that the kind can be followed.
    async fn change(&mut self, mut changes: Vec<Change>) -> Result<(), Over> {
        self.state.failures = 0;
        self.pauses = self.timing.pauses();
        if self.state.told.take().is_some() {
            tracing::info!(kind = self.kind.name, "objects are followed again");
            changes.push(gone(self.folder()));
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
        self.state.failures = self.state.failures.saturating_add(1);
        let reason = format!("{}: {}", self.what(), reason(error));
        if self.state.failures <= UNTOLD_FAILURES && !is_refusal(error) {
            tracing::debug!(kind = self.kind.name, "{reason}");
            return Ok(());
        }
        self.tell(reason).await
    }

    /// Tells that the kind cannot be followed, once for as long as that is so for the same reason.
    pub(crate) async fn tell(&mut self, reason: String) -> Result<(), Over> {
        if self.state.told.as_ref() != Some(&reason) {
            self.state.told = Some(reason.clone());
            let unreadable = Change {
                file: self.folder(),
                content: Content::Unreadable(reason),
            };
            self.send(Message::Changes(vec![unreadable])).await?;
        }
        self.tell_synced();
        Ok(())
    }

    fn tell_synced(&mut self) {
        if let Some(synced) = self.synced.take() {
            // Fails only when nobody waits.
            let _ = synced.send(());
        }
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        let sender = self.sender.upgrade().ok_or(Over)?;
        let sent = sender.send(message).await;
        sent.map_err(|_| Over)
    }

    /// Whether another way is to be tried at once: one that older API servers have.
    fn turns_elsewhere(&mut self, error: &watcher::Error) -> bool {
        match code(error) {
            Some(400 | 422) => !std::mem::replace(&mut self.state.lists, true),
            Some(404) => {
                self.state.version += 1;
                !self.state.version.is_multiple_of(self.kind.versions.len())
            }
            _ => false,
        }
    }

    /// Whether the next try is one from the beginning: the kind may come in any of its versions.
    fn restarts(&self, error: &watcher::Error) -> bool {
        code(error) == Some(404)
    }

    fn what(&self) -> String {
        let group = match self.kind.group {
            "" => "v1",
            group => group,
        };
        format!("{} of {group} cannot be followed", self.kind.name)
    }

    fn folder(&self) -> Arc<str> {
        let kind = self.kind.name;
        match &self.namespace {
            Some(namespace) => format!("{PREFIX}{kind}/{namespace}").into(),
            None => format!("{PREFIX}{kind}").into(),
        }
    }

    fn file(&self, object: &DynamicObject) -> Arc<str> {
        let (kind, name) = (self.kind.name, object.name_any());
        match object.namespace() {
            Some(namespace) => format!("{PREFIX}{kind}/{namespace}/{name}").into(),
            None => format!("{PREFIX}{kind}/{name}").into(),
        }
    }

    fn text(&self, mut object: DynamicObject) -> Content {
        // In lists objects do not say what they are.
        object.types = Some(kube::api::TypeMeta {
            api_version: self.kind.resource(self.version()).api_version,
            kind: self.kind.name.to_owned(),
        });
        let value = serde_json::to_value(object);
        let text = value.and_then(|mut value| {
            trim(&self.kind, &mut value);
            serde_json::to_string(&value)
        });
        match text {
            Ok(text) => Content::Text(text.into()),
            Err(error) => Content::Unreadable(format!("the object cannot be written: {error}")),
        }
    }
}

fn gone(file: Arc<str>) -> Change {
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

/// What the API server says, or what is at the bottom of why it says nothing.
fn reason(error: &watcher::Error) -> String {
    if let Some(status) = status(error) {
        return match status.message.is_empty() {
            true => format!("the API server answers {}", status.code),
            false => status.message.clone(),
        };
    }
    let mut error: &dyn Error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    format!("the API server cannot be asked: {error}")
}

/// Whether only what was seen last is too old to go on from: everything is listed again.
fn is_expired(error: &watcher::Error) -> bool {
    code(error) == Some(410)
}

/// Whether waiting alone does not help.
fn is_refusal(error: &watcher::Error) -> bool {
    matches!(code(error), Some(401 | 403 | 404))
}
