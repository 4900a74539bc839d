//! One at a time: two that compare rules and change them at once would undo each other's.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// The network in which the calling thread is, as a file. Whoever is in it has the same, and nobody else.
const NETWORK: &str = "/proc/thread-self/ns/net";

/// How long another is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the other has ended: a change takes a tenth of a second.
const PAUSE: Duration = Duration::from_millis(20);

/// The right to change rules, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Closing it gives the right back.
    _file: Option<File>,
}

impl Lock {
    /// Waits for it. Who has waited for half a minute, or has no such file, goes on without: any process of the machine
    /// can hold it, and must not be able to keep traffic from being captured.
    pub(crate) fn take() -> Self {
        Self {
            _file: File::open(NETWORK)
                .ok()
                .and_then(|file| locked(file, PATIENCE)),
        }
    }
}

fn locked(file: File, patience: Duration) -> Option<File> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Some(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_but_not_for_ever() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let first = locked(open(), Duration::ZERO).unwrap();
        assert!(locked(open(), Duration::from_millis(50)).is_none());
        drop(first);
        assert!(locked(open(), Duration::ZERO).is_some());
    }
}
