//! The thread that follows what there is to be followed.

use crate::connect::{Connection, connect};
use crate::follow::{Follower, Over, Progress, gone};
use crate::known::Known;
use crate::plan;
use crate::scope::Scope;
use crate::settings::{Access, Settings};
use crate::status::Seen;
use crate::timing::Timing;
use config::{Change, Message, Running, WantedObjects};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, WeakSender};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Has objects followed as long as it is there.
#[derive(Debug)]
pub struct Objects {
    wishes: watch::Sender<Wish>,
    _running: Running,
}

/// What is wanted beside what is followed at first, and its number. 0: nothing is known of it yet.
#[derive(Clone, Debug, Default)]
struct Wish {
    number: u64,
    wanted: WantedObjects,
}

impl Objects {
    /// Follows exactly this from now on, beside what is for everybody. Does not block. [`Message::Objects`] with this number
    /// says that all of it was told, or why it cannot be; of what was wanted before nothing is gone until then.
    pub fn follow(&self, number: u64, wanted: &WantedObjects) {
        self.wishes.send_replace(Wish {
            number,
            wanted: wanted.clone(),
        });
    }
}

/// Starts a thread that follows the objects of an API server and sends them as `sender` does, without counting as a
/// sender. It says once that it has [told everything](Message::Synced) that is followed at first: when each kind was listed,
/// or could not be. Where none could be it says that it is [blind](Message::Blind), and later that it is so
/// [no longer](Message::Sighted). It ends with what is returned, or when nobody listens any more.
///
/// # Errors
///
/// When the thread cannot be started. Whatever fails later is told and tried again.
pub fn start(settings: Settings, sender: &Sender<Message>) -> io::Result<Objects> {
    start_with(settings, Timing::default(), sender)
}

pub(crate) fn start_with(
    settings: Settings,
    timing: Timing,
    sender: &Sender<Message>,
) -> io::Result<Objects> {
    let sender = sender.downgrade();
    let (wishes, wished) = watch::channel(Wish::default());
    let running = Running::start("kubernetes", move || async move {
        let (connection, connected) = watch::channel(Connection::Begun);
        let crew = Crew {
            timing,
            sender,
            seen: settings.seen.clone(),
            connection: connected,
            members: BTreeMap::new(),
        };
        tokio::join!(
            keep_trying(&settings.access, timing, connection),
            crew.run(&settings, wished)
        );
    })?;
    Ok(Objects {
        wishes,
        _running: running,
    })
}

/// Finds out how the API server is reached, however long that takes.
async fn keep_trying(access: &Access, timing: Timing, connection: watch::Sender<Connection>) {
    for pause in timing.pauses() {
        match connect(access).await {
            Ok(client) => {
                connection.send_replace(Connection::Made(client));
                // Those who begin later ask as well.
                return connection.closed().await;
            }
            Err(error) => connection.send_replace(Connection::Failed(error.to_string())),
        };
        tokio::time::sleep(pause).await;
    }
}

/// All who follow something.
struct Crew {
    timing: Timing,
    sender: WeakSender<Message>,
    seen: Option<Seen>,
    connection: watch::Receiver<Connection>,
    members: BTreeMap<Scope, Member>,
}

/// One who follows something.
struct Member {
    known: Known,
    progress: watch::Receiver<Progress>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Crew {
    async fn run(mut self, settings: &Settings, mut wishes: watch::Receiver<Wish>) {
        // It ends only when nobody wants anything or listens any more.
        let _ = self.follow_wishes(settings, &mut wishes).await;
    }

    async fn follow_wishes(
        &mut self,
        settings: &Settings,
        wishes: &mut watch::Receiver<Wish>,
    ) -> Result<(), Over> {
        let first = plan::at_first(settings);
        self.begin(&first);
        self.reach(&first, Progress::Troubled).await;
        let mut is_blind = !self.sees(&first);
        match is_blind {
            true => self.send(Message::Blind).await?,
            false => self.reach_in_time(&first).await,
        }
        self.send(Message::Synced).await?;
        loop {
            tokio::select! {
                changed = wishes.changed() => changed.map_err(|_| Over)?,
                () = self.gain_sight(&first), if is_blind => {
                    is_blind = false;
                    self.send(Message::Sighted).await?;
                    continue;
                }
            }
            let Wish { number, wanted } = wishes.borrow_and_update().clone();
            let wanted = plan::of_wish(settings, &wanted);
            self.begin(&wanted);
            tokio::select! {
                () = self.reach(&wanted, Progress::Troubled) => {}
                // What is wanted now may be something else.
                Ok(()) = wishes.changed() => {
                    wishes.mark_changed();
                    continue;
                }
            }
            self.end_others(&wanted).await?;
            self.send(Message::Objects(number)).await?;
        }
    }

    /// Begins to follow what is not followed yet.
    fn begin(&mut self, wanted: &BTreeSet<Scope>) {
        for scope in wanted {
            if !self.members.contains_key(scope) {
                let member = self.member(scope.clone());
                self.members.insert(scope.clone(), member);
            }
        }
    }

    fn member(&self, scope: Scope) -> Member {
        let known = Known::default();
        let sender = self.sender.clone();
        let seen = self.seen.as_ref();
        let (follower, progress) = Follower::new(scope, self.timing, sender, known.clone(), seen);
        let (stop, stopped) = oneshot::channel();
        let connection = self.connection.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = follower.run(connection) => {}
                _ = stopped => {}
            }
        });
        Member {
            known,
            progress,
            stop,
            task,
        }
    }

    /// Waits until all who follow what is wanted are this far.
    async fn reach(&self, wanted: &BTreeSet<Scope>, least: Progress) {
        for member in self.members_of(wanted) {
            let mut progress = member.progress.clone();
            // One that has ended will not get any further.
            let _ = progress.wait_for(|progress| *progress >= least).await;
        }
    }

    /// Waits until everything that is wanted was read, but for what must not be.
    async fn reach_in_time(&self, wanted: &BTreeSet<Scope>) {
        let reached = self.reach(wanted, Progress::Refused);
        let _ = tokio::time::timeout(self.longest(), reached).await;
    }

    /// Whether anything of what is wanted could be read.
    fn sees(&self, wanted: &BTreeSet<Scope>) -> bool {
        let mut members = self.members_of(wanted);
        members.any(|member| *member.progress.borrow() == Progress::Listed)
    }

    /// Waits until something of what is wanted could be read, and then until all others have tried again: what they were
    /// refused before says nothing any more.
    async fn gain_sight(&self, wanted: &BTreeSet<Scope>) {
        let mut gaining = JoinSet::new();
        for member in self.members_of(wanted) {
            let mut progress = member.progress.clone();
            gaining.spawn(async move {
                let listed = progress.wait_for(|progress| *progress == Progress::Listed);
                listed.await.is_ok()
            });
        }
        let mut is_gained = false;
        while !is_gained && let Some(gained) = gaining.join_next().await {
            is_gained = gained.unwrap_or_default();
        }
        // One kind may be broken for ever.
        let _ = tokio::time::timeout(self.longest(), self.retried(wanted)).await;
    }

    /// Waits until everything that is wanted is listed, or is refused from now on.
    async fn retried(&self, wanted: &BTreeSet<Scope>) {
        let all = self.members_of(wanted).map(|member| {
            let mut progress = member.progress.clone();
            progress.mark_unchanged();
            progress
        });
        let all: Vec<_> = all.collect();
        for mut progress in all {
            let mut now = *progress.borrow();
            while now != Progress::Listed && progress.changed().await.is_ok() {
                now = *progress.borrow();
                if now == Progress::Refused {
                    break;
                }
            }
        }
    }

    /// As long as it may take where the API server was away, and no longer, since one kind may be broken.
    fn longest(&self) -> Duration {
        self.timing.patience + 2 * self.timing.longest_pause
    }

    fn members_of(&self, wanted: &BTreeSet<Scope>) -> impl Iterator<Item = &Member> {
        wanted.iter().filter_map(|scope| self.members.get(scope))
    }

    /// Ends what is not wanted any more. What nobody else follows is gone.
    async fn end_others(&mut self, wanted: &BTreeSet<Scope>) -> Result<(), Over> {
        let members = std::mem::take(&mut self.members).into_iter();
        let (kept, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            members.partition(|(scope, _)| wanted.contains(scope));
        self.members = kept;
        for (scope, member) in ended {
            // Fails only where it has ended by itself.
            let _ = member.stop.send(());
            let _ = member.task.await;
            let sender = self.sender.upgrade().ok_or(Over)?;
            // Between the look at what others know and what is sent, nobody else sends anything: all are on one thread.
            let permit = sender.reserve().await.map_err(|_| Over)?;
            let changes = self.left(&scope, &member.known);
            if !changes.is_empty() {
                permit.send(Message::Changes(changes));
            }
        }
        Ok(())
    }

    fn left(&self, scope: &Scope, known: &Known) -> Vec<Change> {
        let others = self.members.iter();
        let others = others.filter(|(other, _)| other.kind == scope.kind);
        let others = others.map(|(other, member)| (other, &member.known));
        let left = known.state().left_to(scope, others);
        left.into_iter().map(gone).collect()
    }

    async fn send(&self, message: Message) -> Result<(), Over> {
        let sender = self.sender.upgrade().ok_or(Over)?;
        sender.send(message).await.map_err(|_| Over)
    }
}
