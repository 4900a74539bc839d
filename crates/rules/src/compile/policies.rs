//! Retries, faults and the cross-origin policy of a rule.

use super::delegates::FlatRoute;
use crate::{
    AbortStatus, CorsPolicy, Fault, FaultAbort, FaultDelay, InvalidPattern, OriginMatch,
    PartsPerMillion, Pattern, RetryOn, RetryPolicy,
};
use http::header::InvalidHeaderValue;
use http::{HeaderValue, StatusCode};
use model::{HttpFaultInjection, HttpRetry, StringMatch, UnmatchedPreflights};

/// The rule's retries, or Istio's default. A limit for one try that is not below that for all means nothing.
pub(super) fn retry(route: &FlatRoute<'_>) -> RetryPolicy {
    let Some(retries) = route.retries else {
        return RetryPolicy::istio_default();
    };
    let default = RetryPolicy::istio_default();
    let timeout = route.timeout.filter(|timeout| !timeout.is_zero());
    let below =
        |try_timeout: &std::time::Duration| timeout.is_none_or(|timeout| *try_timeout < timeout);
    let (retry_on, statuses) = conditions(retries);
    RetryPolicy {
        attempts: retries.attempts,
        per_try_timeout: retries.per_try_timeout.filter(below),
        retry_on,
        statuses,
        backoff: retries.backoff.unwrap_or(default.backoff),
        avoid_tried: retries
            .retry_ignore_previous_hosts
            .unwrap_or(default.avoid_tried),
        remote_localities: retries
            .retry_remote_localities
            .unwrap_or(default.remote_localities),
        asked_for: true,
    }
}

fn conditions(retries: &HttpRetry) -> (RetryOn, Vec<u16>) {
    let Some(list) = &retries.retry_on else {
        return (RetryPolicy::default_conditions(), Vec::new());
    };
    let mut conditions = RetryOn::empty();
    let mut statuses = Vec::new();
    for condition in list {
        conditions |= flag(*condition);
        if let model::RetryOn::Status(status) = condition {
            statuses.push(*status);
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    (conditions, statuses)
}

fn flag(condition: model::RetryOn) -> RetryOn {
    match condition {
        model::RetryOn::FiveXx => RetryOn::FIVE_XX,
        model::RetryOn::GatewayError => RetryOn::GATEWAY_ERROR,
        model::RetryOn::Reset => RetryOn::RESET,
        model::RetryOn::ResetBeforeRequest => RetryOn::RESET_BEFORE_REQUEST,
        model::RetryOn::ConnectFailure => RetryOn::CONNECT_FAILURE,
        model::RetryOn::EnvoyRatelimited => RetryOn::RATELIMITED,
        model::RetryOn::Retriable4xx => RetryOn::RETRIABLE_4XX,
        model::RetryOn::RefusedStream => RetryOn::REFUSED_STREAM,
        model::RetryOn::RetriableStatusCodes | model::RetryOn::Status(_) => {
            RetryOn::RETRIABLE_STATUS_CODES
        }
        model::RetryOn::RetriableHeaders => RetryOn::RETRIABLE_HEADERS,
        // No upstream is spoken to in HTTP/3.
        model::RetryOn::Http3PostConnectFailure => RetryOn::empty(),
        model::RetryOn::Cancelled => RetryOn::CANCELLED,
        model::RetryOn::DeadlineExceeded => RetryOn::DEADLINE_EXCEEDED,
        model::RetryOn::Internal => RetryOn::INTERNAL,
        model::RetryOn::ResourceExhausted => RetryOn::RESOURCE_EXHAUSTED,
        model::RetryOn::Unavailable => RetryOn::UNAVAILABLE,
    }
}

/// `None`: it would never happen.
pub(super) fn fault(fault: &HttpFaultInjection) -> Option<Fault> {
    let delay = fault.delay.as_ref().map(|delay| FaultDelay {
        duration: delay.fixed_delay,
        share: PartsPerMillion(delay.percentage.parts_per_million()),
    });
    let abort = fault.abort.as_ref().and_then(|abort| {
        let status = match abort.status {
            model::AbortStatus::Http(status) => {
                AbortStatus::Http(StatusCode::from_u16(status).ok()?)
            }
            model::AbortStatus::Grpc(status) => AbortStatus::Grpc(status),
        };
        Some(FaultAbort {
            status,
            share: PartsPerMillion(abort.percentage.parts_per_million()),
        })
    });
    let delay = delay.filter(|delay| delay.share.0 > 0);
    let abort = abort.filter(|abort| abort.share.0 > 0);
    (delay.is_some() || abort.is_some()).then_some(Fault { delay, abort })
}

/// A cross-origin policy that cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidCors {
    /// An origin's expression.
    #[error(transparent)]
    Origin(#[from] InvalidPattern),
    /// A list that makes no header.
    #[error("is no header value")]
    Value(#[from] InvalidHeaderValue),
}

pub(super) fn cors(policy: &model::CorsPolicy) -> Result<CorsPolicy, InvalidCors> {
    let origins = policy.allow_origins.iter().map(origin);
    let max_age = policy.max_age.map(|age| HeaderValue::from(age.as_secs()));
    Ok(CorsPolicy {
        allow_origins: origins.collect::<Result<_, _>>()?,
        allow_methods: joined(&policy.allow_methods)?,
        allow_headers: joined(&policy.allow_headers)?,
        expose_headers: joined(&policy.expose_headers)?,
        max_age,
        allow_credentials: policy.allow_credentials,
        forward_unmatched_preflights: policy.unmatched_preflights == UnmatchedPreflights::Forward,
    })
}

fn origin(origin: &StringMatch) -> Result<OriginMatch, InvalidPattern> {
    Ok(match origin {
        StringMatch::Exact(text) if text == "*" => OriginMatch::Any,
        StringMatch::Exact(text) => OriginMatch::Exact(text.clone()),
        StringMatch::Prefix(text) => OriginMatch::Prefix(text.clone()),
        StringMatch::Regex(regex) => OriginMatch::Regex(Pattern::parse(regex.as_str())?),
        StringMatch::Present => OriginMatch::Any,
    })
}

fn joined(values: &[String]) -> Result<Option<HeaderValue>, InvalidHeaderValue> {
    if values.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_str(&values.join(",")).map(Some)
}
