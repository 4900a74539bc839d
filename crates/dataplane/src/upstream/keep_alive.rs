//! How long an idle upstream connection can be trusted to be open (promise 11).

use http::header::{CONNECTION, HeaderMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What is assumed of an endpoint whose idle connection broke, when nothing was known: half of this is tried next.
const ASSUMED: Duration = Duration::from_secs(60);
/// No idle connection is given up faster than this because of what was learnt. Also how long one is kept
/// whose endpoint was not heard yet when it was dialled: Pingora takes the time before it has the answer.
const SHORTEST: Duration = Duration::from_millis(500);
/// Given up this much before the peer does, at most half of its time.
const MARGIN: Duration = Duration::from_secs(1);
/// The endpoint has not answered yet.
const UNHEARD: u64 = u64::MAX;
/// It has answered, and told nothing.
const SILENT: u64 = u64::MAX - 1;
const HEADER: &str = "keep-alive";

/// An endpoint's own idle timeout, as far as it is known: announced, or learnt from connections that broke.
#[derive(Debug)]
pub struct KeepAlive(AtomicU64);

impl Default for KeepAlive {
    fn default() -> Self {
        Self(AtomicU64::new(UNHEARD))
    }
}

impl KeepAlive {
    /// How long an idle connection is kept: `configured`, or less when the endpoint closes earlier.
    pub fn idle_timeout(&self, configured: Duration) -> Duration {
        match self.0.load(Relaxed) {
            UNHEARD => configured.min(SHORTEST),
            SILENT => configured,
            known => configured.min(Duration::from_millis(known)),
        }
    }

    /// Takes note of what an answer's head says, or does not say, with `Keep-Alive: timeout=N`.
    pub fn learn(&self, headers: &HeaderMap) {
        let announced = headers
            .get(HEADER)
            .and_then(|header| announced_timeout(header.as_bytes()));
        match announced {
            Some(timeout) => self.note(safe(timeout)),
            // Who closes has no reason to announce anything.
            None if closes(headers) => {}
            None => self.note_silence(),
        }
    }

    // Every answer comes here: what is known already is not written again, as writing is what costs
    // when many threads do it.
    fn note(&self, timeout: Duration) {
        let known = millis(timeout);
        if self.0.load(Relaxed) != known {
            self.0.store(known, Relaxed);
        }
    }

    fn note_silence(&self) {
        if self.0.load(Relaxed) == UNHEARD {
            // Another answer that told more has precedence.
            let _ = self.0.compare_exchange(UNHEARD, SILENT, Relaxed, Relaxed);
        }
    }

    /// Takes note of an idle connection that turned out to be closed: half the time is tried next.
    pub fn broke(&self) {
        let half = |known: u64| {
            let assumed = match known {
                UNHEARD | SILENT => millis(ASSUMED),
                known => known,
            };
            Some((assumed / 2).max(millis(SHORTEST)))
        };
        // The closure always returns a value.
        let _ = self.0.fetch_update(Relaxed, Relaxed, half);
    }
}

fn millis(duration: Duration) -> u64 {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    millis.min(SILENT - 1)
}

/// How long a connection is kept whose endpoint keeps it for `timeout`.
fn safe(timeout: Duration) -> Duration {
    timeout
        .saturating_sub(MARGIN)
        .max(timeout / 2)
        .max(SHORTEST)
}

fn closes(headers: &HeaderMap) -> bool {
    headers
        .get(CONNECTION)
        .is_some_and(|connection| connection.as_bytes().eq_ignore_ascii_case(b"close"))
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

    fn head(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            http::HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[track_caller]
    fn check(header: &str, want: Duration) {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&head(HEADER, header));
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
        // More milliseconds than there are.
        check("timeout=18446744073709551615", HOUR);
    }

    #[test]
    fn the_configured_time_is_never_exceeded() {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&head(HEADER, "timeout=600"));
        assert_eq!(
            keep_alive.idle_timeout(Duration::from_secs(10)),
            Duration::from_secs(10)
        );
    }

    #[test]
    fn an_endpoint_not_heard_yet_is_trusted_for_a_moment_only() {
        let keep_alive = KeepAlive::default();
        assert_eq!(keep_alive.idle_timeout(HOUR), SHORTEST);
        assert_eq!(keep_alive.idle_timeout(SHORTEST / 2), SHORTEST / 2);
        keep_alive.learn(&head("connection", "Close"));
        assert_eq!(keep_alive.idle_timeout(HOUR), SHORTEST);
        keep_alive.learn(&HeaderMap::new());
        assert_eq!(keep_alive.idle_timeout(HOUR), HOUR);
    }

    #[test]
    fn silence_does_not_unsay_what_was_announced() {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&head(HEADER, "timeout=5"));
        keep_alive.learn(&HeaderMap::new());
        assert_eq!(keep_alive.idle_timeout(HOUR), Duration::from_secs(4));
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
