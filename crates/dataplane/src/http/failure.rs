//! What can go wrong with a request, and what the client and the log are told: one table.

use crate::tcp;
use crate::upstream::{DialError, NotFound, Overflow};
use http::StatusCode;
use pingora_error::{Error, ErrorSource, ErrorType};
use rules::{ClusterKey, Denial};
use std::borrow::Cow;
use std::sync::Arc;
use telemetry::ResponseFlags;

/// A request that Tidegate answers itself because something failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Failure {
    /// The head breaks a rule of HTTP, or one of ours.
    Refused(Refusal),
    /// No listener of the configuration is behind this connection any more.
    NoListener,
    /// The TLS server that took the connection is gone, or asks something else of its clients now.
    ServerGone,
    /// The TLS server of the connection does not serve this host (promise 13).
    Misdirected,
    /// A policy denies it.
    Forbidden(rules::Refusal),
    /// The route's destination is no known cluster.
    NoCluster(ClusterKey, Arc<str>),
    /// There is no endpoint for what the client asks for.
    NotFound(NotFound),
    /// The cluster has no endpoint.
    NoEndpoint,
    /// It has some, and all of them are ejected or unhealthy.
    NoHealthyEndpoint,
    /// A limit of the cluster's connection pool holds it back.
    Overflow(Overflow),
    /// No connection to the endpoint.
    Connect(Connect),
    /// The connection or stream ended before an answer.
    Reset(Reset),
    /// The whole exchange took too long.
    Timeout,
    /// One attempt took too long, and was the last.
    TryTimeout,
    /// The client went away.
    ClientGone,
    /// The client broke the protocol within the request.
    ClientError,
    /// The client was too slow.
    ClientTimeout,
    /// A mistake of ours.
    Internal,
}

/// Why a head is not admitted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Refusal {
    MissingHost,
    InvalidHost,
    LowVersion,
    AmbiguousLength,
    InvalidPath,
    TooManyHeaders,
    HeadTooLarge,
    HeadTooSlow,
    Connect,
    /// `Connection` names headers that are not the client's to take away.
    Nomination,
    /// A forward proxy was asked for a host and port that are none.
    InvalidTarget,
    /// `Host` is another than what a forward proxy was asked for.
    HostMismatch,
    /// A forward proxy was asked for what is no HTTP.
    UnsupportedScheme,
    /// A forward proxy was asked as if it were the origin.
    NotProxyRequest,
    /// Something came ahead of CONNECT that cannot be told from what comes behind it.
    LateConnect,
    /// Not HTTP at all; Pingora tells no more.
    Malformed,
}

/// Why there is no connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Connect {
    Timeout,
    Refused,
    Unreachable,
    /// The connection came about, but not what it was to begin with; why, in one word and in many.
    Unusable(&'static str, Cow<'static, str>),
    /// A name stands for the address that no name may stand for.
    Forbidden,
    Other(Cow<'static, str>),
}

/// How a connection or stream ended too early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reset {
    /// Closed by the upstream.
    Closed,
    /// RST_STREAM.
    Stream,
    /// RST_STREAM with REFUSED_STREAM: nothing was processed.
    RefusedStream,
    /// What came is not HTTP.
    Protocol,
}

/// What a failure becomes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Report {
    /// 0: nobody is left to tell.
    pub(crate) status: u16,
    pub(crate) body: Cow<'static, str>,
    pub(crate) flags: ResponseFlags,
    pub(crate) details: Cow<'static, str>,
    pub(crate) reason: &'static str,
    pub(crate) transport_failure: Cow<'static, str>,
}

/// Pingora's names for a chunked body that is not one.
const BROKEN_CHUNK: &str = "InvalidChunk";
const BROKEN_TRAILER: &str = "InvalidTrailerEnd";
const BEFORE_HEADERS: &str = "upstream connect error or disconnect/reset before headers. ";
/// For clients that take a forward proxy for an origin.
const HOW_TO_ASK: &str = "not_a_proxy_request: this is a forward proxy. Ask it for whole URLs, as in \
    GET http://example.org/ HTTP/1.1, or for tunnels, as in CONNECT example.org:443 HTTP/1.1. Most clients do so when \
    the environment variables http_proxy and https_proxy name it.\n";
const TIMEOUT_BODY: &str = "upstream request timeout";

/// What a client is told whose tunnel leads nowhere: the same as if it had asked with a request, but that it is 403 to
/// be refused.
pub(crate) fn report_of_connection(failure: &tcp::Failure) -> Report {
    let report = report_as_of_request(failure);
    match failure.denial() {
        Some(_) => Report {
            status: StatusCode::FORBIDDEN.as_u16(),
            ..report
        },
        None => report,
    }
}

fn report_as_of_request(failure: &tcp::Failure) -> Report {
    let failure = match failure {
        tcp::Failure::NoRoute => {
            return plain(404, "", ResponseFlags::NR, "route_not_found", "no_route");
        }
        tcp::Failure::Denied(denial) => {
            return plain(
                502,
                "",
                ResponseFlags::empty(),
                "direct_response",
                denial.code(),
            );
        }
        tcp::Failure::Forbidden(refusal) => Failure::Forbidden(refusal.clone()),
        tcp::Failure::NoCluster(key, why) => Failure::NoCluster(key.clone(), why.clone()),
        tcp::Failure::NotFound(why) => Failure::NotFound(why.clone()),
        tcp::Failure::NoEndpoint => Failure::NoEndpoint,
        tcp::Failure::Overflow => Failure::Overflow(Overflow::Connections),
        tcp::Failure::Connect(error) => Failure::Connect(Connect::of(error)),
    };
    failure.report(false)
}

impl Failure {
    /// What the client and the log are told. `retried`: this was not the first attempt.
    ///
    /// Source: Envoy's local replies, istio-api §1.12.
    pub(super) fn report(&self, retried: bool) -> Report {
        match self {
            Self::Refused(refusal) => refusal.report(),
            Self::NoListener => plain(404, "", ResponseFlags::NR, "route_not_found", "no_listener"),
            Self::ServerGone => misdirected("tls_server_gone"),
            Self::Misdirected => misdirected("misdirected"),
            Self::Forbidden(refusal) => Report {
                details: Cow::Owned(refusal.details().to_string()),
                ..plain(
                    403,
                    rules::ACCESS_DENIED,
                    ResponseFlags::empty(),
                    "",
                    refusal.code(),
                )
            },
            Self::NoCluster(key, why) => Report {
                transport_failure: Cow::Owned(format!("{key}: {why}")),
                ..plain(
                    503,
                    "",
                    ResponseFlags::NC,
                    "cluster_not_found",
                    "cluster_not_found",
                )
            },
            Self::NotFound(why) => not_found(why, retried),
            Self::NoEndpoint => no_endpoint("no_endpoint"),
            Self::NoHealthyEndpoint => no_endpoint("no_healthy_endpoint"),
            Self::Overflow(limit) => {
                let flags = ResponseFlags::UO;
                before_headers(503, "overflow", "", flags, limit.reason(), retried)
            }
            Self::Connect(connect) => connect.report(retried),
            Self::Reset(reset) => reset.report(retried),
            Self::Timeout => timeout("response_timeout", "route_timeout"),
            Self::TryTimeout => timeout("upstream_per_try_timeout", "per_try_timeout"),
            Self::ClientGone => plain(
                0,
                "",
                ResponseFlags::DC,
                "downstream_remote_disconnect",
                "client_gone",
            ),
            Self::ClientError => plain(
                400,
                "",
                ResponseFlags::DPE,
                "http1.codec_error",
                "invalid_request",
            ),
            Self::ClientTimeout => plain(
                408,
                "stream timeout",
                ResponseFlags::SI,
                "stream_idle_timeout",
                "client_timeout",
            ),
            Self::Internal => plain(
                500,
                "",
                ResponseFlags::empty(),
                "internal_error",
                "internal_error",
            ),
        }
    }

    /// What is told to a client of a forward proxy. Absent: it is not refused, but failed.
    pub(super) fn denial(&self) -> Option<Denial> {
        match self {
            Self::NotFound(why) => why.denial(),
            Self::Connect(Connect::Forbidden) => Some(Denial::Address),
            _ => None,
        }
    }

    /// Whether the connection can serve another request after the answer.
    pub(super) fn keeps_connection(&self) -> bool {
        matches!(
            self,
            Self::NoListener
                | Self::Misdirected
                | Self::NoCluster(..)
                | Self::NotFound(_)
                | Self::NoEndpoint
                | Self::NoHealthyEndpoint
                | Self::Overflow(_)
                | Self::Refused(Refusal::InvalidPath)
        )
    }

    /// What an error of Pingora means. `bound_by_try`: reads were bounded by the per-try timeout.
    pub(super) fn of(error: &Error, bound_by_try: bool) -> Self {
        match error.esource() {
            ErrorSource::Upstream => Self::of_upstream(error, bound_by_try),
            ErrorSource::Downstream => Self::of_downstream(error),
            ErrorSource::Internal | ErrorSource::Unset => Self::Internal,
        }
    }

    fn of_upstream(error: &Error, bound_by_try: bool) -> Self {
        match DialError::of(error) {
            Some(DialError::NotAdmitted) => return Self::Overflow(Overflow::Pending),
            Some(dialling) => return Self::Connect(Connect::of(dialling)),
            None => {}
        }
        match error.etype() {
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                Self::Connect(Connect::Timeout)
            }
            ErrorType::ConnectRefused => Self::Connect(Connect::Refused),
            ErrorType::ConnectNoRoute => Self::Connect(Connect::Unreachable),
            ErrorType::ConnectError
            | ErrorType::SocketError
            | ErrorType::BindError
            | ErrorType::HandshakeError
            | ErrorType::TLSHandshakeFailure
            | ErrorType::InvalidCert
            | ErrorType::ConnectProxyFailure => {
                Self::Connect(Connect::Other(error.root_cause().to_string().into()))
            }
            ErrorType::ReadTimedout | ErrorType::WriteTimedout if bound_by_try => Self::TryTimeout,
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Self::Timeout,
            _ => Self::Reset(Reset::of(error)),
        }
    }

    fn of_downstream(error: &Error) -> Self {
        match error.etype() {
            ErrorType::ReadTimedout | ErrorType::WriteTimedout => Self::ClientTimeout,
            ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 => {
                Self::ClientError
            }
            ErrorType::Custom(BROKEN_CHUNK | BROKEN_TRAILER) => Self::ClientError,
            _ => Self::ClientGone,
        }
    }
}

impl Reset {
    fn of(error: &Error) -> Self {
        if let Some(h2) = error.root_cause().downcast_ref::<h2::Error>() {
            return Self::of_http2(h2);
        }
        match error.etype() {
            ErrorType::InvalidHTTPHeader
            | ErrorType::H1Error
            | ErrorType::InvalidH2
            | ErrorType::H2Error
            | ErrorType::Custom(BROKEN_CHUNK | BROKEN_TRAILER) => Self::Protocol,
            _ => Self::Closed,
        }
    }

    fn of_http2(error: &h2::Error) -> Self {
        match error.reason() {
            _ if error.is_io() => Self::Closed,
            Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => Self::RefusedStream,
            _ if error.is_reset() && error.is_remote() => Self::Stream,
            // The streams that end with a graceful GOAWAY are those it says were not looked at.
            Some(h2::Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => {
                Self::RefusedStream
            }
            _ if error.is_go_away() && error.is_remote() => Self::Closed,
            _ => Self::Protocol,
        }
    }

    fn report(self, retried: bool) -> Report {
        let (status, reset, flags, reason) = match self {
            Self::Closed => (
                503,
                "connection termination",
                ResponseFlags::UC,
                "upstream_closed",
            ),
            Self::Stream => (503, "remote reset", ResponseFlags::UR, "upstream_reset"),
            Self::RefusedStream => (
                503,
                "remote refused stream reset",
                ResponseFlags::UR,
                "upstream_refused_stream",
            ),
            Self::Protocol => (
                502,
                "protocol error",
                ResponseFlags::UPE,
                "upstream_protocol_error",
            ),
        };
        before_headers(status, reset, "", flags, reason, retried)
    }
}

impl Connect {
    fn of(error: &DialError) -> Self {
        match error {
            DialError::Timeout => Self::Timeout,
            DialError::Refused => Self::Refused,
            DialError::Unreachable(_) => Self::Unreachable,
            DialError::Forbidden => Self::Forbidden,
            DialError::Io(error) => Self::Other(error.to_string().into()),
            other => Self::Unusable(other.reason(), other.to_string().into()),
        }
    }

    fn report(&self, retried: bool) -> Report {
        let flags = ResponseFlags::UF;
        let refused: Cow<'_, str> = match self {
            Self::Timeout => {
                return before_headers(
                    503,
                    "connection timeout",
                    "",
                    flags,
                    "connect_timeout",
                    retried,
                );
            }
            Self::Refused => "delayed connect error: Connection refused".into(),
            Self::Unreachable => "delayed connect error: No route to host".into(),
            Self::Forbidden => Denial::Address.code().into(),
            Self::Unusable(_, cause) => Cow::Borrowed(&**cause),
            Self::Other(cause) => format!("delayed connect error: {cause}").into(),
        };
        let reason = match self {
            Self::Unusable(reason, _) => *reason,
            Self::Forbidden => Denial::Address.code(),
            _ => "connect_failure",
        };
        let status = match self {
            Self::Forbidden => 502,
            _ => 503,
        };
        let report = before_headers(
            status,
            "remote connection failure",
            &refused,
            flags,
            reason,
            retried,
        );
        match self {
            // Names of files and of other servers are for the log alone.
            Self::Unusable(reason, cause) => Report {
                body: report.body.replace(&**cause, reason).into(),
                ..report
            },
            _ => report,
        }
    }
}

impl Refusal {
    /// All of them, for counters made beforehand.
    pub(super) const ALL: [Self; 16] = [
        Self::MissingHost,
        Self::InvalidHost,
        Self::LowVersion,
        Self::AmbiguousLength,
        Self::InvalidPath,
        Self::TooManyHeaders,
        Self::HeadTooLarge,
        Self::HeadTooSlow,
        Self::Connect,
        Self::Nomination,
        Self::InvalidTarget,
        Self::HostMismatch,
        Self::UnsupportedScheme,
        Self::NotProxyRequest,
        Self::LateConnect,
        Self::Malformed,
    ];

    /// Stable, for the log and the counter.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::MissingHost => "missing_host",
            Self::InvalidHost => "invalid_host",
            Self::LowVersion => "low_version",
            Self::AmbiguousLength => "ambiguous_length",
            Self::InvalidPath => "invalid_path",
            Self::TooManyHeaders => "too_many_headers",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTooSlow => "head_too_slow",
            Self::Nomination => "connection_nomination",
            Self::Connect => "connect_method",
            Self::InvalidTarget => "invalid_target",
            Self::HostMismatch => "host_mismatch",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::NotProxyRequest => "not_a_proxy_request",
            Self::LateConnect => "pipelined_connect",
            Self::Malformed => "malformed",
        }
    }

    fn report(self) -> Report {
        let (status, details) = match self {
            Self::MissingHost => (400, "missing_host_header"),
            Self::InvalidHost => (400, "invalid_host_header"),
            Self::LowVersion => (426, "low_version"),
            Self::AmbiguousLength => (400, "http1.content_length_and_chunked_not_allowed"),
            Self::InvalidPath => (400, "path_normalization_failed"),
            Self::TooManyHeaders => (431, "http1.too_many_headers"),
            Self::HeadTooLarge => (431, "http1.headers_too_large"),
            Self::HeadTooSlow => (408, "request_header_timeout"),
            Self::Nomination => (400, "http1.invalid_connection_nomination"),
            Self::Connect => (405, "connect_not_allowed"),
            Self::InvalidTarget => (400, "invalid_proxy_target"),
            Self::HostMismatch => (400, "host_and_target_differ"),
            Self::UnsupportedScheme => (400, "unsupported_scheme"),
            Self::NotProxyRequest => (400, "no_proxy_request"),
            Self::LateConnect => (400, "connect_was_pipelined"),
            Self::Malformed => (400, "http1.codec_error"),
        };
        let body = match self {
            Self::NotProxyRequest => HOW_TO_ASK,
            _ => "",
        };
        let flags = if status == 400 {
            ResponseFlags::DPE
        } else {
            ResponseFlags::empty()
        };
        plain(status, body, flags, details, self.reason())
    }
}

fn plain(
    status: u16,
    body: &'static str,
    flags: ResponseFlags,
    details: &'static str,
    reason: &'static str,
) -> Report {
    Report {
        status,
        body: Cow::Borrowed(body),
        flags,
        details: Cow::Borrowed(details),
        reason,
        transport_failure: Cow::Borrowed(""),
    }
}

/// The request may be made again, on another connection (RFC 9110, section 15.5.20).
fn misdirected(reason: &'static str) -> Report {
    plain(421, "", ResponseFlags::NR, "misdirected_request", reason)
}

fn timeout(details: &'static str, reason: &'static str) -> Report {
    plain(504, TIMEOUT_BODY, ResponseFlags::UT, details, reason)
}

fn not_found(why: &NotFound, retried: bool) -> Report {
    let reason = why.reason();
    match why {
        NotFound::Forbidden => Connect::Forbidden.report(retried),
        // Whom was asked for addresses, and what came back, is for the log alone.
        NotFound::Unresolved(unresolved) => Report {
            transport_failure: Cow::Owned(unresolved.text.clone()),
            ..plain(
                503,
                "dns resolution failure",
                ResponseFlags::DF,
                "dns_resolution_failure",
                reason,
            )
        },
        NotFound::NoHost | NotFound::NotAllowed | NotFound::Itself => {
            plain(502, reason, ResponseFlags::NR, "host_not_reachable", reason)
        }
    }
}

fn no_endpoint(reason: &'static str) -> Report {
    plain(
        503,
        "no healthy upstream",
        ResponseFlags::UH,
        "no_healthy_upstream",
        reason,
    )
}

fn before_headers(
    status: u16,
    reset: &'static str,
    transport: &str,
    flags: ResponseFlags,
    reason: &'static str,
    retried: bool,
) -> Report {
    let latest = if retried {
        "retried and the latest reset reason"
    } else {
        "reset reason"
    };
    let mut body = format!("{BEFORE_HEADERS}{latest}: {reset}");
    let mut details = format!("upstream_reset_before_response_started{{{reset}");
    if !transport.is_empty() {
        body = format!("{body}, transport failure reason: {transport}");
        details = format!("{details}|{transport}");
    }
    // Details are one word in the log.
    let details = format!("{details}}}").replace(' ', "_");
    let transport_failure = Cow::Owned(transport.to_owned());
    let body = Cow::Owned(body);
    Report {
        body,
        details: Cow::Owned(details),
        transport_failure,
        ..plain(status, "", flags, "", reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failure: Failure, retried: bool, want: (u16, &str, &str, &str)) {
        let report = failure.report(retried);
        let flags = report.flags.to_string();
        assert_eq!(
            (
                report.status,
                &*report.body,
                flags.as_str(),
                &*report.details
            ),
            want
        );
        assert_ne!(
            report.reason, "",
            "promise 1: every answer of our own has a reason"
        );
    }

    #[test]
    fn clients_are_not_told_what_is_missing_here() {
        let why = "TLS cannot be begun, /etc/certs/ca.crt is not there";
        let failure = Failure::Connect(Connect::Unusable("tls_not_ready", why.into()));
        let report = failure.report(false);
        assert!(
            report.body.ends_with("reason: tls_not_ready"),
            "{}",
            report.body
        );
        assert_eq!(report.transport_failure, why);
    }

    #[test]
    fn failures_read_as_envoys() {
        check(
            Failure::NoEndpoint,
            false,
            (503, "no healthy upstream", "UH", "no_healthy_upstream"),
        );
        check(
            Failure::Timeout,
            false,
            (504, "upstream request timeout", "UT", "response_timeout"),
        );
        check(
            Failure::TryTimeout,
            false,
            (
                504,
                "upstream request timeout",
                "UT",
                "upstream_per_try_timeout",
            ),
        );
        check(
            Failure::Connect(Connect::Refused),
            false,
            (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection \
                 failure, transport failure reason: delayed connect error: Connection refused",
                "UF",
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_\
                 Connection_refused}",
            ),
        );
        check(
            Failure::Connect(Connect::Timeout),
            true,
            (
                503,
                "upstream connect error or disconnect/reset before headers. retried and the latest reset \
                 reason: connection timeout",
                "UF",
                "upstream_reset_before_response_started{connection_timeout}",
            ),
        );
        check(
            Failure::Reset(Reset::Closed),
            false,
            (
                503,
                "upstream connect error or disconnect/reset before headers. reset reason: connection \
                 termination",
                "UC",
                "upstream_reset_before_response_started{connection_termination}",
            ),
        );
        check(
            Failure::Reset(Reset::Protocol),
            false,
            (
                502,
                "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
                "UPE",
                "upstream_reset_before_response_started{protocol_error}",
            ),
        );
    }

    #[test]
    fn refusals_have_their_own_status() {
        check(
            Failure::Refused(Refusal::LowVersion),
            false,
            (426, "", "-", "low_version"),
        );
        check(
            Failure::Refused(Refusal::MissingHost),
            false,
            (400, "", "DPE", "missing_host_header"),
        );
        check(
            Failure::Refused(Refusal::TooManyHeaders),
            false,
            (431, "", "-", "http1.too_many_headers"),
        );
    }

    #[test]
    fn a_read_timeout_is_the_attempts_or_the_routes() {
        let mut error = Error::new(ErrorType::ReadTimedout);
        error.as_up();
        assert_eq!(Failure::of(&error, true), Failure::TryTimeout);
        assert_eq!(Failure::of(&error, false), Failure::Timeout);
    }

    #[test]
    fn a_stream_reset_is_told_from_a_refused_one() {
        let reset = |reason: h2::Reason| {
            // Without a remote side, h2 calls its own errors library errors.
            Reset::of_http2(&h2::Error::from(reason))
        };
        assert_eq!(reset(h2::Reason::PROTOCOL_ERROR), Reset::Protocol);
    }
}
