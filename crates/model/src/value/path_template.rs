//! Path templates of an AuthorizationPolicy.

use std::fmt;

/// One segment.
const SEGMENT: &str = "{*}";

/// Any number of segments.
const REST: &str = "{**}";

/// A path with `{*}`, which stands for one segment, and at most one `{**}`, which stands for any text, of any
/// number of segments: `/store/{**}/cart` matches `/store/a/b/cart` and `/store//cart`, not `/store/cart`.
///
/// What an operator stands for may be any characters; Envoy knows those of RFC 3986 only.
///
/// Source: Istio `Operation.paths`, Envoy's URI template.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PathTemplate {
    written: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Part {
    /// This text, slashes included. Two never follow each other.
    Text(String),
    /// All of one segment, which is not empty.
    Segment,
    /// Anything. Only a text can follow.
    Rest,
}

/// A path with an operator that is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPathTemplate {
    /// It begins with something else.
    #[error("a path template must begin with \"/\"")]
    NoSlash,
    /// Two slashes in a row.
    #[error("a path template must not have an empty segment")]
    EmptySegment,
    /// Neither an operator nor a text without special characters.
    #[error("{0:?} is no segment of a path template")]
    Segment(String),
    /// An operator behind `{{**}}`.
    #[error("no operator may follow {{**}}")]
    AfterRest,
}

impl PathTemplate {
    /// Whether `path` is meant to be a template.
    pub fn is_template(path: &str) -> bool {
        path.contains(SEGMENT) || path.contains(REST)
    }

    /// Whether `path`, normalised and without query, matches.
    pub fn matches(&self, path: &str) -> bool {
        matches(&self.parts, path)
    }

    fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    fn push_segment(&mut self, segment: &str, is_last: bool) -> Result<(), InvalidPathTemplate> {
        let invalid = || InvalidPathTemplate::Segment(segment.to_owned());
        let (operator, suffix) = match operator_of(segment) {
            Some((operator, suffix)) => (Some(operator), suffix),
            None => (None, segment),
        };
        if !suffix.bytes().all(is_literal) || (operator.is_some() && !suffix.is_empty() && !is_last)
        {
            return Err(invalid());
        }
        if let Some(operator) = operator {
            if self.parts.contains(&Part::Rest) {
                return Err(InvalidPathTemplate::AfterRest);
            }
            self.parts.push(operator);
        }
        if !suffix.is_empty() {
            self.push_text(suffix);
        }
        Ok(())
    }
}

fn operator_of(segment: &str) -> Option<(Part, &str)> {
    let rest = segment
        .strip_prefix(REST)
        .map(|suffix| (Part::Rest, suffix));
    rest.or_else(|| Some((Part::Segment, segment.strip_prefix(SEGMENT)?)))
}

/// What RFC 3986 allows in a segment, without `*`.
fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@=".contains(&byte)
}

/// A loop, since a template may have more parts than the stack has frames.
fn matches(mut parts: &[Part], mut path: &str) -> bool {
    while let Some((part, rest)) = parts.split_first() {
        let left = match (part, rest) {
            (Part::Rest, []) => return true,
            (Part::Rest, [next, ..]) => return next.is_end_of(path),
            (Part::Text(text), _) => path.strip_prefix(text.as_str()),
            (Part::Segment, [Part::Text(suffix)]) if !suffix.starts_with('/') => {
                return path
                    .strip_suffix(suffix.as_str())
                    .is_some_and(|segment| !segment.is_empty() && !segment.contains('/'));
            }
            (Part::Segment, _) => {
                let end = path.find('/').unwrap_or(path.len());
                (end > 0).then(|| &path[end..])
            }
        };
        let Some(left) = left else {
            return false;
        };
        (parts, path) = (rest, left);
    }
    path.is_empty()
}

impl Part {
    fn is_end_of(&self, path: &str) -> bool {
        matches!(self, Self::Text(text) if path.ends_with(text.as_str()))
    }
}

impl TryFrom<&str> for PathTemplate {
    type Error = InvalidPathTemplate;

    fn try_from(text: &str) -> Result<Self, InvalidPathTemplate> {
        let segments = text
            .strip_prefix('/')
            .ok_or(InvalidPathTemplate::NoSlash)?
            .split('/');
        let last = segments.clone().count() - 1;
        let mut template = Self {
            written: text.to_owned(),
            parts: Vec::new(),
        };
        for (index, segment) in segments.enumerate() {
            if segment.is_empty() && index < last {
                return Err(InvalidPathTemplate::EmptySegment);
            }
            template.push_text("/");
            template.push_segment(segment, index == last)?;
        }
        Ok(template)
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, cases: &[(&str, bool)]) {
        let template = PathTemplate::try_from(template).unwrap();
        for (path, want) in cases {
            assert_eq!(template.matches(path), *want, "{template} on {path}");
        }
    }

    #[test]
    fn one_operator_stands_for_one_segment() {
        check(
            "/a/{*}/c",
            &[
                ("/a/b/c", true),
                ("/a/%2F/c", true),
                ("/a//c", false),
                ("/a/c", false),
                ("/a/b/b/c", false),
                ("/a/b/cc", false),
                ("/a/b/c/", false),
            ],
        );
        check(
            "/a/{*}",
            &[("/a/b", true), ("/a/", false), ("/a/b/c", false)],
        );
        check("/{*}/{*}", &[("/a/b", true), ("/a", false), ("/a/", false)]);
        check("/a/{*}/", &[("/a/b/", true), ("/a/b", false)]);
        check(
            "/a/{*}.txt",
            &[
                ("/a/b.txt", true),
                ("/a/.txt.txt", true),
                ("/a/.txt", false),
                ("/a/b/c.txt", false),
            ],
        );
    }

    #[test]
    fn the_other_stands_for_any_text() {
        check(
            "/store/{**}/cart",
            &[
                ("/store/a/cart", true),
                ("/store/a/b/cart", true),
                ("/store//cart", true),
                ("/store/cart", false),
                ("/store/a/cart/b", false),
            ],
        );
        check(
            "/store/{**}",
            &[
                ("/store/", true),
                ("/store/a/b", true),
                ("/store", false),
                ("/storea", false),
            ],
        );
        check("/{*}/{**}.jpg", &[("/a/b/c.jpg", true), ("/a.jpg", false)]);
        check("/{**}", &[("/", true), ("/a/b", true)]);
    }

    #[test]
    fn what_is_no_template() {
        use InvalidPathTemplate::*;
        let segment = |text: &str| Segment(text.to_owned());
        for (text, want) in [
            ("a/{*}", NoSlash),
            ("*{*}", NoSlash),
            ("/a//{*}", EmptySegment),
            ("/{**}/{*}", AfterRest),
            ("/{**}/{**}", AfterRest),
            ("/a{*}", segment("a{*}")),
            ("/{*}b/c", segment("{*}b")),
            ("/{*}{*}", segment("{*}{*}")),
            ("/{*}/*", segment("*")),
            ("/{*}/b*", segment("b*")),
            ("/{*}/{}", segment("{}")),
            ("/{*}/{name}", segment("{name}")),
            ("/{*}/{name=*}", segment("{name=*}")),
            ("/{*}/a b", segment("a b")),
            ("/{*}/?a", segment("?a")),
            ("/{*}/é", segment("é")),
        ] {
            assert_eq!(PathTemplate::try_from(text), Err(want), "{text}");
        }
        assert!(PathTemplate::is_template("/{*}") && PathTemplate::is_template("a{**}"));
        assert!(!PathTemplate::is_template("/{name}") && !PathTemplate::is_template("/*"));
    }
}
