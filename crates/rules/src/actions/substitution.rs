//! Istio's `RegexRewrite`: every match of an expression replaced.

use crate::{InvalidPattern, MAX_PATTERN_BYTES, PathRewrite, matching};
use regex::{Regex, RegexBuilder};

/// The greatest size of one compiled expression, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// Why a `uriRegexRewrite` was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidSubstitution {
    /// `match` is no expression.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// `rewrite` refers to a group that `match` does not have.
    #[error("\\{group} refers to a group, but the expression has {groups}")]
    NoSuchGroup {
        /// The group asked for.
        group: usize,
        /// How many there are.
        groups: usize,
    },
    /// A backslash in `rewrite` before something else than a digit or a backslash.
    #[error("a backslash stands before a digit or another backslash only")]
    StrayBackslash,
}

/// Compiles `match` and translates the `\1` of `rewrite` to `${1}`.
///
/// # Errors
/// When one of them is not valid, or they do not fit together.
pub fn substitution(pattern: &str, rewrite: &str) -> Result<(Regex, String), InvalidSubstitution> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(InvalidPattern::TooLong(pattern.len()).into());
    }
    let regex = RegexBuilder::new(&model::with_plain_literals(pattern))
        .size_limit(MAX_COMPILED_BYTES)
        .dfa_size_limit(MAX_COMPILED_BYTES)
        .build()
        .map_err(matching::refusal)?;
    let with = translated(rewrite, regex.captures_len() - 1)?;
    Ok((regex, with))
}

fn translated(rewrite: &str, groups: usize) -> Result<String, InvalidSubstitution> {
    let mut with = String::with_capacity(rewrite.len());
    let mut rest = rewrite.chars();
    while let Some(char) = rest.next() {
        match char {
            '$' => with.push_str("$$"),
            '\\' => with.push_str(&escaped(rest.next(), groups)?),
            other => with.push(other),
        }
    }
    Ok(with)
}

fn escaped(char: Option<char>, groups: usize) -> Result<String, InvalidSubstitution> {
    if char == Some('\\') {
        return Ok("\\".to_owned());
    }
    let digit = char
        .and_then(|char| char.to_digit(10))
        .ok_or(InvalidSubstitution::StrayBackslash)?;
    let group = digit as usize;
    if group > groups {
        return Err(InvalidSubstitution::NoSuchGroup { group, groups });
    }
    Ok(format!("${{{group}}}"))
}

impl PathRewrite {
    /// `uriRegexRewrite`.
    ///
    /// # Errors
    /// When its two parts are not valid or do not fit together.
    pub fn regex(pattern: &str, rewrite: &str) -> Result<Self, InvalidSubstitution> {
        let (pattern, with) = substitution(pattern, rewrite)?;
        Ok(Self::Regex { pattern, with })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_references_are_translated() {
        let cases = [
            (r"/\1/x", "/${1}/x"),
            (r"\0", "${0}"),
            (r"a\\b", r"a\b"),
            ("$1", "$$1"),
            (r"\10", "${1}0"),
        ];
        for (rewrite, want) in cases {
            assert_eq!(substitution("(a)", rewrite).unwrap().1, want);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let refused = |rewrite| substitution("(a)", rewrite).unwrap_err();
        assert_eq!(
            refused(r"\2"),
            InvalidSubstitution::NoSuchGroup {
                group: 2,
                groups: 1
            }
        );
        assert_eq!(refused(r"\x"), InvalidSubstitution::StrayBackslash);
        assert_eq!(refused("a\\"), InvalidSubstitution::StrayBackslash);
        assert!(matches!(
            substitution("(", "x"),
            Err(InvalidSubstitution::Pattern(_))
        ));
    }
}
