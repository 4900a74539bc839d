//! Whether the process wants traffic.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A shared handle to whether the process wants traffic, answered by `/healthz/ready`.
///
/// Clones share one state. It starts not ready, with the reason `starting`.
#[derive(Clone)]
pub struct Readiness(Arc<watch::Sender<ReadinessState>>);

/// Whether the process wants traffic, and why not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReadinessState {
    /// It does.
    Ready,
    /// It does not, for a reason in a few words.
    NotReady(Cow<'static, str>),
}

impl Readiness {
    /// Not ready: `starting`.
    pub fn new() -> Self {
        let starting = ReadinessState::NotReady(Cow::Borrowed("starting"));
        Self(Arc::new(watch::Sender::new(starting)))
    }

    /// From now on ready.
    pub fn set_ready(&self) {
        self.set(ReadinessState::Ready);
    }

    /// From now on not ready, for a reason in a few words: `draining`.
    pub fn set_not_ready(&self, reason: impl Into<Cow<'static, str>>) {
        self.set(ReadinessState::NotReady(reason.into()));
    }

    /// Whether traffic is wanted.
    pub fn is_ready(&self) -> bool {
        *self.0.borrow() == ReadinessState::Ready
    }

    /// What it is, and whatever it becomes.
    pub fn subscribe(&self) -> watch::Receiver<ReadinessState> {
        self.0.subscribe()
    }

    fn set(&self, state: ReadinessState) {
        self.0.send_if_modified(|known| {
            let is_new = *known != state;
            *known = state;
            is_new
        });
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.borrow().fmt(f)
    }
}

impl fmt::Display for ReadinessState {
    /// `ready`, or `not ready: draining`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::NotReady(reason) => write!(f, "not ready: {reason}"),
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readiness({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_it_is_not_ready() {
        let readiness = Readiness::new();
        let shared = readiness.clone();
        assert_eq!(readiness.to_string(), "not ready: starting");
        shared.set_ready();
        assert_eq!(
            (readiness.is_ready(), readiness.to_string()),
            (true, "ready".into())
        );
        shared.set_not_ready("draining");
        assert_eq!(readiness.to_string(), "not ready: draining");
    }

    #[test]
    fn only_changes_are_told() {
        let readiness = Readiness::new();
        let mut follower = readiness.subscribe();
        readiness.set_not_ready("starting");
        assert!(!follower.has_changed().unwrap());
        readiness.set_ready();
        assert!(follower.has_changed().unwrap());
        assert_eq!(*follower.borrow_and_update(), ReadinessState::Ready);
    }
}
