//! All criteria of one match together.

use super::{HeaderKey, HeaderMatch, PathMatch, QueryMatch, Sense, TextMatch};
use crate::RequestHead;
use std::borrow::Cow;
use std::fmt;

/// The most that is repeated of what a request had, in characters.
const MAX_SHOWN: usize = 128;

/// What a request has to look like. Every criterion given has to hold; none given takes every request.
///
/// Criteria that do not depend on the request (`port`, `gateways`, `sourceLabels`,
/// `sourceNamespace`) are decided when routes are compiled.
///
/// Source: Istio `HTTPMatchRequest`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Predicate {
    /// The path without its query.
    pub uri: Option<PathMatch>,
    /// `:scheme`.
    pub scheme: Option<TextMatch>,
    /// `:method`; case counts.
    pub method: Option<TextMatch>,
    /// `:authority` with the port the client sent; case counts.
    pub authority: Option<TextMatch>,
    /// `headers` and `withoutHeaders`.
    pub headers: Vec<HeaderMatch>,
    /// `queryParams`.
    pub query: Vec<QueryMatch>,
}

impl Predicate {
    /// Whether the request matches.
    pub fn matches(&self, head: &RequestHead<'_>) -> bool {
        self.check(head).is_ok()
    }

    /// Whether the request matches, and if not, the first criterion that does not hold.
    ///
    /// # Errors
    /// The criterion.
    pub fn check(&self, head: &RequestHead<'_>) -> Result<(), Criterion<'_>> {
        if let Some(uri) = self.uri.as_ref().filter(|uri| !uri.matches(head.path)) {
            return Err(Criterion::Uri(uri));
        }
        if let Some(method) = unmet(self.method.as_ref(), head.method) {
            return Err(Criterion::Method(method));
        }
        if let Some(scheme) = unmet(self.scheme.as_ref(), head.scheme) {
            return Err(Criterion::Scheme(scheme));
        }
        if let Some(authority) = unmet(self.authority.as_ref(), head.authority) {
            return Err(Criterion::Authority(authority));
        }
        if let Some(header) = self.headers.iter().find(|header| !header.matches(head)) {
            return Err(Criterion::Header(header));
        }
        match self.query.iter().find(|query| !query.matches(head.query)) {
            Some(query) => Err(Criterion::Query(query)),
            None => Ok(()),
        }
    }

    /// Whether it takes every request, whatever it looks like: what Istio calls a catch-all.
    ///
    /// No criteria but, at most, a uri of `prefix: /` or `regex: .*`.
    pub fn is_catch_all(&self) -> bool {
        let any_path = match &self.uri {
            None => true,
            Some(PathMatch::Prefix(prefix) | PathMatch::PrefixIgnoreCase(prefix)) => prefix == "/",
            Some(PathMatch::Regex(pattern)) => pattern.source() == ".*",
            Some(PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_)) => false,
        };
        any_path
            && self.scheme.is_none()
            && self.method.is_none()
            && self.authority.is_none()
            && self.headers.is_empty()
            && self.query.is_empty()
    }
}

fn unmet<'p>(criterion: Option<&'p TextMatch>, text: &str) -> Option<&'p TextMatch> {
    criterion.filter(|criterion| !criterion.matches(text.as_bytes()))
}

/// One criterion of a [`Predicate`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Criterion<'p> {
    /// `uri`
    Uri(&'p PathMatch),
    /// `method`
    Method(&'p TextMatch),
    /// `scheme`
    Scheme(&'p TextMatch),
    /// `authority`
    Authority(&'p TextMatch),
    /// An entry of `headers` or `withoutHeaders`.
    Header(&'p HeaderMatch),
    /// An entry of `queryParams`.
    Query(&'p QueryMatch),
}

impl Criterion<'_> {
    /// What the request has where the criterion looks. `None`: nothing is there.
    pub fn found<'a>(&self, head: &RequestHead<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Uri(_) => Some(Cow::Borrowed(head.path)),
            Self::Method(_) => Some(Cow::Borrowed(head.method)),
            Self::Scheme(_) => Some(Cow::Borrowed(head.scheme)),
            Self::Authority(_) => Some(Cow::Borrowed(head.authority)),
            Self::Header(header) => header.key.value(head).map(printable),
            Self::Query(query) => {
                let value = super::first_value(head.query?, &query.name)?;
                Some(Cow::Borrowed(value))
            }
        }
    }

    /// Why it does not hold, in a line: `header x-user: wants exact "jason", has "bob"`.
    pub fn explain(&self, head: &RequestHead<'_>) -> String {
        if let Self::Header(HeaderMatch {
            key: HeaderKey::Claim(_),
            ..
        }) = self
        {
            return format!("{self}, but no token is validated here");
        }
        match self.found(head) {
            Some(found) => format!("{self}, has {:?}", shortened(&found)),
            None => format!("{self}, has none"),
        }
    }
}

impl fmt::Display for Criterion<'_> {
    /// `header x-user: wants exact "jason"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(uri) => write!(f, "uri: wants {uri}"),
            Self::Method(text) => write!(f, "method: wants {text}"),
            Self::Scheme(text) => write!(f, "scheme: wants {text}"),
            Self::Authority(text) => write!(f, "authority: wants {text}"),
            Self::Header(header) => match header.sense {
                Sense::Required => write!(f, "header {}: wants {}", header.key, header.value),
                Sense::Forbidden => write!(f, "header {}: rules out {}", header.key, header.value),
            },
            Self::Query(query) => {
                write!(f, "query parameter {}: wants {}", query.name, query.value)
            }
        }
    }
}

fn printable(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// The beginning of a text that may be long.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{headers, request};

    fn exact(text: &str) -> Option<TextMatch> {
        Some(TextMatch::Exact(text.into()))
    }

    #[test]
    fn without_criteria_every_request_matches() {
        assert!(Predicate::default().matches(&request()));
    }

    #[test]
    fn all_criteria_have_to_hold() {
        let predicate = Predicate {
            uri: Some(PathMatch::Prefix("/".into())),
            method: exact("GET"),
            scheme: exact("http"),
            authority: exact("shop.test"),
            ..Predicate::default()
        };
        assert!(predicate.matches(&request()));
        assert!(!predicate.matches(&RequestHead {
            method: "get",
            ..request()
        }));
        assert!(!predicate.matches(&RequestHead {
            scheme: "https",
            ..request()
        }));
        assert!(!predicate.matches(&RequestHead {
            path: "x",
            ..request()
        }));
    }

    #[test]
    fn authority_includes_the_port_and_its_case_counts() {
        let predicate = Predicate {
            authority: exact("shop.test:80"),
            ..Predicate::default()
        };
        assert!(predicate.matches(&RequestHead {
            authority: "shop.test:80",
            ..request()
        }));
        assert!(!predicate.matches(&RequestHead {
            authority: "shop.test",
            ..request()
        }));
        assert!(!predicate.matches(&RequestHead {
            authority: "Shop.test:80",
            ..request()
        }));
    }

    #[test]
    fn the_first_criterion_that_fails_is_explained() {
        let key = HeaderKey::parse("x-user").unwrap();
        let jason = TextMatch::Exact("jason".into());
        let predicate = Predicate {
            headers: vec![HeaderMatch::required(key.clone(), jason.clone())],
            ..Predicate::default()
        };
        let failed = predicate.check(&request()).unwrap_err();
        assert_eq!(
            failed.explain(&request()),
            "header x-user: wants exact \"jason\", has none"
        );

        let headers = headers(&[("x-user", "jason")]);
        let head = RequestHead {
            headers: &headers,
            ..request()
        };
        let predicate = Predicate {
            headers: vec![HeaderMatch::forbidden(key, jason)],
            ..Predicate::default()
        };
        let failed = predicate.check(&head).unwrap_err();
        assert_eq!(
            failed.explain(&head),
            "header x-user: rules out exact \"jason\", has \"jason\""
        );
    }

    #[test]
    fn what_is_shown_of_a_request_is_bounded() {
        let path = format!("/{}", "a".repeat(5000));
        let head = RequestHead {
            path: &path,
            ..request()
        };
        let predicate = Predicate {
            uri: Some(PathMatch::Exact("/b".into())),
            ..Predicate::default()
        };
        assert!(predicate.check(&head).unwrap_err().explain(&head).len() < 200);
    }

    #[test]
    fn only_a_predicate_without_conditions_is_a_catch_all() {
        let of = |uri| Predicate {
            uri,
            ..Predicate::default()
        };
        assert!(of(None).is_catch_all());
        assert!(of(Some(PathMatch::Prefix("/".into()))).is_catch_all());
        assert!(!of(Some(PathMatch::Prefix("/a".into()))).is_catch_all());
        assert!(
            !Predicate {
                method: exact("GET"),
                ..Predicate::default()
            }
            .is_catch_all()
        );
    }
}
