//! The path that an upstream sees.

use crate::PathRewrite;
use std::borrow::Cow;

impl PathRewrite {
    /// The path and query to send upstream.
    ///
    /// The request's query is kept, except by a whole path that has its own. A result without a
    /// leading `/` gets one: no request could be made of it otherwise.
    pub fn apply(&self, path: &str, query: Option<&str>) -> String {
        match self {
            Self::Prefix { matched, with } => joined(with, tail(path, *matched), query),
            Self::Full(whole) if whole.contains('?') => joined(whole, "", None),
            Self::Full(whole) => joined(whole, "", query),
            Self::Regex { pattern, with } => {
                let path: Cow<'_, str> = pattern.replace_all(path, with.as_str());
                joined(&path, "", query)
            }
        }
    }
}

/// What follows the matched prefix.
pub(super) fn tail(path: &str, matched: usize) -> &str {
    path.get(matched..).unwrap_or_default()
}

/// A path in two parts and a query, as one target.
pub(super) fn joined(start: &str, end: &str, query: Option<&str>) -> String {
    let mut target = String::with_capacity(2 + start.len() + end.len() + query.map_or(0, str::len));
    let first = start.bytes().chain(end.bytes()).next();
    if first != Some(b'/') {
        target.push('/');
    }
    target.push_str(start);
    target.push_str(end);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rewrite: &PathRewrite, cases: &[(&str, &str)]) {
        for (target, want) in cases {
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (*target, None),
            };
            assert_eq!(rewrite.apply(path, query), *want, "{rewrite:?} on {target}");
        }
    }

    fn prefix(matched: &str, with: &str) -> PathRewrite {
        PathRewrite::Prefix {
            matched: matched.len(),
            with: with.into(),
        }
    }

    #[test]
    fn a_prefix_is_replaced_as_a_string() {
        check(
            &prefix("/foo", "/bar"),
            &[
                ("/foobar", "/barbar"),
                ("/foo", "/bar"),
                ("/foo/x?a=b", "/bar/x?a=b"),
            ],
        );
        check(&prefix("/foo/", "/"), &[("/foo/x", "/x")]);
    }

    #[test]
    fn a_slash_too_few_in_the_prefix_doubles_it() {
        check(&prefix("/foo", "/"), &[("/foo/x", "//x"), ("/foo", "/")]);
    }

    #[test]
    fn without_a_uri_match_the_prefix_is_a_slash() {
        check(&prefix("/", "/v2/"), &[("/x?a=b", "/v2/x?a=b")]);
    }

    #[test]
    fn an_exact_or_regex_match_replaces_the_whole_path_and_keeps_the_query() {
        let whole = PathRewrite::Full("/new/path".into());
        check(
            &whole,
            &[
                ("/foo", "/new/path"),
                ("/foo?key=value", "/new/path?key=value"),
            ],
        );
    }

    #[test]
    fn a_whole_path_may_bring_its_own_query() {
        let whole = PathRewrite::Full("/new?x=1".into());
        check(
            &whole,
            &[("/foo", "/new?x=1"), ("/foo?key=value", "/new?x=1")],
        );
    }

    #[test]
    fn a_regex_substitutes_every_match_in_the_path_only() {
        check(
            &PathRewrite::regex("a", "b").unwrap(),
            &[("/aXa?a=a", "/bXb?a=a")],
        );
        let swap = PathRewrite::regex("^/service/([^/]+)(/.*)$", r"\2/instance/\1").unwrap();
        let literal = PathRewrite::regex(r"^/\Qa.b\E/{id}/", "/").unwrap();
        check(
            &literal,
            &[("/a.b/{id}/x", "/x"), ("/a-b/{id}/x", "/a-b/{id}/x")],
        );
        check(
            &swap,
            &[
                ("/service/foo/v1/api?q=1", "/v1/api/instance/foo?q=1"),
                ("/other", "/other"),
            ],
        );
    }

    #[test]
    fn a_target_always_begins_with_a_slash() {
        check(&PathRewrite::Full("new".into()), &[("/foo", "/new")]);
        check(
            &prefix("/foo", ""),
            &[("/foo/x", "/x"), ("/foo", "/"), ("/foox", "/x")],
        );
        check(
            &PathRewrite::regex("/", "").unwrap(),
            &[("/a/b", "/ab"), ("/", "/")],
        );
    }
}
