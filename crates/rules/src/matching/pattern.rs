//! Regular expressions of users: RE2 syntax, matched as a whole, bounded in size.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::Hir;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use std::fmt;
use std::sync::Arc;

/// The longest expression accepted, in bytes, as Istio validates it.
pub const MAX_PATTERN_BYTES: usize = 1024;

/// The greatest size of one compiled expression, in bytes.
const MAX_COMPILED_BYTES: usize = 1 << 20;

/// How many literal beginnings an expression is indexed under at most.
const MAX_BEGINNINGS: usize = 16;

/// The longest literal beginning an expression is indexed under, in bytes.
const MAX_BEGINNING_BYTES: usize = 64;

/// A regular expression that has to match a whole text, in time linear in its length.
///
/// Classes such as `\d` and `\w` are ASCII, and `.` does not match a newline, as in RE2.
#[derive(Clone)]
pub struct Pattern {
    source: Arc<str>,
    regex: Regex,
    beginnings: Arc<[Box<[u8]>]>,
}

/// Why an expression was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPattern {
    /// Longer than [`MAX_PATTERN_BYTES`].
    #[error("regular expression of {0} bytes is longer than {MAX_PATTERN_BYTES}")]
    TooLong(usize),
    /// Not an expression of the RE2 kind.
    #[error("invalid regular expression: {0}")]
    Syntax(String),
    /// Counted repetitions make it too large.
    #[error("regular expression needs more than {MAX_COMPILED_BYTES} bytes when compiled")]
    TooLarge,
}

impl Pattern {
    /// Compiles `source` so that it matches whole texts only.
    ///
    /// # Errors
    /// When it is too long, not valid or too large once compiled.
    pub fn parse(source: &str) -> Result<Self, InvalidPattern> {
        if source.len() > MAX_PATTERN_BYTES {
            return Err(InvalidPattern::TooLong(source.len()));
        }
        let plain = model::with_plain_literals(source);
        // Parsed by itself first: `a)|(b` is only valid inside the group that anchors it.
        let (hir, unicode) = parse_hir(&plain)?;
        let regex = RegexBuilder::new(&format!("^(?:{plain})$"))
            .unicode(unicode)
            .size_limit(MAX_COMPILED_BYTES)
            .dfa_size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(refusal)?;
        let beginnings = beginnings(&hir).into();
        Ok(Self {
            source: source.into(),
            regex,
            beginnings,
        })
    }

    /// Whether the whole of `text` matches.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Literal texts, one of which every match begins with. Empty: nothing is known.
    ///
    /// None is a beginning of another, and none is empty.
    pub fn beginnings(&self) -> &[Box<[u8]>] {
        &self.beginnings
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.source).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Pattern {}

/// Parses with ASCII classes, as RE2 has them, and with Unicode ones where the expression needs them.
fn parse_hir(source: &str) -> Result<(Hir, bool), InvalidPattern> {
    let parse = |unicode| {
        let mut parser = ParserBuilder::new()
            .utf8(false)
            .unicode(unicode)
            .nest_limit(100)
            .build();
        parser.parse(source).map_err(|error| reason(&error))
    };
    if let Ok(hir) = parse(false) {
        return Ok((hir, false));
    }
    let hir = parse(true).map_err(InvalidPattern::Syntax)?;
    Ok((hir, true))
}

/// The parser's reason in one line, without its drawing of the expression.
fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    }
}

pub(crate) fn refusal(error: regex::Error) -> InvalidPattern {
    match error {
        regex::Error::CompiledTooBig(_) => InvalidPattern::TooLarge,
        other => InvalidPattern::Syntax(other.to_string()),
    }
}

fn beginnings(hir: &Hir) -> Vec<Box<[u8]>> {
    let mut extractor = Extractor::new();
    extractor
        .kind(ExtractKind::Prefix)
        .limit_total(MAX_BEGINNINGS);
    let seq = extractor.extract(hir);
    let Some(literals) = seq.literals() else {
        return Vec::new();
    };
    let mut texts: Vec<&[u8]> = literals
        .iter()
        .map(|literal| &literal.as_bytes()[..literal.len().min(MAX_BEGINNING_BYTES)])
        .collect();
    texts.sort_unstable();
    // Sorted, so a text stands directly after those it begins with; the shortest is enough.
    texts.dedup_by(|longer, shorter| longer.starts_with(shorter));
    if texts.len() > MAX_BEGINNINGS || texts.iter().any(|text| text.is_empty()) {
        return Vec::new();
    }
    texts.into_iter().map(Box::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, cases: &[(&str, bool)]) {
        let pattern = Pattern::parse(source).unwrap();
        for (text, want) in cases {
            assert_eq!(
                pattern.matches(text.as_bytes()),
                *want,
                "{source} on {text:?}"
            );
        }
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        check(
            "/v[0-9]",
            &[("/v1", true), ("/v1/", false), ("x/v1", false)],
        );
        check(
            "a|b",
            &[("a", true), ("b", true), ("ab", false), ("bc", false)],
        );
        check("^/a$", &[("/a", true), ("/a\n", false)]);
    }

    #[test]
    fn classes_are_ascii_and_dot_stops_at_a_newline() {
        check(r"\d+", &[("12", true), ("١", false)]);
        check("a.b", &[("axb", true), ("a\nb", false)]);
        check("(?i)/ABC", &[("/abc", true)]);
        check("[é]", &[("é", true), ("e", false)]);
    }

    #[test]
    fn quotes_and_braces_are_literals_as_in_re2() {
        check("/{id}/a{2}", &[("/{id}/aa", true), ("/7/aa", false)]);
        check(r"/\Qa.b(\E.*", &[("/a.b(c", true), ("/axb(c", false)]);
    }

    #[test]
    fn what_is_not_an_expression_by_itself_is_refused() {
        for source in ["a)|(b", "(", "*", r"(a)\1", "(?=a)"] {
            assert!(
                matches!(Pattern::parse(source), Err(InvalidPattern::Syntax(_))),
                "{source}"
            );
        }
    }

    #[test]
    fn long_and_large_expressions_are_refused() {
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        assert_eq!(Pattern::parse(&long), Err(InvalidPattern::TooLong(1025)));
        assert_eq!(
            Pattern::parse("((a{1000}){1000}){1000}"),
            Err(InvalidPattern::TooLarge)
        );
    }

    #[test]
    fn beginnings_are_what_every_match_begins_with() {
        let of = |source| {
            let pattern = Pattern::parse(source).unwrap();
            let texts = pattern.beginnings().iter();
            texts
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("/api/.*"), ["/api/"]);
        assert_eq!(of("^/api/v[12]/x"), ["/api/v1/x", "/api/v2/x"]);
        assert_eq!(of("/a|/ab|/c"), ["/a", "/c"]);
        assert_eq!(of(".*"), [""; 0]);
        assert_eq!(of("(/a)?/b"), ["/a/b", "/b"]);
    }
}
