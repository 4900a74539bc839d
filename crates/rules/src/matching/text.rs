//! Istio's `StringMatch`, compiled.

use super::Pattern;
use std::fmt;

/// What a text has to look like. Case counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TextMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole.
    Regex(Pattern),
    /// Is there at all: an empty match (`{}`) or `regex: "*"`.
    Present,
}

impl TextMatch {
    /// Whether `text`, which is there, matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(want) => text == want.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Regex(pattern) => pattern.matches(text),
            Self::Present => true,
        }
    }
}

impl fmt::Display for TextMatch {
    /// `exact "jason"`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "exact {text:?}"),
            Self::Prefix(text) => write!(f, "prefix {text:?}"),
            Self::Regex(pattern) => write!(f, "regex {:?}", pattern.source()),
            Self::Present => f.write_str("present"),
        }
    }
}
