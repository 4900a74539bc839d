//! HTTP routes and what they match.

use super::{
    CorsPolicy, Delegate, Destination, Headers, HttpDirectResponse, HttpFaultInjection,
    HttpMirrorPolicy, HttpRedirect, HttpRetry, HttpRewrite,
};
use crate::{At, GatewayRef, Labels, Located, StringMatch};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A rule: when it matches, what becomes of the request.
///
/// Source: Istio `HTTPRoute`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRoute {
    /// Where it stands.
    pub at: At,
    /// For the access log.
    pub name: Option<String>,
    /// Alternatives, one of which must match (`match`). Empty: always.
    pub matches: Vec<HttpMatchRequest>,
    /// `route`, `redirect`, `directResponse` or `delegate`, exactly one.
    pub action: HttpAction,
    /// Path and host sent upstream.
    pub rewrite: Option<HttpRewrite>,
    /// The whole exchange, retries and response body included. At least 1 ms. Absent or `0s`: no limit.
    pub timeout: Option<Duration>,
    /// Absent: Istio's default of two more attempts when no connection was made.
    pub retries: Option<HttpRetry>,
    /// Injected failure.
    pub fault: Option<HttpFaultInjection>,
    /// Copies sent elsewhere: `mirror` with `mirrorPercentage`, or `mirrors`.
    pub mirrors: Vec<HttpMirrorPolicy>,
    /// Cross-origin policy.
    pub cors_policy: Option<CorsPolicy>,
    /// Operations on headers, of the route.
    pub headers: Headers,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpAction {
    /// Sent to one of these by weight. Never empty; of several, at least one has a weight above 0.
    Route(Vec<HttpRouteDestination>),
    /// Answered with a `Location`.
    Redirect(HttpRedirect),
    /// Answered as written.
    DirectResponse(HttpDirectResponse),
    /// Left to another VirtualService.
    Delegate(Delegate),
}

/// A destination with its share.
///
/// Source: Istio `HTTPRouteDestination`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRouteDestination {
    /// Where it stands.
    pub at: At,
    /// Where to.
    pub destination: Destination,
    /// Relative share. Absent means 0: nothing, unless it is the only destination, which gets everything.
    pub weight: Option<u32>,
    /// Operations on headers, of this destination.
    pub headers: Headers,
}

/// Criteria that must all hold.
///
/// Source: Istio `HTTPMatchRequest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpMatchRequest {
    /// Where it stands.
    pub at: At,
    /// For the access log, after the route's name.
    pub name: Option<String>,
    /// The path without query. A prefix is one of characters, not of segments.
    pub uri: Option<StringMatch>,
    /// Compare exact and prefix `uri` without regard to case. Default false.
    pub ignore_uri_case: bool,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// Case-sensitive.
    pub method: Option<StringMatch>,
    /// `:authority` or `Host`, with the port if there is one.
    pub authority: Option<StringMatch>,
    /// By lower-case name. Several values of a header are joined by `,` first.
    pub headers: BTreeMap<String, StringMatch>,
    /// `@request.auth.claims…` of `headers`: claims of a validated JWT.
    pub claims: Vec<ClaimMatch>,
    /// By lower-case name: headers that must not match. An absent one counts as empty, but not for
    /// [`StringMatch::Present`].
    pub without_headers: BTreeMap<String, StringMatch>,
    /// `@request.auth.claims…` of `withoutHeaders`.
    pub without_claims: Vec<ClaimMatch>,
    /// By case-sensitive name: the parameter's first value, not decoded.
    pub query_params: BTreeMap<String, StringMatch>,
    /// The listener's port: of the Gateway's server, or of the service.
    pub port: Option<u16>,
    /// Labels of the calling workload. Sidecars only, ignored when `gateways` is there.
    pub source_labels: Labels,
    /// Namespace of the calling workload. Sidecars only, ignored when `gateways` is there.
    pub source_namespace: Option<Arc<str>>,
    /// Overrides the VirtualService's. Empty: those.
    pub gateways: Vec<Located<GatewayRef>>,
    /// For statistics.
    pub stat_prefix: Option<String>,
}

/// A claim of a validated JWT.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimMatch {
    /// Names from the outermost in. Never empty.
    pub path: Vec<String>,
    /// How it is compared; a list matches when one of its items does.
    pub value: StringMatch,
}
