//! How long an upstream asks to be left alone.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName};
use std::time::{Duration, SystemTime};

static RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Seconds beyond this are meant as a moment, in Unix time.
const FIRST_MOMENT: u64 = 1_000_000_000;

/// How long an answer asks to wait before the request is made again. `None`: it does not say.
///
/// Source: RFC 9110, section 10.2.3 for `Retry-After`; `x-ratelimit-reset` as rate limiters send it: seconds, or
/// the moment in Unix time.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if headers.is_empty() {
        return None;
    }
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let after = text(&RETRY_AFTER).and_then(|text| seconds(text).or_else(|| until(text, now)));
    after.or_else(|| reset(text(&RATE_LIMIT_RESET)?, now))
}

fn seconds(text: &str) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // What is too large for a number is too long to be waited for.
    is_number.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

fn until(text: &str, now: SystemTime) -> Option<Duration> {
    let moment = httpdate::parse_http_date(text).ok()?;
    Some(moment.duration_since(now).unwrap_or_default())
}

fn reset(text: &str, now: SystemTime) -> Option<Duration> {
    let told = seconds(text)?;
    if told.as_secs() < FIRST_MOMENT {
        return Some(told);
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(told.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::headers;

    /// Sat, 28 Nov 2026 09:00:00 GMT
    const NOW: u64 = 1_795_856_400;

    #[track_caller]
    fn check(head: &[(&str, &str)], want: Option<u64>) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
        let pause = retry_after(&headers(head), now);
        assert_eq!(pause, want.map(Duration::from_secs), "{head:?}");
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        check(&[("retry-after", "3")], Some(3));
        check(&[("retry-after", " 0 ")], Some(0));
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 5));
        check(&[("retry-after", &date)], Some(5));
        check(&[("retry-after", "Sat, 01 Nov 2025 09:00:00 GMT")], Some(0));
    }

    #[test]
    fn a_rate_limiter_names_seconds_or_a_moment() {
        check(&[("x-ratelimit-reset", "7")], Some(7));
        let moment = (NOW + 9).to_string();
        check(&[("x-ratelimit-reset", &moment)], Some(9));
        check(&[("x-ratelimit-reset", "1000000000")], Some(0));
    }

    #[test]
    fn retry_after_comes_first() {
        check(&[("x-ratelimit-reset", "7"), ("retry-after", "1")], Some(1));
    }

    #[test]
    fn nonsense_says_nothing() {
        check(&[], None);
        check(&[("retry-after", "")], None);
        check(&[("retry-after", "-1")], None);
        check(&[("retry-after", "soon")], None);
        check(&[("retry-after", "99999999999999999999")], Some(u64::MAX));
    }
}
