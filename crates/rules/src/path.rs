//! One form for paths that mean the same, before anything looks at them.

use std::borrow::Cow;

/// How far paths are brought to one form.
///
/// Source: Istio `MeshConfig.pathNormalization`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum PathNormalization {
    /// As the client sent it, without a fragment.
    None,
    /// `.` and `..` resolved, `\` made `/`, letters, digits and `-._~` decoded. Istio's default.
    #[default]
    Base,
    /// And several slashes made one.
    MergeSlashes,
    /// And before all, `%2F` and `%5C` decoded.
    DecodeAndMergeSlashes,
}

/// A path that cannot be normalised: answered with 400.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPath {
    /// `%00`, which programs written in C take for the end.
    #[error("the path holds an encoded NUL byte")]
    Nul,
}

/// Brings a path, without its query, to its form for matching and forwarding.
///
/// A fragment is cut off. A target that is no path (`*`, `host:port`) stays as it is.
/// Allocates only when something changes.
///
/// # Errors
/// When no server could be trusted to read the path as it was meant.
pub fn normalise(raw: &str, mode: PathNormalization) -> Result<Cow<'_, str>, InvalidPath> {
    let path = raw.split_once('#').map_or(raw, |(path, _)| path);
    if mode == PathNormalization::None || !path.starts_with('/') {
        return Ok(Cow::Borrowed(path));
    }
    if !may_change(path.as_bytes(), mode) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decoded(path, mode)?;
    let merge = matches!(
        mode,
        PathNormalization::MergeSlashes | PathNormalization::DecodeAndMergeSlashes
    );
    let mut path = without_dot_segments(&decoded);
    if merge {
        merge_slashes(&mut path);
    }
    Ok(Cow::Owned(path))
}

/// Whether there is anything in the path that some step looks for.
fn may_change(path: &[u8], mode: PathNormalization) -> bool {
    let merges = mode != PathNormalization::Base;
    let pairs = path.iter().zip(path.iter().skip(1));
    path.iter().any(|byte| matches!(byte, b'%' | b'\\'))
        || pairs.into_iter().any(|pair| match pair {
            (b'/', b'.') => true,
            (b'/', b'/') => merges,
            _ => false,
        })
}

/// Unreserved characters decoded, backslashes turned.
fn decoded(path: &str, mode: PathNormalization) -> Result<String, InvalidPath> {
    let mut text = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let (piece, after) = match encoded(from) {
            Some(0) => return Err(InvalidPath::Nul),
            Some(byte) => (replacement(byte, mode), &from[3..]),
            None if from.starts_with('\\') => (Some('/'), &from[1..]),
            None => (Some('%'), &from[1..]),
        };
        match piece {
            Some(char) => text.push(char),
            None => text.push_str(&from[..3]),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// The byte that a text beginning with `%XX` encodes.
fn encoded(text: &str) -> Option<u8> {
    let digit = |at: usize| char::from(*text.as_bytes().get(at)?).to_digit(16);
    if !text.starts_with('%') {
        return None;
    }
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

/// What an encoded byte becomes; `None` when it stays encoded.
fn replacement(byte: u8, mode: PathNormalization) -> Option<char> {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            Some(char::from(byte))
        }
        b'/' | b'\\' if mode == PathNormalization::DecodeAndMergeSlashes => Some('/'),
        _ => None,
    }
}

/// RFC 3986, 5.2.4: `.` goes, `..` takes the segment before it along, never above the root.
fn without_dot_segments(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    text.truncate(text.rfind('/').unwrap_or(0));
                }
                if is_last {
                    text.push('/');
                }
            }
            segment => {
                text.push('/');
                text.push_str(segment);
            }
        }
    }
    text
}

fn merge_slashes(path: &mut String) {
    let mut last = None;
    path.retain(|char| {
        let keep = char != '/' || last != Some('/');
        last = Some(char);
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None as Unchanged};
    use proptest::prelude::*;

    #[track_caller]
    fn check(modes: &[PathNormalization], cases: &[(&str, &str)]) {
        for mode in modes {
            for (raw, want) in cases {
                assert_eq!(normalise(raw, *mode).unwrap(), *want, "{raw} with {mode:?}");
            }
        }
    }

    #[test]
    fn a_path_in_its_form_is_not_copied() {
        for mode in [Unchanged, Base, MergeSlashes, DecodeAndMergeSlashes] {
            for raw in ["/", "/app", "/app/", "/a.b/c..d", "/app#foo", "*"] {
                assert!(
                    matches!(normalise(raw, mode), Ok(Cow::Borrowed(_))),
                    "{raw}"
                );
            }
        }
    }

    #[test]
    fn a_fragment_is_cut_always() {
        check(
            &[Unchanged, Base, MergeSlashes, DecodeAndMergeSlashes],
            &[("/app#foo", "/app"), ("/#", "/")],
        );
    }

    #[test]
    fn none_changes_nothing() {
        let same = [
            "/app/../admin",
            "/app//",
            "/app/%2f",
            "/xyz%30..//abc",
            "/app/%2E./admin",
            r"/app\admin",
        ];
        check(&[Unchanged], &same.map(|path| (path, path)));
    }

    #[test]
    fn dot_segments_are_resolved() {
        let cases = [
            ("/app/../admin", "/admin"),
            ("/app/%2E./admin", "/admin"),
            ("/app/..", "/"),
            ("/app/.", "/app/"),
            ("/../../admin", "/admin"),
            ("/.", "/"),
            ("/a/./b", "/a/b"),
            ("/.../admin", "/.../admin"),
            ("/..;/admin", "/..;/admin"),
        ];
        check(&[Base, MergeSlashes, DecodeAndMergeSlashes], &cases);
        check(
            &[Base],
            &[
                ("/app//../admin", "/app/admin"),
                ("/app//../../admin", "/admin"),
            ],
        );
        check(
            &[MergeSlashes],
            &[
                ("/app//../admin", "/app/admin"),
                ("/app//../../admin", "/admin"),
            ],
        );
    }

    #[test]
    fn base_turns_backslashes_and_keeps_double_and_encoded_slashes() {
        let cases = [
            (r"/app\admin", "/app/admin"),
            (r"/app/\/\/\admin", "/app//////admin"),
            ("/app//", "/app//"),
            ("/app/%2f", "/app/%2f"),
            ("/app%2f/", "/app%2f/"),
            ("/xyz%30..//abc", "/xyz0..//abc"),
            ("/%2Fapp%5cadmin%5Cabc", "/%2Fapp%5cadmin%5Cabc"),
            (
                r"/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc",
                "/%5Capp%2f%5c%2F..%2fadmin%5c/abc",
            ),
        ];
        check(&[Base], &cases);
    }

    #[test]
    fn merging_makes_one_slash_of_many() {
        let cases = [
            ("/app//", "/app/"),
            ("/app/%2f", "/app/%2f"),
            ("/xyz%30..//abc", "/xyz0../abc"),
            (r"/app/\/\/\admin", "/app/admin"),
            ("/%2Fapp%5cadmin%5Cabc", "/%2Fapp%5cadmin%5Cabc"),
        ];
        check(&[MergeSlashes], &cases);
    }

    #[test]
    fn decoding_comes_before_everything_else() {
        let cases = [
            ("/app/%2f", "/app/"),
            ("/app%2f/", "/app/"),
            ("/%2Fapp%5cadmin%5Cabc", "/app/admin/abc"),
            (r"/%5Capp%2f%5c%2F%2e%2e%2fadmin%5c\abc", "/app/admin/abc"),
            ("/%c0%2e%c0%2e/admin", "/%c0.%c0./admin"),
            ("/%c0%2fadmin", "/%c0/admin"),
        ];
        check(&[DecodeAndMergeSlashes], &cases);
    }

    #[test]
    fn nothing_is_decoded_twice() {
        let same = [
            "/%252e%252e/admin",
            "/%252e%252e%252fadmin",
            "/%25c0%25af",
            "/%c0%af",
            "/Admin",
            "/100%",
            "/%zz",
            "/%2",
        ];
        check(
            &[Base, MergeSlashes, DecodeAndMergeSlashes],
            &same.map(|path| (path, path)),
        );
    }

    #[test]
    fn only_unreserved_characters_and_slashes_are_decoded() {
        for byte in 1..=255_u8 {
            let raw = format!("/admin%{byte:02x}");
            let want = match byte {
                b'/' | b'\\' => "/admin/".to_owned(),
                b'-' | b'.' | b'_' | b'~' => format!("/admin{}", char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => format!("/admin{}", char::from(byte)),
                _ => raw.clone(),
            };
            check(&[DecodeAndMergeSlashes], &[(&raw, &want)]);
        }
    }

    #[test]
    fn an_encoded_nul_is_refused() {
        for mode in [Base, MergeSlashes, DecodeAndMergeSlashes] {
            assert_eq!(normalise("/admin%00", mode), Err(InvalidPath::Nul));
        }
    }

    proptest! {
        #[test]
        fn the_result_is_an_absolute_path_without_dot_segments(raw in r"/([ab.\\/é]|%2e|%2f|%5c|%){0,20}") {
            for mode in [Base, MergeSlashes, DecodeAndMergeSlashes] {
                let path = normalise(&raw, mode).unwrap();
                prop_assert!(path.starts_with('/'), "{}", path);
                prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{}", path);
                prop_assert!(!path.contains('\\'));
            }
        }
    }
}
