//! The loop that looks names up when it is time.

use crate::Settings;
use crate::entry::Entry;
use crate::family::resolve;
use crate::follower::Wanted;
use crate::lookup::{Failure, Found, Lookup};
use config::{Message, NameAnswer, ResolvedName};
use model::Hostname;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::WeakSender;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// More names are not followed.
const MAX_NAMES: usize = 10_000;

/// How many names are looked up at a time; the others wait.
const MAX_IN_FLIGHT: usize = 32;

/// After this a look-up that never ended is begun anew.
const LOST_AFTER: Duration = Duration::from_secs(120);

/// Follows names.
pub(crate) struct Runner<L> {
    lookup: Arc<L>,
    settings: Settings,
    /// Who listens asks, too: neither shall keep the other alive.
    sender: WeakSender<Message>,
    entries: BTreeMap<Hostname, Entry>,
    /// Names by when they are looked up next.
    queue: BTreeSet<(Instant, Hostname)>,
    in_flight: JoinSet<Done>,
}

type Done = (Hostname, Result<Found, Failure>);

impl<L: Lookup> Runner<L> {
    pub(crate) fn new(lookup: L, settings: Settings, sender: WeakSender<Message>) -> Self {
        Self {
            lookup: Arc::new(lookup),
            settings,
            sender,
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            in_flight: JoinSet::new(),
        }
    }

    /// Runs until nobody wants names, or nobody listens.
    pub(crate) async fn run(mut self, mut wanted: watch::Receiver<Wanted>) {
        loop {
            self.begin_due();
            let next = self.next();
            let news = tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => {
                        let wanted = wanted.borrow_and_update().clone();
                        self.follow(wanted)
                    }
                    Err(_) => return,
                },
                Some(done) = self.in_flight.join_next() => self.finish(done),
                () = at(next) => Vec::new(),
            };
            if !self.tell(news).await {
                return;
            }
        }
    }

    /// False: nobody listens any more.
    async fn tell(&self, news: Vec<ResolvedName>) -> bool {
        if news.is_empty() {
            return true;
        }
        match self.sender.upgrade() {
            Some(sender) => sender.send(Message::Names(news)).await.is_ok(),
            None => false,
        }
    }

    fn begin_due(&mut self) {
        let now = Instant::now();
        while self.in_flight.len() < MAX_IN_FLIGHT {
            let Some((due, name)) = self.queue.pop_first() else {
                return;
            };
            if due > now {
                self.queue.insert((due, name));
                return;
            }
            self.plan(&name, now + LOST_AFTER);
            self.begin(name);
        }
    }

    fn begin(&mut self, name: Hostname) {
        let lookup = Arc::clone(&self.lookup);
        let (family, limit) = (self.settings.family, self.settings.timeout);
        self.in_flight.spawn(async move {
            // Nobody waits for this: all addresses are worth the time.
            let outcome = resolve(&*lookup, &name, family, limit, |_| ()).await;
            (name, outcome)
        });
    }

    /// When there is something to begin. Absent: not before a look-up ends or a name comes.
    fn next(&self) -> Option<Instant> {
        let (due, _) = self.queue.first()?;
        (self.in_flight.len() < MAX_IN_FLIGHT).then_some(*due)
    }

    fn follow(&mut self, wanted: Wanted) -> Vec<ResolvedName> {
        let queue = &mut self.queue;
        self.entries.retain(|name, entry| {
            let stays = wanted.names.contains_key(name);
            if !stays {
                queue.remove(&(entry.due, name.clone()));
            }
            stays
        });
        let mut news = Vec::new();
        for (name, since) in wanted.names {
            news.extend(self.follow_one(name, since));
        }
        news
    }

    fn follow_one(&mut self, name: Hostname, since: u64) -> Option<ResolvedName> {
        if let Some(entry) = self.entries.get_mut(&name) {
            let is_again = entry.since != since;
            entry.since = since;
            let answer = entry.told.clone().filter(|_| is_again)?;
            return Some(ResolvedName { name, answer });
        }
        if self.entries.len() >= MAX_NAMES {
            let answer = NameAnswer {
                failure: Some(format!("more than {MAX_NAMES} names are not followed")),
                ..NameAnswer::default()
            };
            return Some(ResolvedName { name, answer });
        }
        let entry = Entry::new(since, Instant::now());
        self.queue.insert((entry.due, name.clone()));
        self.entries.insert(name, entry);
        None
    }

    /// What is to be told after a look-up, and after all others that ended by now.
    fn finish(&mut self, first: Result<Done, JoinError>) -> Vec<ResolvedName> {
        let mut news = Vec::new();
        let mut next = Some(first);
        while let Some(done) = next {
            match done {
                Ok((name, outcome)) => news.extend(self.record(name, outcome)),
                Err(error) => tracing::error!(%error, "a look-up of a name broke off"),
            }
            next = self.in_flight.try_join_next();
        }
        news
    }

    fn record(&mut self, name: Hostname, outcome: Result<Found, Failure>) -> Option<ResolvedName> {
        // Absent: it is not wanted any more.
        let entry = self.entries.get_mut(&name)?;
        self.queue.remove(&(entry.due, name.clone()));
        let answer = entry.record(outcome, Instant::now(), &self.settings);
        self.queue.insert((entry.due, name.clone()));
        Some(ResolvedName {
            name,
            answer: answer?,
        })
    }

    fn plan(&mut self, name: &Hostname, due: Instant) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.due = due;
            self.queue.insert((due, name.clone()));
        }
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
