//! Lines of a text, whichever way they end: YAML knows LF, CRLF and a lone CR.

/// Where the line that `at` is in begins.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at]
        .rfind(['\n', '\r'])
        .map_or(0, |before| before + 1)
}

/// Where the line that `at` is in ends, before its line break.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..]
        .find(['\n', '\r'])
        .map_or(text.len(), |length| at + length)
}

/// The first byte behind the line break at `end`. Absent: no line follows.
pub(super) fn next_line(text: &str, end: usize) -> Option<usize> {
    let length = match text.as_bytes().get(end)? {
        b'\r' if text[end..].starts_with("\r\n") => 2,
        _ => 1,
    };
    Some(end + length)
}

/// Where the line before the one that begins at `start` ends. Absent: there is none.
pub(super) fn line_before_end(text: &str, start: usize) -> Option<usize> {
    let before = &text[..start];
    let line = before
        .strip_suffix("\r\n")
        .or_else(|| before.strip_suffix(['\n', '\r']))?;
    Some(line.len())
}

/// Where the lines begin.
pub(super) fn line_starts(text: &str) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(0), |start| next_line(text, line_end(text, *start)))
}

/// The line break that the text uses, by its first one.
pub(super) fn newline(text: &str) -> &'static str {
    let end = line_end(text, 0);
    match text.as_bytes().get(end) {
        Some(b'\r') if text[end..].starts_with("\r\n") => "\r\n",
        Some(b'\r') => "\r",
        _ => "\n",
    }
}

/// What stands before `at` in its line, when that is white space alone.
pub(super) fn indentation(text: &str, at: usize) -> Option<&str> {
    let before = &text[line_start(text, at)..at];
    before
        .bytes()
        .all(|byte| matches!(byte, b' ' | b'\t'))
        .then_some(before)
}

/// Line and column of a byte, from 1, in characters.
pub(crate) fn place(text: &str, at: usize) -> (u32, u32) {
    let at = text.floor_char_boundary(at);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let line = line_starts(text).take_while(|start| *start <= at).count();
    let start = line_start(text, at);
    (number(line), number(text[start..at].chars().count() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_three_ways() {
        let text = "a\nbc\r\nd\re";
        assert_eq!(line_starts(text).collect::<Vec<_>>(), [0, 2, 6, 8]);
        assert_eq!((line_start(text, 3), line_end(text, 3)), (2, 4));
        assert_eq!((line_start(text, 8), line_end(text, 8)), (8, 9));
        assert_eq!(place(text, 3), (2, 2));
        assert_eq!(place(text, 9), (4, 2));
        assert_eq!(line_starts("a\n").collect::<Vec<_>>(), [0, 2]);
        let before: Vec<_> = [0, 2, 6, 8]
            .map(|start| line_before_end(text, start))
            .into();
        assert_eq!(before, [None, Some(1), Some(4), Some(7)]);
    }

    #[test]
    fn columns_are_characters() {
        for at in [4, 5] {
            assert_eq!(place("é: ü", at), (1, 4));
        }
    }

    #[test]
    fn the_first_line_break_counts() {
        for (text, want) in [
            ("a", "\n"),
            ("a\nb\r\n", "\n"),
            ("a\r\nb\n", "\r\n"),
            ("a\rb", "\r"),
        ] {
            assert_eq!(newline(text), want, "{text:?}");
        }
    }
}
