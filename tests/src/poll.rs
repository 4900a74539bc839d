//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

/// How long a test waits for what should happen at once, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `probe` says yes.
///
/// # Panics
///
/// When it has not within [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn eventually(what: &str, mut probe: impl FnMut() -> bool) {
    let seen = poll_for(PATIENCE, || probe().then_some(()));
    assert!(seen.is_some(), "waited {PATIENCE:?} in vain: {what}");
}

/// Asks `probe` again and again until it has an answer or the time is over.
pub fn poll_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
