//! Why a connection is closed without having been forwarded, and what the log is told.

use crate::upstream::{DialError, NotFound, Overflow};
use rules::{ClusterKey, Denial, Refusal};
use std::borrow::Cow;
use std::sync::Arc;
use telemetry::ResponseFlags;

/// A connection that is closed at once.
#[derive(Debug)]
pub(crate) enum Failure {
    /// None of the routes takes it.
    NoRoute,
    /// It may not go where it is going.
    Denied(Denial),
    /// A policy denies it.
    Forbidden(Refusal),
    /// The route's destination is no known cluster.
    NoCluster(ClusterKey, Arc<str>),
    /// There is no endpoint for what the client asks for.
    NotFound(NotFound),
    /// The cluster has no endpoint.
    NoEndpoint,
    /// The cluster has all the connections that it may have.
    Overflow,
    /// None of the endpoints tried took the connection; why the last one did not.
    Connect(DialError),
}

/// What the log is told.
pub(super) struct Report {
    pub(super) flags: ResponseFlags,
    pub(super) details: Cow<'static, str>,
    pub(super) transport_failure: Cow<'static, str>,
    pub(super) reason: &'static str,
}

impl Failure {
    /// Whether the client gets a reset instead of an end, as from Istio where there is no filter chain.
    pub(super) fn resets(&self) -> bool {
        matches!(self, Self::NoRoute)
    }

    /// What is told to a client that asked for a tunnel. Absent: it is not refused, but failed.
    pub(crate) fn denial(&self) -> Option<Denial> {
        match self {
            Self::Denied(denial) => Some(*denial),
            Self::NotFound(why) => why.denial(),
            Self::Connect(DialError::Forbidden) => Some(Denial::Address),
            _ => None,
        }
    }

    /// In the words that requests have for the same.
    pub(super) fn report(&self) -> Report {
        let report = |flags, details: &'static str, reason| Report {
            flags,
            details: Cow::Borrowed(details),
            transport_failure: Cow::Borrowed(""),
            reason,
        };
        match self {
            Self::NoRoute => report(ResponseFlags::NR, "route_not_found", "no_route"),
            // As with Envoy's BlackHoleCluster, which is a cluster without endpoints.
            Self::Denied(denial) => report(ResponseFlags::UH, "", denial.code()),
            Self::Forbidden(refusal) => Report {
                details: Cow::Owned(refusal.details().to_string()),
                ..report(ResponseFlags::empty(), "", refusal.code())
            },
            Self::NoCluster(key, why) => Report {
                transport_failure: Cow::Owned(format!("{key}: {why}")),
                ..report(ResponseFlags::NC, "cluster_not_found", "cluster_not_found")
            },
            Self::Overflow => {
                let reason = Overflow::Connections.reason();
                report(ResponseFlags::UO, "upstream_overflow", reason)
            }
            Self::NotFound(NotFound::Forbidden) => Self::Connect(DialError::Forbidden).report(),
            Self::NotFound(NotFound::Unresolved(unresolved)) => Report {
                transport_failure: Cow::Owned(unresolved.text.clone()),
                ..report(
                    ResponseFlags::DF,
                    "dns_resolution_failure",
                    unresolved.reason,
                )
            },
            Self::NotFound(why) => report(ResponseFlags::NR, "host_not_reachable", why.reason()),
            Self::NoEndpoint => report(ResponseFlags::UH, "no_healthy_upstream", "no_endpoint"),
            Self::Connect(error) => {
                let flags = ResponseFlags::UF | ResponseFlags::URX;
                let (transport_failure, reason) = told(error);
                Report {
                    transport_failure,
                    ..report(flags, "", reason)
                }
            }
        }
    }
}

fn told(error: &DialError) -> (Cow<'static, str>, &'static str) {
    let text = match error {
        DialError::Timeout => "connection timeout".into(),
        DialError::Refused => "delayed connect error: Connection refused".into(),
        DialError::Unreachable(_) => "delayed connect error: No route to host".into(),
        DialError::Io(error) => format!("delayed connect error: {error}").into(),
        other => other.to_string().into(),
    };
    (text, error.reason())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Promise 1.
    #[test]
    fn every_failure_has_its_flag_and_its_reason() {
        let key = ClusterKey {
            view: None,
            host: "shop.test".into(),
            subset: None,
            port: 80,
        };
        let unreachable = std::io::Error::from(std::io::ErrorKind::NetworkUnreachable);
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let cases = [
            (Failure::NoRoute, "NR", "no_route", ""),
            (
                Failure::NoCluster(key, "no such service".into()),
                "NC",
                "cluster_not_found",
                "outbound|80||shop.test: no such service",
            ),
            (Failure::NoEndpoint, "UH", "no_endpoint", ""),
            (Failure::Overflow, "UO", "max_connections", ""),
            (
                Failure::Connect(DialError::Timeout),
                "URX,UF",
                "connect_timeout",
                "connection timeout",
            ),
            (
                Failure::Connect(DialError::Unreachable(unreachable)),
                "URX,UF",
                "connect_failure",
                "delayed connect error: No route to host",
            ),
            (
                Failure::Connect(DialError::Io(denied)),
                "URX,UF",
                "connect_failure",
                "delayed connect error: permission denied",
            ),
        ];
        for (failure, flags, reason, transport) in cases {
            let report = failure.report();
            let told = (&*report.flags.to_string(), report.reason);
            assert_eq!(told, (flags, reason), "{failure:?}");
            assert_eq!(report.transport_failure, transport);
        }
    }
}
