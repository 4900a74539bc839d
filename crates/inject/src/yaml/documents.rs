//! A file's documents, each for itself.

use super::lines::{line_end, line_starts, next_line};

/// The text of one document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Document<'a> {
    /// With its directives and its `---` line, if it has them.
    pub(crate) text: &'a str,
    /// Where it begins in the file.
    pub(crate) start: usize,
}

/// Splits at the lines that begin with `---` or are `...`: YAML ends a document there, whatever it is in the middle of.
/// Documents without content are left out.
pub(crate) fn documents(text: &str) -> Vec<Document<'_>> {
    let mut start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut found = Vec::new();
    let mut cut = |from: usize, to: usize| {
        let document = &text[from..to];
        if has_content(document) {
            found.push(Document {
                text: document,
                start: from,
            });
        }
    };
    for line in line_starts(text) {
        if is_marker(&text[line..], "---") && ends_document(&text[start.min(line)..line]) {
            cut(start, line);
            start = line;
        } else if is_marker(&text[line..], "...") {
            cut(start, line);
            start = next_line(text, line_end(text, line)).unwrap_or(text.len());
        }
    }
    cut(start, text.len());
    found
}

/// Whether a `---` behind this text begins another document: behind directives and comments alone it begins theirs.
fn ends_document(before: &str) -> bool {
    has_content(before) || line_starts(before).any(|line| is_marker(&before[line..], "---"))
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether there is more than the marker, comments, directives and empty lines.
fn has_content(text: &str) -> bool {
    line_starts(text).any(|start| {
        let line = &text[start..line_end(text, start)];
        let line = if is_marker(line, "---") {
            &line[3..]
        } else {
            line
        };
        let words = line.trim_start();
        !(words.is_empty() || words.starts_with('#') || line.starts_with('%'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        let found = documents(text);
        for document in &found {
            assert!(text[document.start..].starts_with(document.text));
        }
        found.into_iter().map(|document| document.text).collect()
    }

    #[test]
    fn documents_end_at_markers_only() {
        assert_eq!(split("a: 1\n"), ["a: 1\n"]);
        assert_eq!(split("a: 1\n---\nb: 2\n"), ["a: 1\n", "---\nb: 2\n"]);
        assert_eq!(
            split("---\na: 1\n--- # c\nb: 2"),
            ["---\na: 1\n", "--- # c\nb: 2"]
        );
        assert_eq!(split("a: 1\n...\nb: 2\n"), ["a: 1\n", "b: 2\n"]);
        assert_eq!(
            split("a: |\n  ---\n ---\n----\n"),
            ["a: |\n  ---\n ---\n----\n"]
        );
        assert_eq!(
            split("a: 1\r\n---\r\nb: 2\r\n"),
            ["a: 1\r\n", "---\r\nb: 2\r\n"]
        );
        assert_eq!(split("a: 1\r---\rb: 2"), ["a: 1\r", "---\rb: 2"]);
        assert_eq!(
            split("--- {a: 1}\n--- {b: 2}"),
            ["--- {a: 1}\n", "--- {b: 2}"]
        );
    }

    #[test]
    fn directives_belong_to_what_follows() {
        let first = "# c\n%TAG !e! tag:example.org:\n---\na: !e!x 1\n...\n";
        let second = "%YAML 1.2\n---\nb: 2\n";
        assert_eq!(
            split(&[first, second].concat()),
            [&first[..first.len() - 4], second]
        );
    }

    #[test]
    fn empty_documents_are_left_out() {
        for text in [
            "",
            "\n\n",
            "---\n",
            "# c\n---\n---\n  # d\n",
            "%YAML 1.2\n---\n",
            "\u{feff}",
            "...\n",
        ] {
            assert_eq!(split(text), [""; 0], "{text:?}");
        }
        for text in [
            "---\n---\na: 1",
            "# c\n---\n---\na: 1",
            "...\n---\n---\na: 1",
        ] {
            assert_eq!(split(text), ["---\na: 1"], "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(
            documents("\u{feff}---\na: 1"),
            [Document {
                text: "---\na: 1",
                start: 3
            }]
        );
    }
}
