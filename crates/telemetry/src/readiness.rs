//! Whether the process wants traffic.

use arc_swap::ArcSwap;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A shared handle to whether the process wants traffic, answered by `/healthz/ready`.
///
/// Clones share one state. It starts not ready, with the reason `starting`.
#[derive(Clone)]
pub struct Readiness(Arc<ArcSwap<State>>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum State {
    Ready,
    NotReady(Cow<'static, str>),
}

impl Readiness {
    /// Not ready: `starting`.
    pub fn new() -> Self {
        let starting = State::NotReady(Cow::Borrowed("starting"));
        Self(Arc::new(ArcSwap::from_pointee(starting)))
    }

    /// From now on ready.
    pub fn set_ready(&self) {
        self.0.store(Arc::new(State::Ready));
    }

    /// From now on not ready, for a reason in a word or two: `draining`.
    pub fn set_not_ready(&self, reason: impl Into<Cow<'static, str>>) {
        self.0.store(Arc::new(State::NotReady(reason.into())));
    }

    /// Whether traffic is wanted.
    pub fn is_ready(&self) -> bool {
        **self.0.load() == State::Ready
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Readiness {
    /// `ready`, or `not ready: draining`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &**self.0.load() {
            State::Ready => f.write_str("ready"),
            State::NotReady(reason) => write!(f, "not ready: {reason}"),
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
}
