//! How long an idle upstream connection can be trusted to be open (promise 11).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What is assumed of an endpoint whose idle connection broke, when nothing was known: half of this is tried next.
const ASSUMED: Duration = Duration::from_secs(60);
/// No idle connection is given up faster than this because of what was learnt.
const SHORTEST: Duration = Duration::from_millis(500);
/// Given up this much before the peer does, at most half of its time.
const MARGIN: Duration = Duration::from_secs(1);
/// Nothing is known.
const UNKNOWN: u64 = u64::MAX;

/// An endpoint's own idle timeout, as far as it is known: announced, or learnt from connections that broke.
#[derive(Debug)]
pub struct KeepAlive(AtomicU64);

impl Default for KeepAlive {
    fn default() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }
}

impl KeepAlive {
    /// How long an idle connection is kept: `configured`, or less when the endpoint closes earlier.
    pub fn idle_timeout(&self, configured: Duration) -> Duration {
        match self.0.load(Relaxed) {
            UNKNOWN => configured,
            known => configured.min(Duration::from_millis(known)),
        }
    }

    /// Takes note of a `Keep-Alive: timeout=N` header.
    pub fn announced(&self, header: &[u8]) {
        let Some(timeout) = announced_timeout(header) else {
            return;
        };
        let safe = timeout
            .saturating_sub(MARGIN)
            .max(timeout / 2)
            .max(SHORTEST);
        self.0.store(millis(safe), Relaxed);
    }

    /// Takes note of an idle connection that turned out to be closed: half the time is tried next.
    pub fn broke(&self) {
        let half = |known: u64| {
            let known = if known == UNKNOWN {
                millis(ASSUMED)
            } else {
                known
            };
            Some((known / 2).max(millis(SHORTEST)))
        };
        // The closure always returns a value.
        let _ = self.0.fetch_update(Relaxed, Relaxed, half);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(UNKNOWN - 1)
}

/// `timeout` of `Keep-Alive: timeout=5, max=100`, in seconds.
fn announced_timeout(header: &[u8]) -> Option<Duration> {
    let header = std::str::from_utf8(header).ok()?;
    let value = header.split(',').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then_some(value)
    })?;
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[track_caller]
    fn check(header: &str, want: Duration) {
        let keep_alive = KeepAlive::default();
        keep_alive.announced(header.as_bytes());
        assert_eq!(keep_alive.idle_timeout(HOUR), want, "{header}");
    }

    #[test]
    fn what_is_announced_is_undercut() {
        check("timeout=5, max=100", Duration::from_secs(4));
        check("max=100,TIMEOUT = 65", Duration::from_secs(64));
        check("timeout=1", Duration::from_millis(500));
        check("timeout=0", Duration::from_millis(500));
        check("max=5", HOUR);
        check("timeout=soon", HOUR);
    }

    #[test]
    fn the_configured_time_is_never_exceeded() {
        let keep_alive = KeepAlive::default();
        keep_alive.announced(b"timeout=600");
        assert_eq!(
            keep_alive.idle_timeout(Duration::from_secs(10)),
            Duration::from_secs(10)
        );
    }

    #[test]
    fn each_broken_connection_halves_the_time() {
        let keep_alive = KeepAlive::default();
        keep_alive.broke();
        assert_eq!(keep_alive.idle_timeout(HOUR), Duration::from_secs(30));
        (0..20).for_each(|_| keep_alive.broke());
        assert_eq!(keep_alive.idle_timeout(HOUR), SHORTEST);
    }
}
