//! How long an idle upstream connection can be trusted to be open (promise 11).

use http::header::{CONNECTION, HeaderMap, HeaderName};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What is assumed of an endpoint whose idle connection broke, when nothing was known: half of this is tried next.
const ASSUMED: Duration = Duration::from_secs(60);
/// No idle connection is given up faster than this because of what was learnt. Also how long one is kept
/// whose endpoint was not heard yet when it was dialled: Pingora takes the time before it has the answer.
const SHORTEST: Duration = Duration::from_millis(500);
/// Given up this much before the peer does, at most half of its time.
const MARGIN: Duration = Duration::from_secs(1);
/// Connections that break this soon after another broke tell the same: that the endpoint was restarted.
const ONE_CAUSE: Duration = Duration::from_secs(5);
/// After this long without a broken connection, twice the time is tried.
const RECOVERY: Duration = Duration::from_secs(600);
/// The endpoint has not answered yet.
const UNHEARD: u64 = u64::MAX;
/// It has answered, and told nothing.
const SILENT: u64 = u64::MAX - 1;
/// No connection has broken yet.
const NEVER: u64 = u64::MAX;
static HEADER: HeaderName = HeaderName::from_static("keep-alive");

/// An endpoint's own idle timeout, as far as it is known: announced, or learnt from connections that broke.
#[derive(Debug)]
pub struct KeepAlive {
    /// What answers said: milliseconds, `UNHEARD` or `SILENT`.
    announced: AtomicU64,
    /// What was learnt when a connection broke last, in milliseconds.
    learnt: AtomicU64,
    /// When that was, in milliseconds from `born`, or `NEVER`. Who moves it writes `learnt`; seeing
    /// one without the other for a moment is harmless.
    broken: AtomicU64,
    born: Instant,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            announced: AtomicU64::new(UNHEARD),
            learnt: AtomicU64::new(u64::MAX),
            broken: AtomicU64::new(NEVER),
            born: Instant::now(),
        }
    }
}

impl KeepAlive {
    /// How long an idle connection is kept: `configured`, or less when the endpoint closes earlier.
    pub fn idle_timeout(&self, configured: Duration) -> Duration {
        // The clock is read only for endpoints whose connections have broken.
        if self.broken.load(Relaxed) == NEVER {
            return self.as_announced(configured);
        }
        self.idle_timeout_at(configured, Instant::now())
    }

    fn idle_timeout_at(&self, configured: Duration, now: Instant) -> Duration {
        let announced = self.as_announced(configured);
        let learnt = self.learnt_at(self.age(now));
        learnt.map_or(announced, |learnt| {
            announced.min(Duration::from_millis(learnt))
        })
    }

    fn as_announced(&self, configured: Duration) -> Duration {
        match self.announced.load(Relaxed) {
            UNHEARD => configured.min(SHORTEST),
            SILENT => configured,
            known => configured.min(Duration::from_millis(known)),
        }
    }

    /// What broken connections have taught, doubled for each time that went well since.
    fn learnt_at(&self, age: u64) -> Option<u64> {
        let broken = self.broken.load(Relaxed);
        if broken == NEVER {
            return None;
        }
        let doublings = age.saturating_sub(broken) / millis(RECOVERY);
        let factor = 1_u64 << doublings.min(40);
        Some(self.learnt.load(Relaxed).saturating_mul(factor))
    }

    fn age(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.born))
    }

    /// Takes note of what an answer's head says, or does not say, with `Keep-Alive: timeout=N`.
    pub fn learn(&self, headers: &HeaderMap) {
        let announced = headers
            .get(&HEADER)
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
        if self.announced.load(Relaxed) != known {
            self.announced.store(known, Relaxed);
        }
    }

    fn note_silence(&self) {
        if self.announced.load(Relaxed) == UNHEARD {
            // Another answer that told more has precedence.
            let _ = self
                .announced
                .compare_exchange(UNHEARD, SILENT, Relaxed, Relaxed);
        }
    }

    /// Takes note of an idle connection that turned out to be closed: half the time is tried next. Many
    /// that break at once count as one.
    pub fn broke(&self) {
        self.broke_at(Instant::now());
    }

    fn broke_at(&self, now: Instant) {
        let age = self.age(now);
        let before = self.broken.load(Relaxed);
        if before != NEVER && age.saturating_sub(before) < millis(ONE_CAUSE) {
            return;
        }
        let announced = match self.announced.load(Relaxed) {
            UNHEARD | SILENT => None,
            known => Some(known),
        };
        let trusted = announced.into_iter().chain(self.learnt_at(age)).min();
        let half = trusted.unwrap_or_else(|| millis(ASSUMED)) / 2;
        let moved = self.broken.compare_exchange(before, age, Relaxed, Relaxed);
        if moved.is_ok() {
            self.learnt.store(half.max(millis(SHORTEST)), Relaxed);
        }
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
            HeaderName::from_static(name),
            http::HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[track_caller]
    fn check(header: &str, want: Duration) {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&head("keep-alive", header));
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
        keep_alive.learn(&head("keep-alive", "timeout=600"));
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
        keep_alive.learn(&head("keep-alive", "timeout=5"));
        keep_alive.learn(&HeaderMap::new());
        assert_eq!(keep_alive.idle_timeout(HOUR), Duration::from_secs(4));
    }

    /// An endpoint that answered without telling anything.
    fn silent() -> KeepAlive {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&HeaderMap::new());
        keep_alive
    }

    #[test]
    fn a_broken_connection_halves_the_time() {
        let keep_alive = silent();
        let mut now = Instant::now();
        for want in [30, 15] {
            now += ONE_CAUSE;
            keep_alive.broke_at(now);
            let kept = keep_alive.idle_timeout_at(HOUR, now);
            assert_eq!(kept, Duration::from_secs(want));
        }
        for _ in 0..20 {
            now += ONE_CAUSE;
            keep_alive.broke_at(now);
        }
        assert_eq!(keep_alive.idle_timeout_at(HOUR, now), SHORTEST);
    }

    #[test]
    fn what_is_announced_is_halved_too() {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&head("keep-alive", "timeout=5"));
        keep_alive.broke();
        keep_alive.learn(&head("keep-alive", "timeout=5"));
        assert_eq!(keep_alive.idle_timeout(HOUR), Duration::from_secs(2));
    }

    #[test]
    fn connections_that_break_together_count_once() {
        let keep_alive = silent();
        let now = Instant::now();
        for late in 0..20 {
            keep_alive.broke_at(now + ONE_CAUSE * late / 20);
        }
        let kept = keep_alive.idle_timeout_at(HOUR, now + ONE_CAUSE);
        assert_eq!(kept, Duration::from_secs(30));
    }

    #[test]
    fn trust_comes_back_with_time() {
        let keep_alive = silent();
        let broken = Instant::now();
        keep_alive.broke_at(broken);
        let kept = |after| keep_alive.idle_timeout_at(HOUR, broken + after);
        assert_eq!(
            kept(RECOVERY - Duration::from_secs(1)),
            Duration::from_secs(30)
        );
        assert_eq!(kept(RECOVERY), Duration::from_secs(60));
        assert_eq!(kept(RECOVERY * 2), Duration::from_secs(120));
        assert_eq!(kept(RECOVERY * 7), HOUR);
        assert_eq!(kept(RECOVERY * 100_000), HOUR);
        // What has come back is what is halved next.
        keep_alive.broke_at(broken + RECOVERY * 2);
        assert_eq!(kept(RECOVERY * 2), Duration::from_secs(60));
    }

    #[test]
    fn trust_does_not_grow_beyond_what_was_announced() {
        let keep_alive = KeepAlive::default();
        keep_alive.learn(&head("keep-alive", "timeout=5"));
        let now = Instant::now();
        keep_alive.broke_at(now);
        let kept = keep_alive.idle_timeout_at(HOUR, now + RECOVERY * 9);
        assert_eq!(kept, Duration::from_secs(4));
    }
}
