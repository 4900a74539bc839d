//! One open connection to an endpoint: who uses it, and when it ends.

use super::connections::{Changes, Connections};
use atomic_waker::AtomicWaker;
use rules::EndpointAddr;
use socket2::Socket;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// In a connection's state: it is to be closed as soon as nobody uses it. The rest of the state counts its requests.
/// They share a word, so that nobody takes up a connection that is just being closed.
const LEAVING: u32 = 1 << 31;

/// What is known of one connection by those who use it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it leads.
    pub(crate) address: EndpointAddr,
    born: Instant,
    /// How long it may be used from then on.
    lifetime: Option<Duration>,
    /// Requests on it now, and [`LEAVING`]. A new connection has one: that for which it is made.
    state: AtomicU32,
    /// Requests it has had, that one included.
    served: AtomicU32,
    /// It was open, and is no more.
    closed: AtomicBool,
    /// Whoever waits for it to end while it is idle.
    watcher: AtomicWaker,
    /// Its socket, where nobody waits for it so: Pingora reads from it whatever happens, and sees its end then.
    socket: Mutex<Option<Socket>>,
    changes: Arc<Changes>,
}

/// Counts a connection as open for as long as it exists.
pub(crate) struct Open {
    connection: Arc<Connection>,
    home: Arc<Connections>,
    number: u64,
    /// Ends it when its time is over, where nobody else does.
    timer: Option<AbortHandle>,
    /// Whom to tell that it has ended.
    on_end: Option<Box<dyn Fn() + Send + Sync>>,
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
            timer: None,
            on_end: None,
        }
    }

    /// What it stands for.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Has somebody told when it has ended.
    pub(super) fn on_end(&mut self, tell: impl Fn() + Send + Sync + 'static) {
        self.on_end = Some(Box::new(tell));
    }

    /// Has its socket ended when nobody uses it and it shall go, since nobody asks whether it [shall
    /// end](Connection::shall_end).
    pub(super) fn end_by_itself(&mut self, socket: Socket) {
        *self.connection.socket() = Some(socket);
        let Some(at) = self.connection.expires_at() else {
            return;
        };
        let connection = Arc::downgrade(&self.connection);
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(connection) = connection.upgrade() {
                connection.leave();
            }
        });
        self.timer = Some(timer.abort_handle());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(timer) = &self.timer {
            timer.abort();
        }
        self.connection.closed.store(true, SeqCst);
        // The socket is closed with its other owner.
        drop(self.connection.socket().take());
        self.home.forget(self.number);
        if let Some(tell) = &self.on_end {
            tell();
        }
    }
}

impl Connection {
    pub(super) fn new(
        address: EndpointAddr,
        lifetime: Option<Duration>,
        changes: Arc<Changes>,
    ) -> Self {
        Self {
            address,
            born: Instant::now(),
            lifetime,
            state: AtomicU32::new(1),
            served: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            watcher: AtomicWaker::new(),
            socket: Mutex::default(),
            changes,
        }
    }

    fn socket(&self) -> MutexGuard<'_, Option<Socket>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// A request on it has ended. Returns how many are left.
    pub(super) fn end_share(&self) -> u32 {
        let left = (self.state.fetch_sub(1, SeqCst) & !LEAVING) - 1;
        if self.is_leaving() || self.is_expired() {
            self.watcher.wake();
            self.end_if_due();
        }
        if left == 0 {
            self.changes.tell();
        }
        left
    }

    /// Whether the request that is on it must be its last: there may be `limit` of them, its time is over, or it
    /// was asked to go.
    pub(crate) fn is_spent(&self, limit: Option<u32>) -> bool {
        limit.is_some_and(|limit| self.served.load(Relaxed) >= limit)
            || self.is_expired()
            || self.is_leaving()
    }

    /// Whether it shall end now: nobody uses it, and it was asked to go or is too old. Otherwise whoever asks is
    /// woken when that may have changed.
    pub(crate) fn shall_end(&self, waker: &Waker) -> bool {
        // A connection comes back to the pool a moment before its request stops to count.
        self.watcher.register(waker);
        self.is_idle() && (self.is_leaving() || self.is_expired())
    }

    /// When it is too old, if it ever is.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        Some(self.born + self.lifetime?)
    }

    fn is_expired(&self) -> bool {
        self.lifetime
            .is_some_and(|lifetime| self.born.elapsed() >= lifetime)
    }

    /// Requests on it now.
    pub(super) fn uses(&self) -> u32 {
        self.state.load(Acquire) & !LEAVING
    }

    pub(super) fn is_idle(&self) -> bool {
        self.uses() == 0
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
        self.end_if_due();
    }

    /// Ends the socket, if that is ours to do.
    fn end_if_due(&self) {
        if !self.is_idle() || !(self.is_leaving() || self.is_expired()) {
            return;
        }
        if let Some(socket) = self.socket().take() {
            // One that has ended already is no matter.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
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
