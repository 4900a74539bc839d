//! What is known of one downstream connection while it lives.

use crate::labels::Labelled;
use atomic_waker::AtomicWaker;
use http::HeaderValue;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

/// Where a connection stands between two requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// No request: nothing of the next one has arrived.
    Idle,
    /// A request head is arriving: its size and time are limited.
    Head,
    /// A request is being served: limits are the route's.
    Request,
}

/// Why a request head was answered below HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefusedHead {
    /// More bytes than it may have: 431.
    TooLarge,
    /// Slower than it may be: 408.
    TooSlow,
}

/// One downstream connection, as its reader, its requests, the listener and the admin pages share it.
#[derive(Debug)]
pub struct ConnectionState {
    /// Unique in this process.
    pub id: u64,
    /// The client's address.
    pub peer: SocketAddr,
    phase: AtomicU8,
    requests: AtomicU64,
    received: AtomicU64,
    /// What `received` will be when the present request has come in whole.
    request_ends: AtomicU64,
    sent: AtomicU64,
    /// 0, or a [`RefusedHead`] plus one.
    refused: AtomicU8,
    closing: AtomicBool,
    /// Every answer from now on is its last.
    ending: AtomicBool,
    waker: AtomicWaker,
    /// The client's address, once a request asked for it.
    pub(crate) peer_value: OnceLock<HeaderValue>,
    /// Who the client is in metrics, once somebody counted.
    pub(crate) peer_labels: OnceLock<Arc<Labelled>>,
}

impl ConnectionState {
    /// A connection on which nothing has happened yet.
    pub fn new(id: u64, peer: SocketAddr) -> Self {
        Self {
            id,
            peer,
            phase: AtomicU8::new(Phase::Idle as u8),
            requests: AtomicU64::new(0),
            received: AtomicU64::new(0),
            request_ends: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            refused: AtomicU8::new(0),
            closing: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            peer_value: OnceLock::new(),
            peer_labels: OnceLock::new(),
        }
    }

    /// Where the connection stands.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Request,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The head of a request is complete: from here on the route's limits hold.
    ///
    /// `bytes`: the length of head and body together. `None` when only its end will tell.
    pub fn request_started(&self, bytes: Option<u64>) {
        if self.requests.fetch_add(1, Ordering::Relaxed) == 0 {
            self.waker.wake();
        }
        self.enter(Phase::Request);
        let began = self.request_ends.load(Ordering::Relaxed);
        let ends = bytes.map_or(u64::MAX, |bytes| began.saturating_add(bytes));
        self.request_ends.store(ends, Ordering::Relaxed);
    }

    /// Whether everything that came belongs to requests that were served: the next one has not begun.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.received() == self.request_ends.load(Ordering::Relaxed)
    }

    /// Requests whose head was complete, the present one included.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn refuse(&self, why: RefusedHead) {
        self.refused.store(why as u8 + 1, Ordering::Relaxed);
    }

    /// Why the connection ends with a head that was answered below HTTP, if it does.
    pub fn refused(&self) -> Option<RefusedHead> {
        match self.refused.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(RefusedHead::TooLarge),
            _ => Some(RefusedHead::TooSlow),
        }
    }

    /// Bytes read from the client so far, above TLS.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes written to the client so far, above TLS.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(super) fn add_received(&self, bytes: usize) {
        // One reader: no need for an atomic addition.
        let total = self.received.load(Ordering::Relaxed) + bytes as u64;
        self.received.store(total, Ordering::Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        let total = self.sent.load(Ordering::Relaxed) + bytes as u64;
        self.sent.store(total, Ordering::Relaxed);
    }

    /// Asks the connection to end as soon as it serves no request.
    pub fn close_when_idle(&self) {
        self.closing.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Has every answer from now on say that it is the last.
    pub(super) fn announce_end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether an answer that is written now is the connection's last.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed) || self.is_closing()
    }

    /// Whether the connection was asked to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Ready when a request has begun on it.
    pub(super) fn poll_begun(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, || self.requests() > 0)
    }

    /// Ready when the connection was asked to end.
    pub(super) fn poll_closing(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll(cx, || self.is_closing())
    }

    /// One task at a time may wait, for either.
    fn poll(&self, cx: &Context<'_>, is_ready: impl Fn() -> bool) -> Poll<()> {
        if is_ready() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn state() -> ConnectionState {
        ConnectionState::new(1, SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn a_started_request_is_counted_and_leaves_the_head_phase() {
        let state = state();
        state.enter(Phase::Head);
        state.request_started(Some(10));
        assert_eq!((state.phase(), state.requests()), (Phase::Request, 1));
    }

    #[test]
    fn what_came_beyond_a_request_belongs_to_the_next() {
        let state = state();
        state.add_received(25);
        state.request_started(Some(10));
        assert!(!state.is_between_requests());
        state.request_started(Some(15));
        assert!(state.is_between_requests());
        state.request_started(None);
        assert!(!state.is_between_requests());
    }

    #[tokio::test]
    async fn closing_wakes_a_waiting_reader() {
        let state = Arc::new(state());
        let waiting = state.clone();
        let reader = tokio::spawn(async move { poll_fn(|cx| waiting.poll_closing(cx)).await });
        tokio::task::yield_now().await;
        state.close_when_idle();
        reader.await.unwrap();
    }
}
