//! When an endpoint is ejected.

use std::time::Duration;

/// Ejections last no longer than this, unless the base time is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// When an endpoint is ejected, and for how long.
///
/// Source: Istio `OutlierDetection`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutlierPolicy {
    /// Failures in a row: 5xx, or no answer unless that is counted apart. 0: off.
    pub consecutive_5xx: u32,
    /// 502, 503, 504, or no answer, in a row. 0: off.
    pub consecutive_gateway: u32,
    /// Whether missing answers count in `consecutive_local_origin` only.
    pub split_local_origin: bool,
    /// Missing answers in a row, when they are counted apart. 0: off.
    pub consecutive_local_origin: u32,
    /// Between two sweeps, which let endpoints back in.
    pub interval: Duration,
    /// Times the number of ejections in a row is how long an endpoint is out, up to 300 s or this, if it is longer.
    pub base_ejection_time: Duration,
    /// Greatest share of endpoints that may be out, 0 to 100 percent.
    pub max_ejection_percent: u8,
    /// Statuses that count as failures instead of 5xx. Empty: 5xx.
    pub error_codes: Vec<u16>,
}

impl OutlierPolicy {
    /// Nobody is ejected, and who is ejected comes back at once.
    pub fn off() -> Self {
        Self {
            consecutive_5xx: 0,
            consecutive_gateway: 0,
            split_local_origin: false,
            consecutive_local_origin: 0,
            interval: Duration::from_secs(1),
            base_ejection_time: Duration::ZERO,
            max_ejection_percent: 0,
            error_codes: Vec::new(),
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.max_ejection_percent == 0
    }

    pub(super) fn is_failure(&self, status: u16) -> bool {
        match self.error_codes.is_empty() {
            true => status >= 500,
            false => self.error_codes.contains(&status),
        }
    }

    /// How long the ejection lasts that is this many in a row.
    pub(super) fn ejection_time(&self, times: u32) -> Duration {
        let longest = LONGEST.max(self.base_ejection_time);
        self.base_ejection_time.saturating_mul(times).min(longest)
    }

    /// The number of the ejection after this many, which does not grow where the time does not.
    pub(super) fn next_times(&self, times: u32) -> u32 {
        let longest = LONGEST.max(self.base_ejection_time);
        match self.base_ejection_time.saturating_mul(times) < longest {
            true => times.saturating_add(1),
            false => times.max(1),
        }
    }

    /// Whether one more of so many endpoints may be ejected.
    ///
    /// Source: Envoy's `outlier_detection_impl.cc`: the share is taken with the new one.
    pub(super) fn admits(&self, ejected: usize, endpoints: usize) -> bool {
        100 * (ejected + 1) <= usize::from(self.max_ejection_percent) * endpoints
    }
}
