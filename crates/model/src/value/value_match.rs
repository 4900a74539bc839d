//! How a value of an AuthorizationPolicy is compared.

use std::fmt;

/// How a value of a rule is compared: `abc`, `abc*`, `*abc` or `*`. A `*` elsewhere is compared as it is.
///
/// Source: Istio `AuthorizationPolicy`, `Rule`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum ValueMatch {
    /// Equal.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Ends with.
    Suffix(String),
    /// There, and of a header also when it is empty.
    Present,
}

/// A value that is empty, with which nothing can be compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must not be empty")]
pub struct EmptyValue;

impl ValueMatch {
    /// Whether `text` matches. Case counts.
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(want) => text == want.as_bytes(),
            Self::Prefix(prefix) => text.starts_with(prefix.as_bytes()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_bytes()),
            Self::Present => !text.is_empty(),
        }
    }

    /// Whether `text` matches but for the case of ASCII letters.
    pub fn matches_ignore_case(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(want) => text.eq_ignore_ascii_case(want.as_bytes()),
            Self::Prefix(prefix) => text
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            Self::Suffix(suffix) => text
                .len()
                .checked_sub(suffix.len())
                .is_some_and(|start| text[start..].eq_ignore_ascii_case(suffix.as_bytes())),
            Self::Present => !text.is_empty(),
        }
    }

    /// What is compared, without the `*` that stands for the rest. Empty for `*`.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) => text,
            Self::Present => "",
        }
    }
}

impl TryFrom<&str> for ValueMatch {
    type Error = EmptyValue;

    fn try_from(text: &str) -> Result<Self, EmptyValue> {
        if text.is_empty() {
            return Err(EmptyValue);
        }
        if text == "*" {
            return Ok(Self::Present);
        }
        // A star at both ends counts at the start, as in Istio.
        if let Some(suffix) = text.strip_prefix('*') {
            return Ok(Self::Suffix(suffix.to_owned()));
        }
        Ok(match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        })
    }
}

impl fmt::Display for ValueMatch {
    /// As it is written: `/admin*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => f.write_str(text),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Present => f.write_str("*"),
        }
    }
}

/// A name in which every `*` stands for any characters: a namespace or trust domain of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NamePattern(String);

impl NamePattern {
    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` matches as a whole. Case counts.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl TryFrom<&str> for NamePattern {
    type Error = EmptyValue;

    fn try_from(text: &str) -> Result<Self, EmptyValue> {
        match text {
            "" => Err(EmptyValue),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_at_either_end_stands_for_the_rest() {
        let cases = [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("abc", "ABC", false),
            ("abc*", "abc", true),
            ("abc*", "abcd", true),
            ("abc*", "ab", false),
            ("*abc", "abc", true),
            ("*abc", "xabc", true),
            ("*abc", "abcx", false),
            ("*", "x", true),
            ("*", "", false),
            ("**", "x*", true),
            ("**", "x", false),
            ("*abc*", "xabc*", true),
            ("*abc*", "xabcx", false),
            ("a*c", "abc", false),
            ("a*c", "a*c", true),
        ];
        for (pattern, text, want) in cases {
            let got = ValueMatch::try_from(pattern).unwrap();
            assert_eq!(got.matches(text.as_bytes()), want, "{pattern} on {text}");
            assert_eq!(got.to_string(), pattern);
        }
        assert_eq!(ValueMatch::try_from(""), Err(EmptyValue));
    }

    #[test]
    fn case_can_be_ignored() {
        let cases = [
            ("Example.com", "eXAMPLE.COM", true),
            ("Example.com", "example.com:80", false),
            ("example.com:*", "Example.com:80", true),
            ("example.com:*", "example", false),
            ("*.Example.com", "a.example.COM", true),
            ("*.example.com", "com", false),
            ("*", "x", true),
            ("*", "", false),
        ];
        for (pattern, text, want) in cases {
            let got = ValueMatch::try_from(pattern).unwrap();
            let matches = got.matches_ignore_case(text.as_bytes());
            assert_eq!(matches, want, "{pattern} on {text}");
        }
    }

    #[test]
    fn every_star_of_a_name_stands_for_any_characters() {
        let cases = [
            ("shop", "shop", true),
            ("shop", "shops", false),
            ("shop-*", "shop-a", true),
            ("shop-*", "shop", false),
            ("*-shop", "a-shop", true),
            ("a-*-b", "a-x-b", true),
            ("a-*-b", "a-b", false),
            ("a*a", "a", false),
            ("*a*b*", "xaybz", true),
            ("*a*b*", "xbya", false),
            ("*", "", true),
            ("*", "anything", true),
        ];
        for (pattern, name, want) in cases {
            let got = NamePattern::try_from(pattern).unwrap();
            assert_eq!(got.matches(name), want, "{pattern} on {name}");
        }
        assert_eq!(NamePattern::try_from(""), Err(EmptyValue));
    }
}
