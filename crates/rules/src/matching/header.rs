//! Istio's `HTTPMatchRequest.headers` and `withoutHeaders`, compiled.

use super::TextMatch;
use crate::RequestHead;
use http::{HeaderMap, HeaderName};
use std::borrow::Cow;
use std::fmt;

/// What a header match looks at.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HeaderKey {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`, with the query.
    Path,
    /// `:status`, which no request has.
    Status,
    /// An ordinary header.
    Header(HeaderName),
    /// A claim of a validated token: `@request.auth.claims.sub`.
    ///
    /// No token is validated here, so a match on a claim never holds, neither form of it:
    /// a route that asks who the caller is stays shut when nobody has checked.
    Claim(String),
}

/// A key that is no header name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a header name")]
pub struct InvalidHeaderKey(pub String);

impl HeaderKey {
    /// Reads a key of `headers` or `withoutHeaders`; case does not count.
    ///
    /// # Errors
    /// When it is neither a header name nor a pseudo header of a request.
    pub fn parse(key: &str) -> Result<Self, InvalidHeaderKey> {
        if key.starts_with("@request.auth.claims") {
            return Ok(Self::Claim(key.to_owned()));
        }
        match key.to_ascii_lowercase().as_str() {
            ":method" => Ok(Self::Method),
            ":scheme" => Ok(Self::Scheme),
            // HTTP/1.1 carries the authority in `Host`, HTTP/2 has no such header.
            ":authority" | "host" => Ok(Self::Authority),
            ":path" => Ok(Self::Path),
            ":status" => Ok(Self::Status),
            name => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Ok(Self::Header(name)),
                Err(_) => Err(InvalidHeaderKey(key.to_owned())),
            },
        }
    }

    /// What the request has there; several values of one header are joined with `,`.
    pub fn value<'a>(&self, head: &RequestHead<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Method => Some(Cow::Borrowed(head.method.as_bytes())),
            Self::Scheme => Some(Cow::Borrowed(head.scheme.as_bytes())),
            Self::Authority => Some(Cow::Borrowed(head.authority.as_bytes())),
            Self::Path => Some(path_and_query(head)),
            Self::Header(name) => joined(head.headers, name),
            Self::Status | Self::Claim(_) => None,
        }
    }
}

impl fmt::Display for HeaderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Status => ":status",
            Self::Header(name) => name.as_str(),
            Self::Claim(claim) => claim,
        })
    }
}

fn path_and_query<'a>(head: &RequestHead<'a>) -> Cow<'a, [u8]> {
    match head.query {
        None => Cow::Borrowed(head.path.as_bytes()),
        Some(query) => Cow::Owned(format!("{}?{query}", head.path).into_bytes()),
    }
}

/// All values of a header, joined with `,`. Allocates only when there are several.
pub(crate) fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut all = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    Some(Cow::Owned(all))
}

/// A criterion on one header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HeaderMatch {
    /// Which header.
    pub key: HeaderKey,
    /// What its value has to look like, or must not.
    pub value: TextMatch,
    /// Whether the match is asked for or ruled out.
    pub sense: Sense,
}

/// Which way round a criterion counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sense {
    /// `headers`: has to match. An absent header does not.
    Required,
    /// `withoutHeaders`: must not match. An absent header counts as empty, except when presence is asked for.
    Forbidden,
}

impl HeaderMatch {
    /// An entry of `headers`.
    pub fn required(key: HeaderKey, value: TextMatch) -> Self {
        Self {
            key,
            value,
            sense: Sense::Required,
        }
    }

    /// An entry of `withoutHeaders`.
    pub fn forbidden(key: HeaderKey, value: TextMatch) -> Self {
        Self {
            key,
            value,
            sense: Sense::Forbidden,
        }
    }

    /// Whether the criterion holds for the request.
    pub fn matches(&self, head: &RequestHead<'_>) -> bool {
        if matches!(self.key, HeaderKey::Claim(_)) {
            return false;
        }
        let value = self.key.value(head);
        match self.sense {
            Sense::Required => value.is_some_and(|value| self.value.matches(&value)),
            Sense::Forbidden if self.value == TextMatch::Present => value.is_none(),
            Sense::Forbidden => !self.value.matches(&value.unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;
    use crate::testing::{headers, request};

    fn exact(text: &str) -> TextMatch {
        TextMatch::Exact(text.into())
    }

    fn regex(text: &str) -> TextMatch {
        TextMatch::Regex(Pattern::parse(text).unwrap())
    }

    /// Each case: the values of `x-user`, and whether the criterion holds.
    #[track_caller]
    fn check(criterion: &HeaderMatch, cases: &[(&[&str], bool)]) {
        for (values, want) in cases {
            let pairs: Vec<_> = values.iter().map(|value| ("x-user", *value)).collect();
            let headers = headers(&pairs);
            let head = RequestHead {
                headers: &headers,
                ..request()
            };
            assert_eq!(
                criterion.matches(&head),
                *want,
                "{criterion:?} on {values:?}"
            );
        }
    }

    fn required(value: TextMatch) -> HeaderMatch {
        HeaderMatch::required(HeaderKey::parse("X-User").unwrap(), value)
    }

    fn forbidden(value: TextMatch) -> HeaderMatch {
        HeaderMatch::forbidden(HeaderKey::parse("X-User").unwrap(), value)
    }

    #[test]
    fn exact_prefix_and_regex_look_at_the_value() {
        check(
            &required(exact("jason")),
            &[(&["jason"], true), (&["Jason"], false), (&[], false)],
        );
        check(
            &required(TextMatch::Prefix("ja".into())),
            &[(&["jason"], true), (&["xja"], false)],
        );
        check(
            &required(regex("j.*n")),
            &[(&["jason"], true), (&["jasons"], false)],
        );
    }

    #[test]
    fn presence_takes_any_value_and_exact_empty_only_an_empty_one() {
        check(
            &required(TextMatch::Present),
            &[(&["x"], true), (&[""], true), (&[], false)],
        );
        check(
            &required(exact("")),
            &[(&[""], true), (&["x"], false), (&[], false)],
        );
    }

    #[test]
    fn several_values_are_joined_with_a_comma() {
        check(
            &required(exact("a,b")),
            &[(&["a", "b"], true), (&["a"], false)],
        );
        check(&required(exact("a")), &[(&["a", "b"], false)]);
    }

    #[test]
    fn a_forbidden_exact_value_holds_when_absent_or_different() {
        check(
            &forbidden(exact("jason")),
            &[(&[], true), (&["bob"], true), (&["jason"], false)],
        );
    }

    #[test]
    fn forbidden_presence_holds_only_when_absent() {
        check(
            &forbidden(TextMatch::Present),
            &[(&[], true), (&[""], false), (&["x"], false)],
        );
    }

    #[test]
    fn an_absent_header_counts_as_empty_when_forbidden() {
        check(&forbidden(regex(".*")), &[(&[], false), (&["x"], false)]);
        check(&forbidden(exact("")), &[(&[], false), (&["x"], true)]);
    }

    #[test]
    fn pseudo_headers_are_valid_keys() {
        let head = RequestHead {
            path: "/a",
            query: Some("b=c"),
            ..request()
        };
        let holds = |key, value| {
            HeaderMatch::required(HeaderKey::parse(key).unwrap(), value).matches(&head)
        };
        assert!(holds(":method", exact("GET")));
        assert!(holds(":Authority", exact("shop.test")));
        assert!(holds(":path", exact("/a?b=c")));
        assert!(holds(":scheme", exact("http")));
        assert!(!holds(":status", TextMatch::Present));
    }

    #[test]
    fn a_claim_never_holds_and_a_header_of_that_name_is_no_claim() {
        let key = HeaderKey::parse("@request.auth.claims.sub").unwrap();
        let head = request();
        assert!(!HeaderMatch::required(key.clone(), TextMatch::Present).matches(&head));
        assert!(!HeaderMatch::forbidden(key, exact("x")).matches(&head));
    }

    #[test]
    fn a_key_that_is_no_header_name_is_refused() {
        for key in ["", "a b", ":foo", "x:y"] {
            assert_eq!(HeaderKey::parse(key), Err(InvalidHeaderKey(key.into())));
        }
    }
}
