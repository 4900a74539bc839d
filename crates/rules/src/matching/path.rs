//! Istio's `HTTPMatchRequest.uri`, compiled.

use super::Pattern;
use std::fmt;

/// What a path, without its query, has to look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PathMatch {
    /// Equal.
    Exact(String),
    /// Begins with this text, wherever its last segment ends.
    Prefix(String),
    /// Equal but for ASCII case: `exact` with `ignoreUriCase`.
    ExactIgnoreCase(String),
    /// Begins with this text but for ASCII case: `prefix` with `ignoreUriCase`.
    PrefixIgnoreCase(String),
    /// Matches as a whole. `ignoreUriCase` means nothing here.
    Regex(Pattern),
}

impl PathMatch {
    /// Whether `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(want) => path == want,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::ExactIgnoreCase(want) => path.eq_ignore_ascii_case(want),
            Self::PrefixIgnoreCase(prefix) => starts_with_ignore_case(path, prefix),
            Self::Regex(pattern) => pattern.matches(path.as_bytes()),
        }
    }
}

fn starts_with_ignore_case(path: &str, prefix: &str) -> bool {
    let start = path.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

impl fmt::Display for PathMatch {
    /// `prefix "/v1"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "exact {text:?}"),
            Self::Prefix(text) => write!(f, "prefix {text:?}"),
            Self::ExactIgnoreCase(text) => write!(f, "exact {text:?} in any case"),
            Self::PrefixIgnoreCase(text) => write!(f, "prefix {text:?} in any case"),
            Self::Regex(pattern) => write!(f, "regex {:?}", pattern.source()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &PathMatch, cases: &[(&str, bool)]) {
        for (path, want) in cases {
            assert_eq!(pattern.matches(path), *want, "{pattern} on {path}");
        }
    }

    #[test]
    fn exact_is_the_whole_path() {
        check(
            &PathMatch::Exact("/a".into()),
            &[("/a", true), ("/a/", false), ("/A", false)],
        );
    }

    #[test]
    fn prefix_is_raw_not_by_segment() {
        let cases = [
            ("/status", true),
            ("/statusfoo", true),
            ("/status/1", true),
            ("/stat", false),
        ];
        check(&PathMatch::Prefix("/status".into()), &cases);
        check(&PathMatch::Prefix(String::new()), &[("/x", true)]);
    }

    #[test]
    fn case_can_be_ignored_for_exact_and_prefix() {
        check(
            &PathMatch::ExactIgnoreCase("/aB".into()),
            &[("/Ab", true), ("/abc", false)],
        );
        check(
            &PathMatch::PrefixIgnoreCase("/aB".into()),
            &[("/Abc", true), ("/a", false)],
        );
    }

    #[test]
    fn regex_matches_the_whole_path() {
        let pattern = Pattern::parse("/v[0-9]+").unwrap();
        check(
            &PathMatch::Regex(pattern),
            &[("/v12", true), ("/v1/x", false)],
        );
    }
}
