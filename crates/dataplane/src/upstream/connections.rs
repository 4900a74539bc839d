//! The open connections of a cluster: how many there are, and which of them nobody uses.

use atomic_waker::AtomicWaker;
use rules::EndpointAddr;
use socket2::Socket;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// No limit.
pub(crate) const UNLIMITED: u32 = u32::MAX;

/// The open connections of a cluster, those that wait in the pool too. It survives changes of the configuration.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: AtomicU32,
    /// By age.
    all: Mutex<All>,
    changes: Arc<Changes>,
}

/// Told when a connection ended, has nobody on it any more, was just made, or was taken up although it shall go.
#[derive(Debug, Default)]
struct Changes {
    told: Notify,
    /// How many wait. Requests that come and go tell nobody while there is nobody.
    waiting: AtomicU32,
}

#[derive(Debug, Default)]
struct All {
    open: BTreeMap<u64, Weak<Connection>>,
    next: u64,
    /// Where a connection is being made to that others wait for.
    expected: HashSet<EndpointAddr>,
}

/// What is known of one connection by those who use it.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Where it leads.
    pub(crate) address: EndpointAddr,
    born: Instant,
    /// How long it may be used from then on.
    lifetime: Option<Duration>,
    /// Requests on it now. A connection that was just made has one: that for which it was made.
    uses: AtomicU32,
    /// Requests it has had, that one included.
    served: AtomicU32,
    /// It is to be closed as soon as nobody uses it.
    leaving: AtomicBool,
    /// Whoever waits for it to end while it is idle.
    watcher: AtomicWaker,
    /// Its socket, where nobody waits for it so: Pingora reads from it whatever happens, and sees its end then.
    socket: Mutex<Option<Socket>>,
    changes: Arc<Changes>,
}

/// Counts a connection as open for as long as it exists.
#[derive(Debug)]
pub(crate) struct Open {
    connection: Arc<Connection>,
    home: Arc<Connections>,
    number: u64,
    /// Ends it when its time is over, where nobody else does.
    timer: Option<AbortHandle>,
}

/// Counts a request on a connection for as long as it exists.
#[derive(Debug)]
pub(crate) struct Use(Arc<Connection>);

/// Makes a connection to an endpoint, for which others wait as long as it exists.
#[derive(Debug)]
pub(crate) struct Turn {
    home: Arc<Connections>,
    address: EndpointAddr,
}

impl Connections {
    /// None yet. `limit`: how many there may be at one time, or [`UNLIMITED`].
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: AtomicU32::new(limit),
            all: Mutex::default(),
            changes: Arc::default(),
        }
    }

    /// Another limit. Connections beyond it end as soon as nobody uses them, idle ones first.
    pub(crate) fn set_limit(&self, limit: u32) {
        if self.limit.swap(limit, Relaxed) > limit {
            let mut staying: Vec<_> = self.all().connections().collect();
            staying.retain(|connection| !connection.is_leaving());
            // Each is looked at once: who is idle changes meanwhile, and an order that does would make sorting panic.
            staying.sort_by_cached_key(|connection| !connection.is_idle());
            let beyond = staying.len().saturating_sub(limit as usize);
            for connection in &staying[..beyond] {
                connection.leave();
            }
        }
        self.changes.told.notify_waiters();
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.all().open.len()
    }

    /// Waits until there may be one more, and has one that nobody uses closed for it. Whoever comes here has been
    /// told that there may be as many requests as connections, so that one of them is idle or about to end.
    ///
    /// `is_shared`: it is for many requests at a time. Nobody may be about to end then, so that an endpoint that has no
    /// connection gets its first one whatever the limit says, as from Envoy.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        address: &EndpointAddr,
        lifetime: Option<Duration>,
        is_shared: bool,
    ) -> Open {
        let try_admit = || {
            let open = self.try_admit(address, lifetime, is_shared);
            if open.is_none() {
                self.dismiss_one();
            }
            open
        };
        self.changes.until(try_admit).await
    }

    /// For requests that share connections: whether one is to be made. Waits while somebody else makes it. `None`: there
    /// is one with less than `streams` requests, or there may be any number of them.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        address: &EndpointAddr,
        streams: u32,
    ) -> Option<Turn> {
        if self.limit.load(Relaxed) == UNLIMITED {
            return None;
        }
        let try_turn = || self.try_turn(address, streams);
        self.changes.until(try_turn).await
    }

    /// The outer `None`: somebody else makes it.
    fn try_turn(self: &Arc<Self>, address: &EndpointAddr, streams: u32) -> Option<Option<Turn>> {
        let mut all = self.all();
        let has_room = |connection: Arc<Connection>| {
            connection.leads_to(address) && connection.has_room(streams)
        };
        if all.connections().any(has_room) {
            return Some(None);
        }
        if !all.expected.insert(address.clone()) {
            return None;
        }
        Some(Some(Turn {
            home: self.clone(),
            address: address.clone(),
        }))
    }

    fn try_admit(
        self: &Arc<Self>,
        address: &EndpointAddr,
        lifetime: Option<Duration>,
        is_shared: bool,
    ) -> Option<Open> {
        let mut all = self.all();
        let limit = self.limit.load(Relaxed);
        if limit != UNLIMITED && all.open.len() >= limit as usize {
            let leads_there = |connection: Arc<Connection>| connection.leads_to(address);
            if !is_shared || all.connections().any(leads_there) {
                return None;
            }
        }
        let changes = self.changes.clone();
        let connection = Arc::new(Connection::new(address.clone(), lifetime, changes));
        let number = all.next;
        all.next += 1;
        all.open.insert(number, Arc::downgrade(&connection));
        Some(Open {
            connection,
            home: self.clone(),
            number,
            timer: None,
        })
    }

    /// Has the oldest one closed that nobody uses.
    fn dismiss_one(&self) {
        let all = self.all();
        let idle = all
            .connections()
            .find(|connection| connection.is_idle() && !connection.is_leaving());
        drop(all);
        if let Some(idle) = idle {
            idle.leave();
        }
    }

    /// Has those closed, as soon as nobody uses them, that lead to an address for which this holds.
    pub(crate) fn dismiss(&self, leads_nowhere: impl Fn(&EndpointAddr) -> bool) {
        let open: Vec<_> = self.all().connections().collect();
        for connection in open {
            if leads_nowhere(&connection.address) {
                connection.leave();
            }
        }
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    fn connections(&self) -> impl Iterator<Item = Arc<Connection>> {
        self.open.values().filter_map(Weak::upgrade)
    }
}

impl Changes {
    /// Tries again after each change.
    async fn until<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> T {
        self.waiting.fetch_add(1, SeqCst);
        let _waits = Waits(&self.waiting);
        loop {
            // From here on no change goes unnoticed.
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if let Some(made) = attempt() {
                return made;
            }
            told.await;
        }
    }

    fn tell(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.told.notify_waiters();
        }
    }
}

/// Counts one who waits.
struct Waits<'c>(&'c AtomicU32);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.home.all().expected.remove(&self.address);
        self.home.changes.tell();
    }
}

impl Open {
    /// What it stands for.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
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
                connection.end_if_due();
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
        // The socket is closed with its other owner.
        drop(self.connection.socket().take());
        self.home.all().open.remove(&self.number);
        self.home.changes.tell();
    }
}

impl Connection {
    fn new(address: EndpointAddr, lifetime: Option<Duration>, changes: Arc<Changes>) -> Self {
        Self {
            address,
            born: Instant::now(),
            lifetime,
            uses: AtomicU32::new(1),
            served: AtomicU32::new(0),
            leaving: AtomicBool::new(false),
            watcher: AtomicWaker::new(),
            socket: Mutex::default(),
            changes,
        }
    }

    /// Whether it leads to an endpoint, and will go on to.
    fn leads_to(&self, address: &EndpointAddr) -> bool {
        self.address == *address && !self.is_leaving()
    }

    /// Whether it was made, and one more request has room on it.
    fn has_room(&self, streams: u32) -> bool {
        self.served.load(Acquire) > 0 && self.uses.load(Acquire) < streams && !self.is_expired()
    }

    fn socket(&self) -> MutexGuard<'_, Option<Socket>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request on it. `reused`: it was not made for this request.
    pub(crate) fn begin(self: &Arc<Self>, reused: bool) -> Use {
        if reused {
            self.uses.fetch_add(1, AcqRel);
        }
        self.served.fetch_add(1, AcqRel);
        if !reused || self.is_leaving() {
            self.changes.tell();
        }
        Use(self.clone())
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

    fn is_idle(&self) -> bool {
        self.uses.load(Acquire) == 0
    }

    fn is_leaving(&self) -> bool {
        self.leaving.load(Acquire)
    }

    /// Has it closed as soon as nobody uses it. Whether this is news.
    pub(crate) fn leave(&self) -> bool {
        let is_news = !self.leaving.swap(true, AcqRel);
        self.watcher.wake();
        self.end_if_due();
        is_news
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
        let was_last = self.0.uses.fetch_sub(1, SeqCst) == 1;
        // It may wait in the pool already, and be wanted gone.
        if self.0.is_leaving() || self.0.is_expired() {
            self.0.watcher.wake();
            self.0.end_if_due();
        }
        if was_last {
            self.0.changes.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll};

    fn address() -> EndpointAddr {
        EndpointAddr::Tcp("127.0.0.1:80".parse().unwrap())
    }

    fn connections(limit: u32) -> Arc<Connections> {
        Arc::new(Connections::new(limit))
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn one_more_than_the_limit_waits_for_an_end() {
        let all = connections(1);
        let address = address();
        let first = all.admit(&address, None, false).await;
        let mut second = pin!(all.admit(&address, None, false));
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert!(poll(second.as_mut()).is_ready());
        assert_eq!(all.open(), 0);
    }

    #[tokio::test]
    async fn an_idle_one_is_asked_to_go_and_a_busy_one_is_not() {
        let all = connections(1);
        let address = address();
        let first = all.admit(&address, None, false).await;
        let in_use = first.connection().begin(false);
        let mut second = pin!(all.admit(&address, None, false));
        assert!(poll(second.as_mut()).is_pending());
        assert!(!first.connection().shall_end(Waker::noop()));
        drop(in_use);
        let mut third = pin!(all.admit(&address, None, false));
        assert!(poll(third.as_mut()).is_pending());
        assert!(first.connection().shall_end(Waker::noop()));
    }

    #[tokio::test]
    async fn connections_beyond_a_lower_limit_end_idle_ones_first() {
        let all = connections(UNLIMITED);
        let busy = all.admit(&address(), None, false).await;
        let _in_use = busy.connection().begin(false);
        let idle = all.admit(&address(), None, false).await;
        drop(idle.connection().begin(false));
        all.set_limit(1);
        assert!(idle.connection().shall_end(Waker::noop()));
        assert!(!busy.connection().is_spent(None));
    }

    #[tokio::test]
    async fn a_connection_that_is_taken_up_again_does_not_end_under_its_request() {
        let all = connections(1);
        let first = all.admit(&address(), None, false).await;
        drop(first.connection().begin(false));
        let again = first.connection().begin(true);
        all.dismiss(|_| true);
        assert!(!first.connection().shall_end(Waker::noop()));
        assert!(again.connection().is_spent(None));
        drop(again);
        assert!(first.connection().shall_end(Waker::noop()));
    }

    #[tokio::test]
    async fn a_connection_is_spent_after_so_many_requests() {
        let all = connections(UNLIMITED);
        let open = all.admit(&address(), None, false).await;
        drop(open.connection().begin(false));
        assert!(!open.connection().is_spent(Some(2)));
        drop(open.connection().begin(true));
        assert!(open.connection().is_spent(Some(2)));
        assert!(!open.connection().is_spent(None));
    }

    #[tokio::test]
    async fn a_connection_is_spent_when_its_time_is_over() {
        let all = connections(UNLIMITED);
        let open = all.admit(&address(), Some(Duration::ZERO), false).await;
        drop(open.connection().begin(false));
        assert!(open.connection().is_spent(None));
        assert!(open.connection().shall_end(Waker::noop()));
    }
}
