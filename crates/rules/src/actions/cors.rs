//! Istio's `CorsPolicy` at work.

use crate::{CorsPolicy, OriginMatch, RequestHead};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
};
use http::{HeaderName, HeaderValue};

/// Headers to put on a response.
type Headers = Vec<(HeaderName, HeaderValue)>;

impl OriginMatch {
    /// Whether an `Origin` is allowed.
    pub fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(want) => origin == want.as_bytes(),
            Self::Prefix(prefix) => origin.starts_with(prefix.as_bytes()),
            Self::Regex(pattern) => pattern.matches(origin),
        }
    }
}

impl CorsPolicy {
    /// The request's origin, when the policy allows it.
    fn allowed_origin<'a>(&self, head: &RequestHead<'a>) -> Option<&'a HeaderValue> {
        let origin = present(head, &ORIGIN)?;
        self.allow_origins
            .iter()
            .any(|allowed| allowed.matches(origin.as_bytes()))
            .then_some(origin)
    }

    /// What every answer to an allowed origin says: the origin itself, never `*`.
    fn common(&self, origin: &HeaderValue) -> Headers {
        let mut headers = vec![(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone())];
        if self.allow_credentials == Some(true) {
            headers.push((
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            ));
        }
        headers
    }

    /// What a preflight may ask for; `*` allows what it asks for.
    fn allowed_headers(&self, head: &RequestHead<'_>) -> Option<HeaderValue> {
        let allowed = self.allow_headers.as_ref()?;
        if allowed != "*" {
            return Some(allowed.clone());
        }
        let asked = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        Some(asked.unwrap_or(allowed).clone())
    }
}

/// The headers of the answer to a preflight; `None` when the request is none, or goes upstream.
pub(crate) fn preflight(policy: &CorsPolicy, head: &RequestHead<'_>) -> Option<Headers> {
    if head.method != "OPTIONS" {
        return None;
    }
    present(head, &ORIGIN)?;
    present(head, &ACCESS_CONTROL_REQUEST_METHOD)?;
    let Some(origin) = policy.allowed_origin(head) else {
        return (!policy.forward_unmatched_preflights).then(Vec::new);
    };
    let mut headers = policy.common(origin);
    let optional = [
        (ACCESS_CONTROL_ALLOW_METHODS, policy.allow_methods.clone()),
        (ACCESS_CONTROL_ALLOW_HEADERS, policy.allowed_headers(head)),
        (ACCESS_CONTROL_MAX_AGE, policy.max_age.clone()),
    ];
    headers.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    Some(headers)
}

/// What the response to an actual request says; nothing when its origin is absent or not allowed.
pub(crate) fn response_headers(policy: &CorsPolicy, head: &RequestHead<'_>) -> Headers {
    let Some(origin) = policy.allowed_origin(head) else {
        return Headers::new();
    };
    let mut headers = policy.common(origin);
    if let Some(exposed) = &policy.expose_headers {
        headers.push((ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone()));
    }
    headers
}

/// A header that is there and not empty.
fn present<'a>(head: &RequestHead<'a>, name: &HeaderName) -> Option<&'a HeaderValue> {
    head.headers.get(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;
    use crate::testing::{headers, request};

    fn value(text: &'static str) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(text))
    }

    fn policy() -> CorsPolicy {
        CorsPolicy {
            allow_origins: vec![OriginMatch::Exact("https://a.test".into())],
            allow_methods: value("GET,PUT"),
            allow_headers: value("x-a,x-b"),
            expose_headers: value("x-c"),
            max_age: value("300"),
            allow_credentials: Some(true),
            forward_unmatched_preflights: true,
        }
    }

    const ASKS: (&str, &str) = ("access-control-request-method", "PUT");

    fn answer(policy: &CorsPolicy, method: &str, pairs: &[(&str, &str)]) -> Option<Vec<String>> {
        let headers = headers(pairs);
        let head = RequestHead {
            method,
            headers: &headers,
            ..request()
        };
        preflight(policy, &head).map(lines)
    }

    fn lines(headers: Headers) -> Vec<String> {
        headers
            .into_iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_is_answered() {
        let lines = answer(&policy(), "OPTIONS", &[("origin", "https://a.test"), ASKS]).unwrap();
        let want = [
            "access-control-allow-origin: https://a.test",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: GET,PUT",
            "access-control-allow-headers: x-a,x-b",
            "access-control-max-age: 300",
        ];
        assert_eq!(lines, want);
    }

    #[test]
    fn the_star_allows_the_headers_asked_for() {
        let policy = CorsPolicy {
            allow_headers: value("*"),
            ..policy()
        };
        let asks = ("access-control-request-headers", "x-any");
        let lines = answer(
            &policy,
            "OPTIONS",
            &[("origin", "https://a.test"), ASKS, asks],
        )
        .unwrap();
        assert!(lines.contains(&"access-control-allow-headers: x-any".to_owned()));
    }

    #[test]
    fn what_is_no_preflight_goes_upstream() {
        let origin = ("origin", "https://a.test");
        assert_eq!(answer(&policy(), "GET", &[origin, ASKS]), None);
        assert_eq!(answer(&policy(), "OPTIONS", &[origin]), None);
        assert_eq!(
            answer(
                &policy(),
                "OPTIONS",
                &[origin, ("access-control-request-method", "")]
            ),
            None
        );
        assert_eq!(answer(&policy(), "OPTIONS", &[ASKS]), None);
    }

    #[test]
    fn an_unmatched_preflight_is_forwarded_or_answered_bare() {
        let pairs = [("origin", "https://evil.test"), ASKS];
        assert_eq!(answer(&policy(), "OPTIONS", &pairs), None);
        let ignoring = CorsPolicy {
            forward_unmatched_preflights: false,
            ..policy()
        };
        assert_eq!(answer(&ignoring, "OPTIONS", &pairs), Some(Vec::new()));
    }

    #[test]
    fn an_actual_request_gets_origin_credentials_and_exposed_headers() {
        let headers = headers(&[("origin", "https://a.test")]);
        let head = RequestHead {
            headers: &headers,
            ..request()
        };
        let want = [
            "access-control-allow-origin: https://a.test",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: x-c",
        ];
        assert_eq!(lines(response_headers(&policy(), &head)), want);
    }

    #[test]
    fn without_an_allowed_origin_nothing_is_added() {
        assert!(response_headers(&policy(), &request()).is_empty());
        let headers = headers(&[("origin", "https://evil.test")]);
        let head = RequestHead {
            headers: &headers,
            ..request()
        };
        assert!(response_headers(&policy(), &head).is_empty());
    }

    #[test]
    fn origins_match_exactly_by_prefix_by_regex_or_any() {
        let regex = Pattern::parse(r"https://.*\.a\.test").unwrap();
        let cases = [
            (
                OriginMatch::Exact("https://a.test".into()),
                "https://a.test",
                true,
            ),
            (
                OriginMatch::Exact("https://a.test".into()),
                "https://a.test.evil",
                false,
            ),
            (
                OriginMatch::Prefix("https://a.".into()),
                "https://a.test",
                true,
            ),
            (OriginMatch::Regex(regex.clone()), "https://x.a.test", true),
            (OriginMatch::Regex(regex), "https://x.a.test.evil", false),
            (OriginMatch::Any, "null", true),
        ];
        for (allowed, origin, want) in cases {
            assert_eq!(
                allowed.matches(origin.as_bytes()),
                want,
                "{allowed:?} on {origin}"
            );
        }
    }
}
