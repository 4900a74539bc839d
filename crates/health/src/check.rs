//! What is asked, and how often.

use http::uri::{Authority, PathAndQuery};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How endpoints are asked, and how many answers it takes to believe them.
///
/// Source: Envoy `HealthCheck`. There a 503 alone makes an endpoint unhealthy, whatever the threshold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    /// What is asked.
    pub ask: Ask,
    /// From the end of one probe to the begin of the next. More than a day counts as a day.
    pub interval: Duration,
    /// How long a probe may take, from connecting to the end of its answer.
    pub timeout: Duration,
    /// The first probe is put off by a random part of this, and every interval made longer by one, so that endpoints
    /// that came together are not asked together. Zero: none. More than a day counts as a day.
    pub jitter: Duration,
    /// Successes in a row before an unhealthy endpoint is healthy.
    pub healthy_threshold: NonZeroU32,
    /// Failures in a row before an endpoint is unhealthy. A 503 counts as any other.
    pub unhealthy_threshold: NonZeroU32,
}

/// What an endpoint is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ask {
    /// `GET` over HTTP/1.1.
    Http {
        /// The `Host` header. Absent: the service host.
        host: Option<Authority>,
        /// What is asked for.
        path: PathAndQuery,
        /// The statuses of a healthy endpoint.
        expected: Statuses,
    },
    /// `grpc.health.v1.Health/Check` over HTTP/2 with prior knowledge, which has to answer `SERVING`.
    Grpc {
        /// The `:authority`. Absent: the service host.
        host: Option<Authority>,
        /// The gRPC service that is asked about. Empty: the whole server.
        service: Arc<str>,
    },
    /// Nothing: that it accepts a connection is enough.
    Tcp,
}

/// A set of HTTP statuses, not empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

/// Why statuses cannot be expected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidStatuses {
    /// No endpoint would ever be healthy.
    #[error("no status is given")]
    Empty,
    /// Neither a status nor a range of them. Statuses below 200 are no final answers.
    #[error("`{0}` is neither a status from 200 to 599 nor a range of them as in `200-299`")]
    Status(String),
}

impl Statuses {
    /// Whether it is one of them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// Reads each text as a status, `204`, or as a range that includes both its ends, `200-299`.
    ///
    /// # Errors
    ///
    /// A text is neither, or there is none.
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<Self, InvalidStatuses> {
        if texts.is_empty() {
            return Err(InvalidStatuses::Empty);
        }
        let ranges = texts.iter().map(|text| {
            let text = text.as_ref();
            range(text).ok_or_else(|| InvalidStatuses::Status(text.to_owned()))
        });
        ranges.collect::<Result<_, _>>().map(Self)
    }
}

/// 200 alone.
impl Default for Statuses {
    fn default() -> Self {
        Self(vec![200..=200])
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (status(first)?, status(last)?);
    (first <= last).then_some(first..=last)
}

fn status(text: &str) -> Option<u16> {
    // `u16` would also read `+200`.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let status = text.parse().ok().filter(|_| is_number)?;
    (200..=599).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_ranges() {
        let statuses = Statuses::parse(&["204", "300-302"]).unwrap();
        for (status, want) in [
            (200, false),
            (204, true),
            (299, false),
            (300, true),
            (302, true),
            (303, false),
        ] {
            assert_eq!(statuses.contain(status), want, "{status}");
        }
        assert!(Statuses::default().contain(200) && !Statuses::default().contain(201));
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for text in [
            "",
            "2xx",
            "199",
            "600",
            "299-200",
            "200-",
            "-200",
            "+200",
            "200-299-300",
        ] {
            let want = InvalidStatuses::Status(text.to_owned());
            assert_eq!(Statuses::parse(&[text]), Err(want));
        }
        assert_eq!(Statuses::parse(&[""; 0]), Err(InvalidStatuses::Empty));
    }
}
