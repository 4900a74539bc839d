//! The open connections of a cluster: how many there are, and which of them nobody uses.

use super::connection::{Connection, Lifetime, Open};
use rules::EndpointAddr;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

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

/// Told when a connection ended, has nobody on it any more, or was taken up although it shall go.
#[derive(Debug, Default)]
pub(super) struct Changes {
    told: Notify,
    /// How many wait. Requests that come and go tell nobody while there is nobody.
    waiting: AtomicU32,
}

#[derive(Debug, Default)]
struct All {
    open: BTreeMap<u64, Weak<Connection>>,
    next: u64,
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

    /// A connection that is to be made, and does not count yet.
    pub(super) fn prepare(&self, address: &EndpointAddr, lifetime: Lifetime) -> Arc<Connection> {
        let changes = self.changes.clone();
        Arc::new(Connection::new(address.clone(), lifetime, changes))
    }

    /// Waits until there may be one more, and has one that nobody uses closed for it. Whoever comes here has been
    /// told that there may be one more in use, so that one of them is idle or about to end.
    ///
    /// `anyway`: it does not wait, whatever the limit says.
    pub(super) async fn admit(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        anyway: bool,
    ) -> Open {
        let try_admit = || {
            let open = self.try_admit(connection, anyway);
            if open.is_none() {
                self.dismiss_one();
            }
            open
        };
        self.changes.until(try_admit).await
    }

    fn try_admit(self: &Arc<Self>, connection: &Arc<Connection>, anyway: bool) -> Option<Open> {
        let mut all = self.all();
        let limit = self.limit.load(Relaxed);
        let is_full = limit != UNLIMITED && all.open.len() >= limit as usize;
        if is_full && !anyway {
            return None;
        }
        let number = all.next;
        all.next += 1;
        all.open.insert(number, Arc::downgrade(connection));
        Some(Open::new(connection.clone(), self.clone(), number))
    }

    /// Whether there is one to an endpoint that goes on.
    pub(super) fn lead_to(&self, address: &EndpointAddr) -> bool {
        let goes_on = |one: Arc<Connection>| one.address == *address && !one.is_leaving();
        self.all().connections().any(goes_on)
    }

    /// Whether somebody waits for one to end.
    pub(super) fn are_wanted(&self) -> bool {
        self.changes.waiting.load(SeqCst) > 0
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

    /// One has ended.
    pub(super) fn forget(&self, number: u64) {
        self.all().open.remove(&number);
        self.changes.tell();
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

    pub(super) fn tell(&self) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn connections(limit: u32) -> Arc<Connections> {
        Arc::new(Connections::new(limit))
    }

    fn prepared(all: &Connections, whole: Option<Duration>) -> Arc<Connection> {
        let address = EndpointAddr::Tcp("127.0.0.1:80".parse().unwrap());
        all.prepare(&address, Lifetime { whole, idle: None })
    }

    async fn admitted(all: &Arc<Connections>) -> Open {
        all.admit(&prepared(all, None), false).await
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn one_more_than_the_limit_waits_for_an_end() {
        let all = connections(1);
        let first = admitted(&all).await;
        let mut second = pin!(admitted(&all));
        assert!(poll(second.as_mut()).is_pending());
        drop(first);
        assert!(poll(second.as_mut()).is_ready());
        assert_eq!(all.open(), 0);
    }

    #[tokio::test]
    async fn an_idle_one_is_asked_to_go_and_a_busy_one_is_not() {
        let all = connections(1);
        let first = admitted(&all).await;
        let in_use = first.connection().begin(false);
        let mut second = pin!(admitted(&all));
        assert!(poll(second.as_mut()).is_pending());
        assert!(!first.connection().shall_end(Waker::noop()));
        drop(in_use);
        let mut third = pin!(admitted(&all));
        assert!(poll(third.as_mut()).is_pending());
        assert!(first.connection().shall_end(Waker::noop()));
    }

    #[tokio::test]
    async fn connections_beyond_a_lower_limit_end_idle_ones_first() {
        let all = connections(UNLIMITED);
        let busy = admitted(&all).await;
        let _in_use = busy.connection().begin(false);
        let idle = admitted(&all).await;
        drop(idle.connection().begin(false));
        all.set_limit(1);
        assert!(idle.connection().shall_end(Waker::noop()));
        assert!(!busy.connection().is_spent(None));
    }

    #[tokio::test]
    async fn a_connection_that_is_taken_up_again_does_not_end_under_its_request() {
        let all = connections(1);
        let first = admitted(&all).await;
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
        let open = admitted(&all).await;
        drop(open.connection().begin(false));
        assert!(!open.connection().is_spent(Some(2)));
        drop(open.connection().begin(true));
        assert!(open.connection().is_spent(Some(2)));
        assert!(!open.connection().is_spent(None));
    }

    #[tokio::test]
    async fn a_connection_is_spent_when_its_time_is_over() {
        let all = connections(UNLIMITED);
        let open = all
            .admit(&prepared(&all, Some(Duration::ZERO)), false)
            .await;
        drop(open.connection().begin(false));
        assert!(open.connection().is_spent(None));
        assert!(open.connection().shall_end(Waker::noop()));
    }
}
