//! Istio's `HTTPRetry` at work: whether a failed attempt is made again, and when.

use crate::{Dice, RetryOn, RetryPolicy};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use std::time::Duration;

/// The first interval of the back-off unless a policy says otherwise.
const DEFAULT_BACKOFF: Duration = Duration::from_millis(25);

/// The longest wait, as a multiple of the first interval.
const MAX_BACKOFF: u32 = 10;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
static RATELIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

const CONDITIONS: [(&str, RetryOn); 15] = [
    ("5xx", RetryOn::FIVE_XX),
    ("gateway-error", RetryOn::GATEWAY_ERROR),
    ("reset", RetryOn::RESET),
    ("reset-before-request", RetryOn::RESET_BEFORE_REQUEST),
    ("connect-failure", RetryOn::CONNECT_FAILURE),
    ("envoy-ratelimited", RetryOn::RATELIMITED),
    ("retriable-4xx", RetryOn::RETRIABLE_4XX),
    ("refused-stream", RetryOn::REFUSED_STREAM),
    ("retriable-status-codes", RetryOn::RETRIABLE_STATUS_CODES),
    ("retriable-headers", RetryOn::RETRIABLE_HEADERS),
    ("cancelled", RetryOn::CANCELLED),
    ("deadline-exceeded", RetryOn::DEADLINE_EXCEEDED),
    ("internal", RetryOn::INTERNAL),
    ("resource-exhausted", RetryOn::RESOURCE_EXHAUSTED),
    ("unavailable", RetryOn::UNAVAILABLE),
];

/// A word of `retryOn` that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no retry condition")]
pub struct InvalidRetryOn(pub String);

impl RetryOn {
    /// Reads a comma-separated list of conditions. Numbers are statuses: they come back sorted, and
    /// bring `retriable-status-codes` with them.
    ///
    /// # Errors
    /// The first entry that is neither; spaces count.
    pub fn parse(list: &str) -> Result<(Self, Vec<u16>), InvalidRetryOn> {
        let mut conditions = Self::empty();
        let mut statuses = Vec::new();
        for word in list.split(',') {
            if let Some((_, condition)) = CONDITIONS.iter().find(|(name, _)| *name == word) {
                conditions |= *condition;
            } else if let Some(status) = status(word) {
                conditions |= Self::RETRIABLE_STATUS_CODES;
                statuses.push(status);
            } else if word != "http3-post-connect-failure" {
                // HTTP/3 upstreams do not exist here; the condition is valid and never met.
                return Err(InvalidRetryOn(word.to_owned()));
            }
        }
        statuses.sort_unstable();
        statuses.dedup();
        Ok((conditions, statuses))
    }

    /// What a gRPC status is called in `retryOn`. Empty: it is never retried.
    fn of_grpc_status(status: &[u8]) -> Self {
        match status {
            b"1" => Self::CANCELLED,
            b"4" => Self::DEADLINE_EXCEEDED,
            b"8" => Self::RESOURCE_EXHAUSTED,
            b"13" => Self::INTERNAL,
            b"14" => Self::UNAVAILABLE,
            _ => Self::empty(),
        }
    }
}

fn status(word: &str) -> Option<u16> {
    let is_number = word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse()
        .ok()
        .filter(|status| is_number && (100..600).contains(status))
}

/// How an attempt ended that may be made again.
#[derive(Clone, Copy, Debug)]
pub enum AttemptFailure<'a> {
    /// No connection: refused, unreachable, TLS failed, or it took too long.
    Connect,
    /// The connection broke before any byte of an answer.
    Reset {
        /// Whether bytes of the request had been written.
        request_sent: bool,
    },
    /// The upstream said that it has not looked at the request: HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// No answer within `perTryTimeout`.
    PerTryTimeout,
    /// A limit of ours held the attempt back.
    Overflow,
    /// An answer.
    Response {
        /// Its status.
        status: StatusCode,
        /// Its headers, where gRPC statuses and Envoy's marks stand.
        headers: &'a HeaderMap,
        /// What `x-envoy-retriable-header-names` of the request names.
        retriable_headers: &'a [HeaderName],
    },
}

impl RetryPolicy {
    /// The policy of a route that has none: two more attempts when nothing was answered and the
    /// request cannot have been worked on, or gRPC says UNAVAILABLE or CANCELLED.
    pub fn istio_default() -> Self {
        Self {
            attempts: 2,
            per_try_timeout: None,
            retry_on: Self::default_conditions(),
            statuses: Vec::new(),
            backoff: DEFAULT_BACKOFF,
            avoid_tried: true,
            remote_localities: false,
            asked_for: false,
        }
    }

    /// The conditions of `retries` without `retryOn`.
    pub fn default_conditions() -> RetryOn {
        RetryOn::CONNECT_FAILURE
            | RetryOn::REFUSED_STREAM
            | RetryOn::UNAVAILABLE
            | RetryOn::CANCELLED
            | RetryOn::RETRIABLE_STATUS_CODES
    }

    /// Whether the conditions cover a failure. How many attempts were made, whether the request can
    /// be [sent again](Self::may_send_again) and whether time is left is not asked here.
    pub fn allows(&self, failure: &AttemptFailure<'_>) -> bool {
        let covering = match failure {
            AttemptFailure::Overflow => return false,
            AttemptFailure::Response {
                status,
                headers,
                retriable_headers,
            } => {
                return self.allows_response(*status, headers, retriable_headers);
            }
            AttemptFailure::Connect
            | AttemptFailure::Reset {
                request_sent: false,
            } => RetryOn::RESET_BEFORE_REQUEST,
            AttemptFailure::RefusedStream => RetryOn::REFUSED_STREAM,
            AttemptFailure::Reset { request_sent: true } | AttemptFailure::PerTryTimeout => {
                RetryOn::empty()
            }
        };
        let connect = match failure {
            AttemptFailure::Connect => RetryOn::CONNECT_FAILURE,
            _ => RetryOn::empty(),
        };
        let no_answer = RetryOn::FIVE_XX | RetryOn::GATEWAY_ERROR | RetryOn::RESET;
        self.retry_on.intersects(no_answer | covering | connect)
    }

    fn allows_response(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        names: &[HeaderName],
    ) -> bool {
        let met = self.conditions_met(status, headers, names);
        let is_covered = self.retry_on.intersects(met);
        let retries_limited = self.retry_on.contains(RetryOn::RATELIMITED);
        // Answers that no policy covers are most: they are not searched for Envoy's marks.
        if !is_covered && !retries_limited || headers.contains_key(&OVERLOADED) {
            return false;
        }
        match headers.contains_key(&RATELIMITED) {
            true => retries_limited,
            false => is_covered,
        }
    }

    /// Every condition that a response meets.
    fn conditions_met(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        names: &[HeaderName],
    ) -> RetryOn {
        let grpc = headers
            .get(&GRPC_STATUS)
            .map(|status| RetryOn::of_grpc_status(status.as_bytes()));
        let mut met = grpc.unwrap_or(RetryOn::empty());
        met.set(RetryOn::FIVE_XX, status.is_server_error());
        met.set(RetryOn::GATEWAY_ERROR, matches!(status.as_u16(), 502..=504));
        met.set(RetryOn::RETRIABLE_4XX, status == StatusCode::CONFLICT);
        met.set(
            RetryOn::RETRIABLE_STATUS_CODES,
            self.statuses.contains(&status.as_u16()),
        );
        met.set(
            RetryOn::RETRIABLE_HEADERS,
            names.iter().any(|name| headers.contains_key(name)),
        );
        met
    }

    /// Whether the request can be sent once more without doing its work twice unasked (promise 10).
    ///
    /// `request_bytes_sent` is false when no byte left, and when the upstream refused the stream.
    pub fn may_send_again(&self, method: &Method, request_bytes_sent: bool) -> bool {
        !request_bytes_sent || self.asked_for || method.is_idempotent()
    }

    /// How long to wait before retry number `retry`, counted from 1.
    pub fn backoff_before(&self, retry: u32, dice: &mut impl Dice) -> Duration {
        let steps = 1_u32.checked_shl(retry).map_or(u32::MAX, |power| power - 1);
        let longest = self.backoff.saturating_mul(steps.min(MAX_BACKOFF));
        let micros = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(u64::from(dice.roll(micros.saturating_add(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{headers, loaded};

    fn policy(retry_on: &str) -> RetryPolicy {
        let (retry_on, statuses) = RetryOn::parse(retry_on).unwrap();
        RetryPolicy {
            retry_on,
            statuses,
            asked_for: true,
            ..RetryPolicy::istio_default()
        }
    }

    const CONNECT: AttemptFailure<'_> = AttemptFailure::Connect;
    const EARLY_RESET: AttemptFailure<'_> = AttemptFailure::Reset {
        request_sent: false,
    };
    const LATE_RESET: AttemptFailure<'_> = AttemptFailure::Reset { request_sent: true };
    const REFUSED: AttemptFailure<'_> = AttemptFailure::RefusedStream;
    const TIMEOUT: AttemptFailure<'_> = AttemptFailure::PerTryTimeout;

    /// Which of these are retried: connect failure, reset before the request was sent, reset after,
    /// refused stream, per-try timeout.
    #[track_caller]
    fn check_silent(retry_on: &str, want: [bool; 5]) {
        let got = [CONNECT, EARLY_RESET, LATE_RESET, REFUSED, TIMEOUT]
            .map(|failure| policy(retry_on).allows(&failure));
        assert_eq!(got, want, "{retry_on}");
    }

    fn retries(retry_on: &str, status: u16, pairs: &[(&str, &str)]) -> bool {
        let headers = headers(pairs);
        let status = StatusCode::from_u16(status).unwrap();
        policy(retry_on).allows(&AttemptFailure::Response {
            status,
            headers: &headers,
            retriable_headers: &[HeaderName::from_static("x-again")],
        })
    }

    #[test]
    fn failures_without_an_answer() {
        check_silent("5xx", [true; 5]);
        check_silent("gateway-error", [true; 5]);
        check_silent("reset", [true; 5]);
        check_silent("reset-before-request", [true, true, false, false, false]);
        check_silent("connect-failure", [true, false, false, false, false]);
        check_silent("refused-stream", [false, false, false, true, false]);
        check_silent(
            "retriable-4xx,503,unavailable,retriable-headers",
            [false; 5],
        );
    }

    #[test]
    fn statuses() {
        let statuses = [200, 404, 409, 500, 502, 503, 504, 599];
        let retried = |retry_on| {
            statuses
                .into_iter()
                .filter(|status| retries(retry_on, *status, &[]))
                .collect::<Vec<_>>()
        };
        assert_eq!(retried("5xx"), [500, 502, 503, 504, 599]);
        assert_eq!(retried("gateway-error"), [502, 503, 504]);
        assert_eq!(retried("retriable-4xx"), [409]);
        assert_eq!(retried("404,503"), [404, 503]);
        assert_eq!(
            retried("connect-failure,reset,retriable-status-codes"),
            [0; 0]
        );
    }

    #[test]
    fn grpc_statuses_of_the_response_headers() {
        let conditions = [
            "cancelled",
            "deadline-exceeded",
            "resource-exhausted",
            "internal",
            "unavailable",
        ];
        for (condition, status) in conditions.into_iter().zip(["1", "4", "8", "13", "14"]) {
            for other in ["0", "1", "4", "8", "13", "14"] {
                let got = retries(condition, 200, &[("grpc-status", other)]);
                assert_eq!(got, other == status, "{condition} on {other}");
            }
        }
    }

    #[test]
    fn a_local_overflow_is_never_retried() {
        let every = "5xx,reset,gateway-error,503,retriable-4xx,envoy-ratelimited";
        assert!(!policy(every).allows(&AttemptFailure::Overflow));
        assert!(!retries(every, 503, &[("x-envoy-overloaded", "true")]));
    }

    #[test]
    fn a_rate_limited_answer_is_retried_only_when_asked_for() {
        let limited = [("x-envoy-ratelimited", "true")];
        assert!(!retries("5xx,429", 429, &limited));
        assert!(!retries("5xx", 503, &limited));
        assert!(retries("envoy-ratelimited", 429, &limited));
        assert!(!retries("envoy-ratelimited", 429, &[]));
    }

    #[test]
    fn a_retriable_header_is_asked_for_by_name() {
        assert!(retries("retriable-headers", 200, &[("x-again", "1")]));
        assert!(!retries("retriable-headers", 200, &[("x-other", "1")]));
        assert!(!retries("5xx", 200, &[("x-again", "1")]));
    }

    #[test]
    fn by_default_connections_are_retried_and_a_503_is_not() {
        let default = RetryPolicy::istio_default();
        assert_eq!(
            (default.attempts, default.backoff),
            (2, Duration::from_millis(25))
        );
        assert!(default.allows(&CONNECT) && default.allows(&REFUSED));
        assert!(
            !default.allows(&LATE_RESET)
                && !default.allows(&TIMEOUT)
                && !default.allows(&EARLY_RESET)
        );
        let response = |headers: &HeaderMap| {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            default.allows(&AttemptFailure::Response {
                status,
                headers,
                retriable_headers: &[],
            })
        };
        assert!(!response(&headers(&[])));
        assert!(response(&headers(&[("grpc-status", "14")])));
    }

    #[test]
    fn conditions_are_read_from_a_list() {
        let (conditions, statuses) = RetryOn::parse("5xx,503,connect-failure,409,503").unwrap();
        let want = RetryOn::FIVE_XX | RetryOn::CONNECT_FAILURE | RetryOn::RETRIABLE_STATUS_CODES;
        assert_eq!((conditions, statuses), (want, vec![409, 503]));
        assert_eq!(
            RetryOn::parse("http3-post-connect-failure"),
            Ok((RetryOn::empty(), vec![]))
        );
        for word in ["", "5XX", " 5xx", "99", "600", "+12", "nonsense"] {
            assert_eq!(RetryOn::parse(word), Err(InvalidRetryOn(word.into())));
        }
        assert_eq!(
            RetryOn::parse("5xx,,reset"),
            Err(InvalidRetryOn(String::new()))
        );
    }

    #[test]
    fn what_is_not_idempotent_is_sent_again_only_unsent_or_asked_for() {
        // Promise 10.
        let default = RetryPolicy::istio_default();
        assert!(default.may_send_again(&Method::GET, true));
        assert!(default.may_send_again(&Method::PUT, true));
        assert!(default.may_send_again(&Method::POST, false));
        assert!(!default.may_send_again(&Method::POST, true));
        assert!(!default.may_send_again(&Method::PATCH, true));
        assert!(policy("5xx").may_send_again(&Method::POST, true));
    }

    #[test]
    fn the_wait_doubles_up_to_ten_times_the_first() {
        let policy = RetryPolicy::istio_default();
        let longest = |retry| policy.backoff_before(retry, &mut loaded(1.0)).as_millis();
        let waits: Vec<_> = [1, 2, 3, 4, 5, 40, u32::MAX]
            .into_iter()
            .map(longest)
            .collect();
        assert_eq!(waits, [25, 75, 175, 250, 250, 250, 250]);
        assert_eq!(policy.backoff_before(3, &mut loaded(0.0)), Duration::ZERO);
    }
}
