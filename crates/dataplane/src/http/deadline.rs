//! The end of a request that Pingora cannot end by itself: its future is dropped.
//!
//! Pingora bounds single reads and writes, not a whole exchange. Once response headers are on their
//! way there is nothing left to answer anyway; what remains is to cut the stream, and that is what
//! dropping its future does: an HTTP/1 connection is closed, an HTTP/2 stream reset. The same place
//! guards the connection's other requests against a panic in one of them.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::time::Sleep;

thread_local! {
    /// What the request being polled on this thread asked for.
    static WISH: Cell<Wish> = const { Cell::new(Wish::Keep) };
    /// Why the request being dropped on this thread ends.
    static ENDING: Cell<Ending> = const { Cell::new(Ending::Abandoned) };
}

#[derive(Clone, Copy)]
enum Wish {
    Keep,
    Cut(Instant),
    LetRun,
}

/// Why a request ended without having been finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    /// Whoever awaited it went away: its connection ended.
    Abandoned,
    /// Its time was over.
    Deadline,
    /// It panicked.
    Panic,
}

/// Has the request that is being polled cut at `at`. A later call replaces an earlier one.
pub(super) fn cut_at(at: Instant) {
    WISH.set(Wish::Cut(at));
}

/// Lets the request that is being polled run as long as it takes.
pub(super) fn let_run() {
    WISH.set(Wish::LetRun);
}

/// Why the request being dropped right now ends.
pub(super) fn ending() -> Ending {
    ENDING.get()
}

/// A request's future that can be cut. Resolves to `None` when it was.
pub(super) struct Cuttable<'a, T> {
    request: Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
    timer: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl<'a, T> Cuttable<'a, T> {
    pub(super) fn new(request: Pin<Box<dyn Future<Output = T> + Send + 'a>>) -> Self {
        Self {
            request: Some(request),
            timer: None,
            armed: false,
        }
    }

    fn end(&mut self, ending: Ending) -> Poll<Option<T>> {
        ENDING.set(ending);
        self.request = None;
        ENDING.set(Ending::Abandoned);
        Poll::Ready(None)
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Keep => {}
            Wish::LetRun => self.armed = false,
            Wish::Cut(at) => {
                self.armed = true;
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(at.into()),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(at.into()))),
                }
            }
        }
    }
}

impl<T> Future for Cuttable<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        let Some(request) = &mut this.request else {
            return Poll::Ready(None);
        };
        WISH.set(Wish::Keep);
        // What panicked is dropped and never looked at again.
        let polled = catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Ready(done)) => return Poll::Ready(Some(done)),
            Ok(Poll::Pending) => {}
            Err(_) => return this.end(Ending::Panic),
        }
        this.grant(WISH.replace(Wish::Keep));
        let timer = this.timer.as_mut().filter(|_| this.armed);
        if timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            return this.end(Ending::Deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// Notes why it was dropped.
    struct Witness(Arc<Mutex<Option<Ending>>>);

    impl Drop for Witness {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = Some(ending());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_cut_at_its_deadline() {
        let seen = Arc::default();
        let witness = Witness(Arc::clone(&seen));
        let request = async move {
            let _witness = witness;
            cut_at(tokio::time::Instant::now().into_std() + Duration::from_secs(1));
            std::future::pending::<()>().await;
        };
        assert_eq!(Cuttable::new(Box::pin(request)).await, None);
        assert_eq!(*seen.lock().unwrap(), Some(Ending::Deadline));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_let_run_outlives_its_deadline() {
        let request = async {
            cut_at(tokio::time::Instant::now().into_std() + Duration::from_secs(1));
            tokio::task::yield_now().await;
            let_run();
            tokio::time::sleep(Duration::from_secs(5)).await;
            7
        };
        assert_eq!(Cuttable::new(Box::pin(request)).await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_request() {
        let request = Box::pin(async { panic!("expected by a test") });
        assert_eq!(Cuttable::<()>::new(request).await, None);
    }
}
