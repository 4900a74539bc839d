//! What HTTP routes do.

use super::Destination;
use crate::{At, Percent, RegexSource, StringMatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Operations on headers of both directions.
///
/// Source: Istio `Headers`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Headers {
    /// On the request.
    pub request: HeaderOperations,
    /// On the response.
    pub response: HeaderOperations,
}

/// Operations on headers of one direction. Names are valid and as written; of two names that differ
/// in case only, there is one. None is of the headers about one connection and its framing, such as
/// `Content-Length`. Values may hold Envoy's format operators, no stray `%` and no line break.
///
/// Source: Istio `Headers.HeaderOperations`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderOperations {
    /// Overwrites or creates. In a request, `Host` and `:authority` mean the host to send.
    pub set: BTreeMap<String, String>,
    /// Appends one more value. In a request, `Host` and `:authority` mean the host to send.
    pub add: BTreeMap<String, String>,
    /// Removed, before anything is set or added.
    pub remove: Vec<String>,
}

impl Headers {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

impl HeaderOperations {
    /// Whether nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Path and host sent upstream. At least one field is there.
///
/// Source: Istio `HTTPRewrite`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpRewrite {
    /// Where it stands.
    pub at: At,
    /// Replaces the matched prefix, or the whole path after another kind of match. Excludes
    /// `uri_regex_rewrite`.
    pub uri: Option<String>,
    /// The new host.
    pub authority: Option<String>,
    /// Substitutes every match in the path.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A substitution.
///
/// Source: Istio `RegexRewrite`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegexRewrite {
    /// Not anchored (`match`).
    pub pattern: RegexSource,
    /// With `\1` for groups, each of which exists.
    pub rewrite: String,
}

/// An answer that sends the client elsewhere. At least one of the parts is changed.
///
/// Source: Istio `HTTPRedirect`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpRedirect {
    /// Where it stands.
    pub at: At,
    /// Replaces the whole path. Excludes `prefix_rewrite`.
    pub uri: Option<String>,
    /// Replaces the matched prefix.
    pub prefix_rewrite: Option<String>,
    /// Replaces the host.
    pub authority: Option<String>,
    /// `port` or `derivePort`.
    pub port: RedirectPort,
    /// Absent: the request's.
    pub scheme: Option<RedirectScheme>,
    /// 300 to 399, 301 by default; only 301, 302, 303, 307 and 308 have an effect.
    pub redirect_code: u16,
}

/// The port of a redirect.
///
/// Source: Istio `HTTPRedirect.redirect_port`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RedirectPort {
    /// `FROM_PROTOCOL_DEFAULT`: none is added.
    #[default]
    FromProtocolDefault,
    /// `FROM_REQUEST_PORT`: the listener's.
    FromRequestPort,
    /// `port`
    Explicit(u16),
}

/// The scheme of a redirect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RedirectScheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl RedirectScheme {
    /// As a `Location` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A fixed answer.
///
/// Source: Istio `HTTPDirectResponse`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpDirectResponse {
    /// Where it stands.
    pub at: At,
    /// 200 to 599.
    pub status: u16,
    /// `body.string` or `body.bytes`. Absent: empty. At most 1 MB.
    pub body: Vec<u8>,
}

/// The VirtualService that goes on.
///
/// Source: Istio `Delegate`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delegate {
    /// Where it stands.
    pub at: At,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace. Absent in the source: the namespace of the object that delegates.
    pub namespace: Arc<str>,
}

/// When and how a failed attempt is made again.
///
/// Source: Istio `HTTPRetry`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpRetry {
    /// Where it stands.
    pub at: At,
    /// Further attempts after the first. 0: none.
    pub attempts: u32,
    /// How long one attempt may take, at least 1 ms. Absent: the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// On what. Absent: Istio's default list.
    pub retry_on: Option<Vec<RetryOn>>,
    /// Whether other localities may serve a retry. Default false.
    pub retry_remote_localities: Option<bool>,
    /// Whether endpoints that were tried are avoided. Default true.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// Base of the back-off. Absent: 25 ms.
    pub backoff: Option<Duration>,
}

/// A condition of `retryOn`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RetryOn {
    /// `5xx`
    FiveXx,
    /// `gateway-error`
    GatewayError,
    /// `reset`
    Reset,
    /// `reset-before-request`
    ResetBeforeRequest,
    /// `connect-failure`
    ConnectFailure,
    /// `envoy-ratelimited`
    EnvoyRatelimited,
    /// `retriable-4xx`
    Retriable4xx,
    /// `refused-stream`
    RefusedStream,
    /// `retriable-status-codes`
    RetriableStatusCodes,
    /// `retriable-headers`
    RetriableHeaders,
    /// `http3-post-connect-failure`
    Http3PostConnectFailure,
    /// `cancelled`
    Cancelled,
    /// `deadline-exceeded`
    DeadlineExceeded,
    /// `internal`
    Internal,
    /// `resource-exhausted`
    ResourceExhausted,
    /// `unavailable`
    Unavailable,
    /// A number: that status.
    Status(u16),
}

/// Injected failure. Delay and abort are independent; the delay comes first. At least one is there.
///
/// Source: Istio `HTTPFaultInjection`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpFaultInjection {
    /// Where it stands.
    pub at: At,
    /// Wait first.
    pub delay: Option<FaultDelay>,
    /// Answer instead of forwarding.
    pub abort: Option<FaultAbort>,
}

/// How long and how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultDelay {
    /// At least 1 ms.
    pub fixed_delay: Duration,
    /// How often. Absent in the source: never.
    pub percentage: Percent,
}

/// With what and how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FaultAbort {
    /// `httpStatus` or `grpcStatus`.
    pub status: AbortStatus,
    /// How often. Absent in the source: never.
    pub percentage: Percent,
}

/// The status of an injected abort.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AbortStatus {
    /// 200 to 599.
    Http(u16),
    /// 0 to 16.
    Grpc(u32),
}

/// A copy of the request sent elsewhere.
///
/// Source: Istio `HTTPMirrorPolicy`, or `HTTPRoute.mirror` with `mirrorPercentage`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpMirrorPolicy {
    /// Where it stands.
    pub at: At,
    /// Its path under the route: `mirror`, or `mirrors[1].destination`.
    pub path: String,
    /// Where to.
    pub destination: Destination,
    /// How often. Absent in the source: always.
    pub percentage: Percent,
}

/// Cross-origin policy.
///
/// Source: Istio `CorsPolicy`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CorsPolicy {
    /// Where it stands.
    pub at: At,
    /// Origins allowed; `exact: "*"` is any. Empty: none.
    pub allow_origins: Vec<StringMatch>,
    /// `Access-Control-Allow-Methods`; not enforced.
    pub allow_methods: Vec<String>,
    /// `Access-Control-Allow-Headers`; `*` echoes what was asked for.
    pub allow_headers: Vec<String>,
    /// `Access-Control-Expose-Headers`
    pub expose_headers: Vec<String>,
    /// `Access-Control-Max-Age`, whole seconds.
    pub max_age: Option<Duration>,
    /// `Access-Control-Allow-Credentials`. Absent: not sent.
    pub allow_credentials: Option<bool>,
    /// What becomes of a preflight from another origin.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What becomes of a preflight from an origin that is not allowed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum UnmatchedPreflights {
    /// It goes upstream.
    #[default]
    Forward,
    /// It is answered 200 without allowing anything.
    Ignore,
}
