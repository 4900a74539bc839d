//! How a string is compared.

use std::fmt;

/// The greatest length of a regular expression, in bytes.
pub const MAX_REGEX_LENGTH: usize = 1024;

/// How a string is compared.
///
/// Source: Istio `StringMatch`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StringMatch {
    /// Equal.
    Exact(String),
    /// Begins with. Empty only for `uri`.
    Prefix(String),
    /// The whole string matches.
    Regex(RegexSource),
    /// There at all, whatever it says: `{}` or `regex: "*"`. Headers and query parameters only.
    Present,
}

/// A regular expression that is known to compile, also between `^(?:` and `)$`.
///
/// It is written for RE2, where `\w`, `\d`, `\s` and `\b` know ASCII only, `\Q..\E` quotes, and a brace that
/// repeats nothing is one; so it is here, in [`Self::pattern`] and [`Self::anchored`].
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RegexSource {
    written: String,
    pattern: String,
}

/// A regular expression that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InvalidRegex {
    /// Longer than [`MAX_REGEX_LENGTH`].
    #[error("regex is too long: {0} bytes, at most {MAX_REGEX_LENGTH}")]
    TooLong(usize),
    /// Wrong syntax, or what the linear-time engine does not have (look-around, back-references).
    #[error("regex does not compile: {0}")]
    Syntax(String),
    /// Compiles to too large a program.
    #[error("regex compiles to more than {0} bytes")]
    TooBig(usize),
}

impl RegexSource {
    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// The expression for [`regex::Regex`], which finds what RE2 would find.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// [`Self::pattern`] anchored at both ends, as Istio matches it.
    pub fn anchored(&self) -> String {
        anchor(&self.pattern)
    }
}

impl TryFrom<&str> for RegexSource {
    type Error = InvalidRegex;

    fn try_from(text: &str) -> Result<Self, InvalidRegex> {
        if text.len() > MAX_REGEX_LENGTH {
            return Err(InvalidRegex::TooLong(text.len()));
        }
        // Parsed alone first: `a)|(b` would compile once it is wrapped.
        let text_of_ours = super::re2::with_plain_literals(text);
        let pattern =
            super::re2::with_ascii_classes(&text_of_ours).map_err(InvalidRegex::Syntax)?;
        regex::Regex::new(&anchor(&pattern))?;
        Ok(Self {
            written: text.to_owned(),
            pattern,
        })
    }
}

impl fmt::Display for RegexSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl From<regex::Error> for InvalidRegex {
    fn from(error: regex::Error) -> Self {
        match error {
            regex::Error::CompiledTooBig(limit) => Self::TooBig(limit),
            regex::Error::Syntax(text) => Self::Syntax(super::re2::last_line(&text)),
            other => Self::Syntax(other.to_string()),
        }
    }
}

fn anchor(text: &str) -> String {
    format!("^(?:{text})$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_are_checked_alone_and_anchored() {
        for good in [
            "",
            ".*",
            "^(.*?;)?(user=jason)(;.*)?$",
            "(?i)abc",
            "a|b",
            "/v1/{id}",
            r"\Qa.b(\E.*",
        ] {
            assert!(RegexSource::try_from(good).is_ok(), "{good}");
        }
        for bad in ["(", "a)|(b", "(?=x)", r"(a)\1", "*", r"a\E", "a{3,2}"] {
            assert!(RegexSource::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_message_is_one_line() {
        let error = RegexSource::try_from("a(b").unwrap_err();
        assert_eq!(error.to_string(), "regex does not compile: unclosed group");
    }

    #[test]
    fn length_is_bounded() {
        assert!(RegexSource::try_from("a".repeat(1024).as_str()).is_ok());
        let long = "a".repeat(1025);
        assert_eq!(
            RegexSource::try_from(long.as_str()),
            Err(InvalidRegex::TooLong(1025))
        );
    }
}
