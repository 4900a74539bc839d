//! What systemd is told of the process, where it wants to know (`NOTIFY_SOCKET`).
//!
//! Source: `sd_notify(3)`. For units of `Type=notify` and `Type=notify-reload`.

use sd_notify::{NotifyState, notify};
use telemetry::{Readiness, ReadinessState};
use tokio::sync::watch;

/// Tells from now on whether traffic is wanted: the unit has started when it is for the first time.
pub(crate) fn follow(readiness: &Readiness) {
    tokio::spawn(tell_all(readiness.subscribe()));
}

async fn tell_all(mut readiness: watch::Receiver<ReadinessState>) {
    let mut has_started = false;
    loop {
        let state = readiness.borrow_and_update().clone();
        let status = state.to_string();
        let status = NotifyState::Status(&status);
        if state == ReadinessState::Ready && !has_started {
            has_started = true;
            tell(&[NotifyState::Ready, status]);
        } else {
            tell(&[status]);
        }
        if readiness.changed().await.is_err() {
            return;
        }
    }
}

/// The process ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Everything is read again, by `read_again`: from here on files are followed as always, and the unit has reloaded.
/// One that has not started yet has nothing to reload.
pub(crate) fn reloading(readiness: &Readiness, read_again: impl FnOnce()) {
    if !readiness.is_ready() {
        return read_again();
    }
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "there is no monotonic clock"),
    }
    read_again();
    tell(&[NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
