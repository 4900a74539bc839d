//! A file's documents, each for itself, so that a broken one does not hurt its neighbours.

/// The text of one document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Document<'a> {
    /// With its `---` line, if it has one.
    pub(crate) text: &'a str,
    /// Lines of the file before it.
    pub(crate) lines_before: u32,
}

/// Splits at the lines that begin with `---` or are `...`: YAML ends a document there, whatever it is
/// in the middle of. Documents without content are left out.
pub(crate) fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let mut cut = |from: usize, to: usize, lines_before| {
        let text = &text[from..to];
        if has_content(text) {
            found.push(Document { text, lines_before });
        }
    };
    for (line_number, line) in (0..).zip(text.split_inclusive('\n')) {
        if is_marker(line, "---") && offset > 0 {
            cut(start, offset, start_line);
            (start, start_line) = (offset, line_number);
        } else if is_marker(line, "...") {
            cut(start, offset, start_line);
            (start, start_line) = (offset + line.len(), line_number + 1);
        }
        offset += line.len();
    }
    cut(start, text.len(), start_line);
    found
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether there is more than the marker, comments, directives and empty lines.
fn has_content(text: &str) -> bool {
    text.lines().enumerate().any(|(index, line)| {
        let line = if index == 0 && is_marker(line, "---") {
            &line[3..]
        } else {
            line
        };
        let line_start = line.trim_start();
        !(line_start.is_empty() || line_start.starts_with('#') || line.starts_with('%'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<(&str, u32)> {
        documents(text)
            .into_iter()
            .map(|document| (document.text, document.lines_before))
            .collect()
    }

    #[test]
    fn documents_end_at_markers_only() {
        assert_eq!(split("a: 1\n"), [("a: 1\n", 0)]);
        assert_eq!(
            split("a: 1\n---\nb: 2\n"),
            [("a: 1\n", 0), ("---\nb: 2\n", 1)]
        );
        assert_eq!(
            split("---\na: 1\n--- # c\nb: 2"),
            [("---\na: 1\n", 0), ("--- # c\nb: 2", 2)]
        );
        assert_eq!(split("a: 1\n...\nb: 2\n"), [("a: 1\n", 0), ("b: 2\n", 2)]);
        assert_eq!(
            split("a: |\n  ---\n ---\n----\n"),
            [("a: |\n  ---\n ---\n----\n", 0)]
        );
        assert_eq!(
            split("a: 1\r\n---\r\nb: 2\r\n"),
            [("a: 1\r\n", 0), ("---\r\nb: 2\r\n", 1)]
        );
        assert_eq!(
            split("--- {a: 1}\n--- {b: 2}"),
            [("--- {a: 1}\n", 0), ("--- {b: 2}", 1)]
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
            assert_eq!(split(text), [], "{text:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_content() {
        assert_eq!(split("\u{feff}a: 1"), [("a: 1", 0)]);
    }
}
