//! Fault injection.

use crate::decode::{Cursor, Fields};
use crate::{AbortStatus, FaultAbort, FaultDelay, HttpFaultInjection, Percent};

pub(super) fn fault(cursor: &Cursor<'_>) -> Option<HttpFaultInjection> {
    cursor.object(|fields| {
        if !fields.has("delay") && !fields.has("abort") {
            cursor.error("missing_field", "fault must have delay or abort");
        }
        let delay = fields.maybe("delay", delay);
        let abort = fields.maybe("abort", abort);
        Some(HttpFaultInjection {
            at: fields.at(),
            delay,
            abort,
        })
    })
}

fn delay(cursor: &Cursor<'_>) -> Option<FaultDelay> {
    cursor.object(|fields| {
        if let Some(exponential) = fields.field("exponentialDelay") {
            exponential
                .error("removed_field", "exponentialDelay is not supported")
                .help("write fixedDelay");
        }
        let fixed_delay = fields
            .required("fixedDelay")
            .and_then(|delay| delay.duration());
        let percentage = percentage(fields, "delayed")?;
        Some(FaultDelay {
            fixed_delay: fixed_delay?,
            percentage,
        })
    })
}

fn abort(cursor: &Cursor<'_>) -> Option<FaultAbort> {
    cursor.object(|fields| {
        fields.exclusive(&["httpStatus", "grpcStatus"]);
        if let Some(http2) = fields.field("http2Error") {
            http2
                .error("removed_field", "http2Error is not supported")
                .help("write httpStatus or grpcStatus");
        } else if !fields.has("httpStatus") && !fields.has("grpcStatus") {
            fields.missing(
                "httpStatus",
                "httpStatus or grpcStatus is required".to_owned(),
            );
        }
        let http = fields
            .maybe("httpStatus", |status| status.u16_in(200..=599))
            .map(AbortStatus::Http);
        let grpc = fields
            .maybe("grpcStatus", grpc_status)
            .map(AbortStatus::Grpc);
        let percentage = percentage(fields, "aborted")?;
        Some(FaultAbort {
            status: http.or(grpc)?,
            percentage,
        })
    })
}

/// `percentage`, or the integer `percent` of old, which counts when `percentage` is absent.
fn percentage(fields: &Fields<'_>, what: &str) -> Option<Percent> {
    let percentage = fields.field("percentage").map(|cursor| cursor.percent());
    let legacy = fields.field("percent").map(|cursor| {
        cursor.legacy("percentage.value");
        cursor.percent_integer().map(Percent::whole)
    });
    match percentage.or(legacy) {
        Some(percentage) => percentage,
        None => {
            fields
                .cursor
                .warning(
                    "ineffective",
                    format!("no request is {what}: percentage is absent, which means 0"),
                )
                .help("write percentage: {value: 100} for every request");
            Some(Percent::ZERO)
        }
    }
}

const GRPC_STATUSES: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A name, or a number as a string.
fn grpc_status(cursor: &Cursor<'_>) -> Option<u32> {
    let text = cursor.str()?;
    let by_name = GRPC_STATUSES.iter().position(|name| *name == text);
    let number = by_name.or_else(|| {
        text.parse()
            .ok()
            .filter(|number| *number < GRPC_STATUSES.len())
    });
    if number.is_none() {
        cursor
            .error("invalid_enum", format!("unknown gRPC status {text:?}"))
            .help(format!("a number, or one of {}", GRPC_STATUSES.join(", ")));
    }
    number.and_then(|number| u32::try_from(number).ok())
}
