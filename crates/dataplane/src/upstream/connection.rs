//! One open connection to an endpoint: who uses it, and when it ends.

use super::connections::{Changes, Connections};
use atomic_waker::AtomicWaker;
use rules::EndpointAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::task::Waker;
use std::time::{Duration, Instant};

/// In a connection's state: it is to be closed as soon as nobody uses it. The rest of the state counts its requests.
/// They share a word, so that nobody takes up a connection that is just being closed.
const LEAVING: u32 = 1 << 31;

/// How long a connection may be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lifetime {
    /// How long it may be used. Absent: for ever.
    pub(crate) whole: Option<Duration>,
    /// How long it may be idle. Absent: somebody else looks after that.
    pub(crate) idle: Option<Duration>,
}

/// What is known of one connection by those who use it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it leads.
    pub(crate) address: EndpointAddr,
    born: Instant,
    lifetime: Lifetime,
    /// When it became idle, in milliseconds since it was born.
    idle_since: AtomicU64,
    /// Requests on it now, and [`LEAVING`]. A new connection has one: that for which it is made.
    state: AtomicU32,
    /// Requests it has had, that one included.
    served: AtomicU32,
    /// It was open, and is no more.
    closed: AtomicBool,
    /// Whoever waits for it to end while it is idle.
    watcher: AtomicWaker,
    changes: Arc<Changes>,
}

/// To be called when a connection has ended.
pub(super) type OnEnd = Arc<dyn Fn() + Send + Sync>;

/// Counts a connection as open for as long as it exists.
pub(crate) struct Open {
    connection: Arc<Connection>,
    home: Arc<Connections>,
    number: u64,
    /// Whom to tell that it has ended.
    on_end: Option<OnEnd>,
}

/// Counts a request on a connection for as long as it exists.
#[derive(Debug)]
pub(crate) struct Use(Arc<Connection>);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Open").field(&self.connection).finish()
    }
}

impl Open {
    pub(super) fn new(connection: Arc<Connection>, home: Arc<Connections>, number: u64) -> Self {
        Self {
            connection,
            home,
            number,
            on_end: None,
        }
    }

    /// What it stands for.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Has somebody told when it has ended.
    pub(super) fn on_end(&mut self, tell: OnEnd) {
        self.on_end = Some(tell);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.closed.store(true, SeqCst);
        self.home.forget(self.number);
        if let Some(tell) = &self.on_end {
            tell();
        }
    }
}

impl Connection {
    pub(super) fn new(address: EndpointAddr, lifetime: Lifetime, changes: Arc<Changes>) -> Self {
        Self {
            address,
            born: Instant::now(),
            lifetime,
            idle_since: AtomicU64::new(0),
            state: AtomicU32::new(1),
            served: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            watcher: AtomicWaker::new(),
            changes,
        }
    }

    /// Counts a request on it. `reused`: it was not made for this request.
    pub(crate) fn begin(self: &Arc<Self>, reused: bool) -> Use {
        if reused {
            self.state.fetch_add(1, AcqRel);
        }
        self.served.fetch_add(1, AcqRel);
        if self.is_leaving() {
            self.changes.tell();
        }
        Use(self.clone())
    }

    /// Counts one more request on it, if that makes no more than `room`, and it is not about to end. `requests`: after
    /// how many of them it is.
    pub(super) fn try_share(&self, room: u32, requests: Option<u32>) -> bool {
        if self.is_expired() {
            self.leave();
        }
        // One that is leaving has more than any room.
        let room = room.min(LEAVING);
        let more = |state| (state < room).then(|| state + 1);
        if self.is_closed() || self.state.fetch_update(SeqCst, SeqCst, more).is_err() {
            return false;
        }
        self.count_shared(requests);
        true
    }

    /// Counts a request that has room on it already among those it has served.
    pub(super) fn count_shared(&self, requests: Option<u32>) {
        let served = self.served.fetch_add(1, AcqRel) + 1;
        if requests.is_some_and(|requests| served >= requests) {
            self.leave();
        }
    }

    /// A request on it has ended.
    pub(super) fn end_share(&self) {
        // Where nobody asks, the clock is not looked at.
        if self.lifetime.idle.is_some() {
            let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.idle_since.store(now, Relaxed);
        }
        let was_last = self.state.fetch_sub(1, SeqCst) & !LEAVING == 1;
        if self.is_leaving() || self.is_expired() {
            self.watcher.wake();
        }
        if was_last {
            self.changes.tell();
        }
    }

    /// Whether the request that is on it must be its last: there may be `limit` of them, its time is over, or it
    /// was asked to go.
    pub(crate) fn is_spent(&self, limit: Option<u32>) -> bool {
        limit.is_some_and(|limit| self.served.load(Relaxed) >= limit)
            || self.is_expired()
            || self.is_leaving()
    }

    /// Whether it shall end now: nobody uses it, and it was asked to go, is too old, or was idle for too long. Otherwise
    /// whoever asks is woken when it is asked to go, and has to ask again [at some time](Self::may_end_at).
    pub(crate) fn shall_end(&self, waker: &Waker) -> bool {
        // A connection comes back to the pool a moment before its request stops to count.
        self.watcher.register(waker);
        self.is_idle() && (self.is_leaving() || self.is_expired() || self.was_idle_for_long())
    }

    /// When it may be too old, or idle for too long, if ever.
    pub(crate) fn may_end_at(&self) -> Option<Instant> {
        if self.lifetime.whole.is_none() && self.lifetime.idle.is_none() {
            return None;
        }
        let now = Instant::now();
        // While it is used, its end is looked for when it no longer is.
        let old = self.expires_at().filter(|at| *at > now);
        let idle = self.lifetime.idle.map(|limit| match self.is_idle() {
            true => self.idle_since() + limit,
            false => now + limit,
        });
        old.into_iter().chain(idle).min()
    }

    fn expires_at(&self) -> Option<Instant> {
        Some(self.born + self.lifetime.whole?)
    }

    fn is_expired(&self) -> bool {
        let mut whole = self.lifetime.whole.into_iter();
        whole.any(|whole| self.born.elapsed() >= whole)
    }

    fn idle_since(&self) -> Instant {
        self.born + Duration::from_millis(self.idle_since.load(Relaxed))
    }

    fn was_idle_for_long(&self) -> bool {
        let mut limit = self.lifetime.idle.into_iter();
        limit.any(|limit| self.idle_since().elapsed() >= limit)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Acquire) & !LEAVING == 0
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state.load(Acquire) & LEAVING != 0
    }

    /// Whether it was open, and is no more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Has it closed as soon as nobody uses it.
    pub(crate) fn leave(&self) {
        self.state.fetch_or(LEAVING, SeqCst);
        self.watcher.wake();
    }
}

impl Use {
    /// The connection.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        // It may wait in the pool already, and be wanted gone.
        self.0.end_share();
    }
}
