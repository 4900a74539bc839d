//! What is in use: requests in flight, and connections whose bytes are forwarded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// Counts what is in use, and tells when nothing is. A connection that waits for its next request is not.
#[derive(Debug, Default)]
pub struct InUse {
    count: AtomicUsize,
    emptied: Notify,
}

impl InUse {
    /// One more, until the guard is dropped.
    pub fn hold(self: &Arc<Self>) -> Using {
        self.begin();
        Using(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Returns when there is none.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// One more, which whoever calls this ends by [`Self::end`]: those that are dropped with their `Shared` at hand
    /// need no guard.
    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }
}

/// Something in use, while it exists.
#[derive(Debug)]
pub struct Using(Arc<InUse>);

impl Drop for Using {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn who_waits_is_told_when_the_last_one_ends() {
        let in_use = Arc::new(InUse::default());
        let (one, other) = (in_use.hold(), in_use.hold());
        let mut cx = Context::from_waker(Waker::noop());
        let mut emptied = pin!(in_use.emptied());
        assert!(emptied.as_mut().poll(&mut cx).is_pending());
        drop(one);
        assert!(emptied.as_mut().poll(&mut cx).is_pending());
        drop(other);
        assert!(emptied.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn one_that_began_in_time_is_waited_for() {
        let in_use = Arc::new(InUse::default());
        let mut cx = Context::from_waker(Waker::noop());
        let first = in_use.hold();
        let mut emptied = pin!(in_use.emptied());
        assert!(emptied.as_mut().poll(&mut cx).is_pending());
        drop(first);
        let _second = in_use.hold();
        assert!(emptied.as_mut().poll(&mut cx).is_pending());
        assert_eq!(in_use.count(), 1);
    }
}
