//! What becomes of a request.

use crate::{Denial, ForwardAction, Route, VirtualHost};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// What becomes of a request, and by whose word.
#[derive(Debug)]
pub struct Decision<'t> {
    /// The virtual host that took it. Absent: no host on this listener serves its authority.
    pub virtual_host: Option<&'t Arc<VirtualHost>>,
    /// The route that took it.
    pub route: Option<&'t Arc<Route>>,
    /// An injected delay: wait this long before anything else (flag `DI`).
    pub delay: Option<Duration>,
    /// What then happens.
    pub outcome: Outcome<'t>,
}

/// Answered here, or sent on.
#[derive(Debug)]
pub enum Outcome<'t> {
    /// Answered by the gateway itself.
    Answer(Answer),
    /// Sent to one of the action's destinations.
    Forward(Forward<'t>),
}

/// A request to be forwarded.
#[derive(Debug)]
pub struct Forward<'t> {
    /// The route's action.
    pub action: &'t ForwardAction,
    /// Index of the drawn destination in `action.destinations`.
    pub destination: usize,
    /// Indices of the mirrors drawn.
    pub mirrors: smallvec::SmallVec<[usize; 2]>,
    /// Headers that the cross-origin policy puts on the response.
    pub cors_headers: Vec<(HeaderName, HeaderValue)>,
}

/// An answer made here.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without framing, `date` and `server`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Its body; empty for most.
    pub body: Bytes,
    /// For a gRPC abort: the status to send as trailers-only instead of `status`.
    pub grpc_status: Option<u32>,
    /// Why, for the access log.
    pub reason: Reason,
}

/// Why the gateway answered by itself: Envoy's flag and details, and Tidegate's stable code.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// No virtual host serves the authority.
    NoHost,
    /// The virtual host has no route for the request.
    NoRoute,
    /// A redirect of a route.
    Redirect,
    /// `httpsRedirect` of a Gateway server.
    HttpsRedirect,
    /// A direct response.
    DirectResponse,
    /// An injected abort.
    FaultAbort,
    /// A preflight answered by the cross-origin policy.
    CorsPreflight,
    /// The way out that the client asked for is not allowed.
    Denied(Denial),
}

impl Reason {
    /// Tidegate's stable code in the access log.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoHost => "no_host",
            Self::NoRoute => "no_route",
            Self::Redirect => "redirect",
            Self::HttpsRedirect => "https_redirect",
            Self::DirectResponse => "direct_response",
            Self::FaultAbort => "fault_abort",
            Self::CorsPreflight => "cors_preflight",
            Self::Denied(denial) => denial.code(),
        }
    }

    /// Envoy's `%RESPONSE_FLAGS%` of the answer, empty for none.
    pub fn flag(self) -> &'static str {
        match self {
            Self::NoHost | Self::NoRoute => "NR",
            Self::FaultAbort => "FI",
            _ => "",
        }
    }

    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub fn details(self) -> &'static str {
        match self {
            Self::NoHost | Self::NoRoute => "route_not_found",
            Self::FaultAbort => "fault_filter_abort",
            Self::CorsPreflight => "cors_response",
            Self::Redirect | Self::HttpsRedirect | Self::DirectResponse | Self::Denied(_) => {
                "direct_response"
            }
        }
    }
}
