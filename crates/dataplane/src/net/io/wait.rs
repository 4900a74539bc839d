//! The wait for the next request.

use super::DownstreamIo;
use super::apart::HeadEnd;
use crate::net::state::Phase;
use std::future::{Future, poll_fn};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// Why waiting for a request ended without one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::net) enum Idle {
    /// Bytes are there, or the end of the stream.
    Readable,
    /// Nothing came in time.
    TimedOut,
    /// The listener is draining.
    Closing,
}

impl DownstreamIo {
    /// Looks for the end of a head from here on, where heads are kept apart.
    fn expect_head(&mut self) {
        if let Some(end) = &mut self.head_end {
            *end = HeadEnd::default();
        }
    }

    /// Whether nothing of the next request has been read.
    pub(in crate::net) fn is_between_requests(&self) -> bool {
        !self.prefix.is_empty() || self.state.is_between_requests()
    }

    /// Leaves the wait for the next request to Pingora, which may hold its beginning already.
    pub(in crate::net) fn leave_wait(&mut self, timeout: Duration) {
        self.idle_deadline = Instant::now() + timeout;
        self.head_bytes = 0;
        self.head_timer = None;
        self.expect_head();
        self.state.enter(Phase::Head);
    }

    /// Waits until the next request begins to arrive.
    ///
    /// Nothing is allocated meanwhile: an idle connection costs its socket and this struct.
    pub(in crate::net) async fn wait_for_request(&mut self, timeout: Duration) -> Idle {
        self.state.enter(Phase::Idle);
        self.head_bytes = 0;
        self.expect_head();
        self.gathered.shrink();
        self.idle_deadline = Instant::now() + timeout;
        let idle = poll_fn(|cx| self.poll_idle(cx)).await;
        self.state.enter(Phase::Head);
        self.head_timer = None;
        idle
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        if !self.prefix.is_empty() || self.transport.poll_readable(cx).is_ready() {
            return Poll::Ready(Idle::Readable);
        }
        self.poll_end_of_wait(cx)
    }

    /// Ready when waiting for a request is over without one.
    pub(super) fn poll_end_of_wait(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        if self.state.poll_closing(cx).is_ready() {
            return Poll::Ready(Idle::Closing);
        }
        self.poll_idle_timer(cx).map(|()| Idle::TimedOut)
    }

    /// Ready at the deadline. An older timer that fires before is moved, which spares every request
    /// in between the work of setting one.
    fn poll_idle_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.idle_deadline;
        let timer = self
            .idle_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
