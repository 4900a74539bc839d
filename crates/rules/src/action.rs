//! What a route does: Istio's `HTTPRoute` without its `match`, compiled.

use crate::{ClusterTarget, HeaderOps, Pattern};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use model::Origin;
use regex::Regex;
use std::sync::Arc;
use std::time::Duration;

/// A route's action.
#[derive(Debug)]
pub enum Action {
    /// Sent on to an upstream.
    Forward(Box<ForwardAction>),
    /// Answered with a `Location`.
    Redirect(Box<RedirectAction>),
    /// Answered as written.
    DirectResponse(DirectResponseAction),
}

/// Everything that shapes a forwarded request.
#[derive(Debug)]
pub struct ForwardAction {
    /// Where requests go, by weight. Never empty; the sum of weights is at least 1.
    pub destinations: Vec<WeightedDestination>,
    /// The sum of the weights.
    pub total_weight: u32,
    /// How many destinations the route was written with, which orders header operations.
    pub written: WrittenDestinations,
    /// How the path is rewritten before it is sent upstream.
    pub path_rewrite: Option<PathRewrite>,
    /// The new `Host`, of the route level. It beats a destination's.
    pub authority_rewrite: Option<HeaderValue>,
    /// Route-level operations on the request.
    pub request_headers: HeaderOps,
    /// Route-level operations on the response.
    pub response_headers: HeaderOps,
    /// The whole exchange, retries and body included. Absent: no limit.
    ///
    /// Source: Istio `HTTPRoute.timeout`.
    pub timeout: Option<Duration>,
    /// When and how a failed attempt is made again.
    pub retry: RetryPolicy,
    /// Injected delay and abort.
    pub fault: Option<Fault>,
    /// Copies sent elsewhere, their answers dropped.
    pub mirrors: Vec<Mirror>,
    /// Cross-origin policy.
    pub cors: Option<CorsPolicy>,
}

impl ForwardAction {
    /// To these destinations, of which there is at least one, with Istio's default for everything else.
    pub fn to(destinations: Vec<WeightedDestination>) -> Self {
        Self {
            total_weight: destinations.iter().map(|one| one.weight).sum(),
            written: WrittenDestinations::of(destinations.len()),
            destinations,
            path_rewrite: None,
            authority_rewrite: None,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            timeout: None,
            retry: RetryPolicy::istio_default(),
            fault: None,
            mirrors: Vec::new(),
            cors: None,
        }
    }
}

impl WeightedDestination {
    /// The only destination, or one of several with equal shares, which changes nothing about requests.
    pub fn to(cluster: ClusterTarget, origin: Arc<Origin>) -> Self {
        Self {
            weight: 1,
            cluster,
            request_headers: HeaderOps::default(),
            response_headers: HeaderOps::default(),
            authority_rewrite: None,
            origin,
        }
    }
}

/// How many destinations a route was written with, those of weight 0 included.
///
/// Istio orders header operations by this number and drops what has no weight only afterwards, so that
/// a shift from 99/1 to 100/0 does not change whose `set` wins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WrittenDestinations {
    /// One, which takes everything whatever its weight.
    One,
    /// Several, even if only one of them has a weight.
    Several,
}

impl WrittenDestinations {
    /// Of a list of this length.
    pub fn of(count: usize) -> Self {
        if count > 1 { Self::Several } else { Self::One }
    }
}

/// One of a route's destinations.
#[derive(Debug)]
pub struct WeightedDestination {
    /// Relative share, at least 1.
    pub weight: u32,
    /// The cluster, or why there is none.
    pub cluster: ClusterTarget,
    /// Destination-level operations on the request. See [`ForwardAction`] for the route's.
    ///
    /// They run after the route's or before, see [`WrittenDestinations`].
    pub request_headers: HeaderOps,
    /// Destination-level operations on the response.
    pub response_headers: HeaderOps,
    /// The new `Host` when the route level names none.
    pub authority_rewrite: Option<HeaderValue>,
    /// Where `destination` stands.
    pub origin: Arc<Origin>,
}

/// How a path changes on its way upstream.
#[derive(Debug)]
pub enum PathRewrite {
    /// Replaces the first `matched` bytes (the prefix that matched) by `with`.
    Prefix {
        /// Length of the matched prefix.
        matched: usize,
        /// What stands there instead.
        with: String,
    },
    /// Replaces the whole path. A query inside replaces nothing: the request's own is kept unless this has one.
    Full(String),
    /// Substitutes every match.
    Regex {
        /// Not anchored.
        pattern: Regex,
        /// With `${1}` groups, already translated from Istio's `\1`.
        with: String,
    },
}

/// A redirect, answered with an empty body.
#[derive(Debug)]
pub struct RedirectAction {
    /// 301, 302, 303, 307 or 308.
    pub code: StatusCode,
    /// New scheme. Absent: the request's.
    pub scheme: Option<String>,
    /// New host. Absent: the request's.
    pub authority: Option<String>,
    /// Which port the `Location` names.
    pub port: RedirectPort,
    /// What becomes of the path.
    pub path: RedirectPath,
    /// Operations on the response.
    pub response_headers: HeaderOps,
}

/// The port of a redirect's `Location`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RedirectPort {
    /// `derivePort: FROM_PROTOCOL_DEFAULT`: none is added, the Host's own survives unless the scheme changes.
    ProtocolDefault,
    /// `derivePort: FROM_REQUEST_PORT`: this listener port, dropped when it is the scheme's default.
    Request(u16),
    /// `port`.
    Explicit(u16),
}

/// The path of a redirect's `Location`.
#[derive(Debug)]
pub enum RedirectPath {
    /// As requested.
    Keep,
    /// The whole path; the request's query is kept unless this has a `?`.
    Full(String),
    /// The matched prefix, of this length, replaced.
    Prefix {
        /// Length of the matched prefix.
        matched: usize,
        /// What stands there instead.
        with: String,
    },
}

/// A fixed answer.
#[derive(Debug)]
pub struct DirectResponseAction {
    /// 200 to 599.
    pub status: StatusCode,
    /// Sent as `text/plain` when not empty, unless a header operation says otherwise.
    pub body: Bytes,
    /// Operations on the response.
    pub response_headers: HeaderOps,
}

/// When and how a failed attempt is made again.
///
/// Source: Istio `HTTPRetry`; absent, Istio's default of two more attempts on connection failures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    /// Further attempts after the first. 0: none.
    pub attempts: u32,
    /// How long one attempt may take. Absent: the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// The conditions.
    pub retry_on: RetryOn,
    /// Statuses retried under `retriable-status-codes`. Sorted.
    pub statuses: Vec<u16>,
    /// Base of the back-off: attempt n waits between 0 and (2^n - 1) times this, ten times this at most.
    pub backoff: Duration,
    /// Prefer endpoints not tried in this request.
    pub avoid_tried: bool,
    /// Whether other localities may serve a retry.
    pub remote_localities: bool,
    /// Whether the VirtualService wrote the policy itself. Only then may a request that is not
    /// idempotent be sent again after its bytes left (promise 10).
    pub asked_for: bool,
}

bitflags::bitflags! {
    /// Conditions of `retryOn`.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct RetryOn: u32 {
        /// Any 5xx, or no answer.
        const FIVE_XX = 1;
        /// 502, 503, 504.
        const GATEWAY_ERROR = 1 << 1;
        /// No answer at all.
        const RESET = 1 << 2;
        /// No answer, and the request had not been sent.
        const RESET_BEFORE_REQUEST = 1 << 3;
        /// No connection.
        const CONNECT_FAILURE = 1 << 4;
        /// `x-envoy-ratelimited` answered.
        const RATELIMITED = 1 << 5;
        /// 409.
        const RETRIABLE_4XX = 1 << 6;
        /// HTTP/2 REFUSED_STREAM.
        const REFUSED_STREAM = 1 << 7;
        /// One of `statuses`.
        const RETRIABLE_STATUS_CODES = 1 << 8;
        /// gRPC status 1.
        const CANCELLED = 1 << 9;
        /// gRPC status 4.
        const DEADLINE_EXCEEDED = 1 << 10;
        /// gRPC status 13.
        const INTERNAL = 1 << 11;
        /// gRPC status 8.
        const RESOURCE_EXHAUSTED = 1 << 12;
        /// gRPC status 14.
        const UNAVAILABLE = 1 << 13;
        /// An answer with a header of `x-envoy-retriable-header-names`.
        const RETRIABLE_HEADERS = 1 << 14;
    }
}

/// Injected failure. Delay and abort are drawn independently; the delay comes first.
///
/// Source: Istio `HTTPFaultInjection`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Wait before anything else.
    pub delay: Option<FaultDelay>,
    /// Answer instead of forwarding.
    pub abort: Option<FaultAbort>,
}

/// A share out of one million, as Envoy resolves percentages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PartsPerMillion(pub u32);

/// How long and how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultDelay {
    /// How long.
    pub duration: Duration,
    /// How often.
    pub share: PartsPerMillion,
}

/// With what and how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultAbort {
    /// HTTP status or gRPC status.
    pub status: AbortStatus,
    /// How often.
    pub share: PartsPerMillion,
}

/// The status of an injected abort.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AbortStatus {
    /// `httpStatus`
    Http(StatusCode),
    /// `grpcStatus`: HTTP 200 with this trailers-only status.
    Grpc(u32),
}

/// A copy of the request sent elsewhere.
#[derive(Debug)]
pub struct Mirror {
    /// Where to.
    pub cluster: ClusterTarget,
    /// How often; drawn for each mirror on its own.
    pub share: PartsPerMillion,
}

/// Cross-origin policy.
///
/// Source: Istio `CorsPolicy`.
#[derive(Debug)]
pub struct CorsPolicy {
    /// Which origins are allowed.
    pub allow_origins: Vec<OriginMatch>,
    /// `Access-Control-Allow-Methods`, joined.
    pub allow_methods: Option<HeaderValue>,
    /// `Access-Control-Allow-Headers`, joined; `*` echoes what was asked for.
    pub allow_headers: Option<HeaderValue>,
    /// `Access-Control-Expose-Headers`, joined.
    pub expose_headers: Option<HeaderValue>,
    /// `Access-Control-Max-Age` in seconds.
    pub max_age: Option<HeaderValue>,
    /// Whether `Access-Control-Allow-Credentials: true` is sent.
    pub allow_credentials: Option<bool>,
    /// Whether a preflight from another origin goes upstream.
    pub forward_unmatched_preflights: bool,
}

/// One allowed origin.
#[derive(Debug)]
pub enum OriginMatch {
    /// `*`
    Any,
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole.
    Regex(Pattern),
}
