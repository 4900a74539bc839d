//! What happens to a request on its way: rewrite, retries, cross-origin policy.

use super::text::{check_authority, check_target};
use crate::decode::{Cursor, Fields};
use crate::{
    CorsPolicy, HttpRetry, HttpRewrite, RegexRewrite, RetryOn, StringMatch, UnmatchedPreflights,
};

pub(super) fn rewrite(cursor: &Cursor<'_>) -> Option<HttpRewrite> {
    cursor.object(|fields| {
        fields.exclusive(&["uri", "uriRegexRewrite"]);
        let rewrite = HttpRewrite {
            at: fields.at(),
            uri: fields.string("uri"),
            authority: fields.string("authority"),
            uri_regex_rewrite: fields.maybe("uriRegexRewrite", regex_rewrite),
        };
        if rewrite.uri.is_none() && rewrite.authority.is_none() && !fields.has("uriRegexRewrite") {
            cursor.error(
                "missing_field",
                "rewrite must specify uri, authority, or uriRegexRewrite",
            );
        }
        if let Some(uri) = fields.field("uri") {
            check_target(&uri);
        }
        if let Some(authority) = fields.field("authority") {
            check_authority(&authority);
        }
        Some(rewrite)
    })
}

fn regex_rewrite(cursor: &Cursor<'_>) -> Option<RegexRewrite> {
    cursor.object(|fields| {
        let pattern = fields.required("match").and_then(|pattern| pattern.regex());
        let rewrite = fields.required("rewrite");
        let text = rewrite
            .as_ref()
            .and_then(|rewrite| rewrite.text().filter(|_| check_target(rewrite)));
        let (pattern, text) = (pattern?, text?);
        let groups = regex::Regex::new(pattern.pattern()).map_or(0, |regex| regex.captures_len());
        if let (Some(rewrite), Some(group)) = (rewrite, missing_group(&text, groups)) {
            rewrite.error(
                "invalid_value",
                format!("the pattern has no group for {group}"),
            );
        }
        Some(RegexRewrite {
            pattern,
            rewrite: text,
        })
    })
}

/// The first `\N` of a substitution that no group stands for, or a `\` that begins nothing.
fn missing_group(rewrite: &str, groups: usize) -> Option<String> {
    let mut rest = rewrite;
    while let Some(start) = rest.find('\\') {
        let next = rest[start + 1..].chars().next();
        let valid = match next {
            Some('\\') => true,
            Some(digit) => digit
                .to_digit(10)
                .is_some_and(|digit| (digit as usize) < groups),
            None => false,
        };
        if !valid {
            return Some(format!("\\{}", next.map(String::from).unwrap_or_default()));
        }
        rest = &rest[start + 2..];
    }
    None
}

pub(super) fn retries(cursor: &Cursor<'_>) -> Option<HttpRetry> {
    cursor.object(|fields| {
        let attempts = fields
            .field("attempts")
            .map(|attempts| attempts.integer(0..=i32::MAX.into()));
        if attempts.is_none() {
            fields.missing(
                "attempts",
                "attempts is required when retries is there".to_owned(),
            );
        }
        let attempts = attempts
            .flatten()
            .and_then(|attempts| u32::try_from(attempts).ok());
        let retry = HttpRetry {
            at: fields.at(),
            attempts: attempts.unwrap_or(0),
            per_try_timeout: fields.duration("perTryTimeout"),
            retry_on: fields.maybe("retryOn", retry_on),
            retry_remote_localities: fields.bool("retryRemoteLocalities"),
            retry_ignore_previous_hosts: fields.bool("retryIgnorePreviousHosts"),
            backoff: fields.duration("backoff"),
        };
        if attempts == Some(0) {
            nothing_else(fields);
        }
        Some(retry)
    })
}

fn nothing_else(fields: &Fields<'_>) {
    let others = [
        "perTryTimeout",
        "retryOn",
        "retryRemoteLocalities",
        "retryIgnorePreviousHosts",
        "backoff",
    ];
    for name in others.into_iter().filter(|name| fields.has(name)) {
        if let Some(field) = fields.field(name) {
            field
                .error(
                    "exclusive_fields",
                    format!("{name} has no meaning when attempts is 0"),
                )
                .help("attempts 0 turns retries off");
        }
    }
}

const CONDITIONS: &[(&str, RetryOn)] = &[
    ("5xx", RetryOn::FiveXx),
    ("gateway-error", RetryOn::GatewayError),
    ("reset", RetryOn::Reset),
    ("reset-before-request", RetryOn::ResetBeforeRequest),
    ("connect-failure", RetryOn::ConnectFailure),
    ("envoy-ratelimited", RetryOn::EnvoyRatelimited),
    ("retriable-4xx", RetryOn::Retriable4xx),
    ("refused-stream", RetryOn::RefusedStream),
    ("retriable-status-codes", RetryOn::RetriableStatusCodes),
    ("retriable-headers", RetryOn::RetriableHeaders),
    (
        "http3-post-connect-failure",
        RetryOn::Http3PostConnectFailure,
    ),
    ("cancelled", RetryOn::Cancelled),
    ("deadline-exceeded", RetryOn::DeadlineExceeded),
    ("internal", RetryOn::Internal),
    ("resource-exhausted", RetryOn::ResourceExhausted),
    ("unavailable", RetryOn::Unavailable),
];

/// Conditions and numbers of statuses, joined by commas. Empty: as if it were absent.
fn retry_on(cursor: &Cursor<'_>) -> Option<Vec<RetryOn>> {
    let text = cursor.str()?;
    if text.is_empty() {
        return None;
    }
    let mut conditions = Vec::new();
    for word in text.split(',') {
        match condition(word) {
            Some(condition) => conditions.push(condition),
            None if word.trim() != word => {
                cursor.error(
                    "invalid_enum",
                    format!("retryOn condition {word:?} must not have spaces around"),
                );
            }
            None => {
                let names: Vec<&str> = CONDITIONS.iter().map(|(name, _)| *name).collect();
                cursor
                    .error(
                        "invalid_enum",
                        format!("unknown retryOn condition {word:?}"),
                    )
                    .help(format!("a status, or one of {}", names.join(", ")));
            }
        }
    }
    Some(conditions)
}

fn condition(word: &str) -> Option<RetryOn> {
    if let Some((_, condition)) = CONDITIONS.iter().find(|(name, _)| *name == word) {
        return Some(*condition);
    }
    let status: u16 = word
        .parse()
        .ok()
        .filter(|_| word.bytes().all(|b| b.is_ascii_digit()))?;
    (100..=599)
        .contains(&status)
        .then_some(RetryOn::Status(status))
}

const METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

const UNMATCHED: &[(&str, UnmatchedPreflights)] = &[
    ("UNSPECIFIED", UnmatchedPreflights::Forward),
    ("FORWARD", UnmatchedPreflights::Forward),
    ("IGNORE", UnmatchedPreflights::Ignore),
];

pub(super) fn cors(cursor: &Cursor<'_>) -> Option<CorsPolicy> {
    cursor.object(|fields| {
        let max_age = fields.maybe("maxAge", |cursor| {
            let age = cursor.duration_or_zero()?;
            if age.subsec_nanos() != 0 {
                cursor.error("invalid_duration", "maxAge must be whole seconds");
            }
            Some(age)
        });
        Some(CorsPolicy {
            at: fields.at(),
            allow_origins: allow_origins(fields),
            allow_methods: fields.each("allowMethods", method),
            allow_headers: fields.each("allowHeaders", header_name),
            expose_headers: fields.each("exposeHeaders", header_name),
            max_age,
            allow_credentials: fields.bool("allowCredentials"),
            unmatched_preflights: fields
                .maybe("unmatchedPreflights", |cursor| cursor.one_of(UNMATCHED))
                .unwrap_or_default(),
        })
    })
}

fn allow_origins(fields: &Fields<'_>) -> Vec<StringMatch> {
    let mut origins = fields.each("allowOrigins", |cursor| cursor.string_match());
    if let Some(legacy) = fields.field("allowOrigin") {
        legacy.legacy("allowOrigins with exact");
        let exact = legacy.strings();
        // As Istio: the new form wins when both are there.
        if origins.is_empty() {
            origins = exact.into_iter().map(StringMatch::Exact).collect();
        }
    }
    origins
}

fn method(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.string()?;
    if !METHODS.contains(&text.as_str()) {
        cursor
            .error("invalid_enum", format!("unknown HTTP method {text:?}"))
            .help(format!("one of {}", METHODS.join(", ")));
        return None;
    }
    Some(text)
}

fn header_name(cursor: &Cursor<'_>) -> Option<String> {
    let text = cursor.string()?;
    super::headers::check_name(cursor, &text).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substitutions_name_groups_that_exist() {
        let cases = [
            ("/x", 1, None),
            (r"/\1", 2, None),
            (r"/\0", 1, None),
            (r"\\1", 1, None),
            (r"/\1", 1, Some(r"\1")),
            (r"/\2/\1", 2, Some(r"\2")),
            (r"/\n", 2, Some(r"\n")),
            ("/\\", 2, Some("\\")),
            ("/\\é", 2, Some("\\é")),
        ];
        for (rewrite, groups, want) in cases {
            assert_eq!(missing_group(rewrite, groups).as_deref(), want, "{rewrite}");
        }
    }
}
