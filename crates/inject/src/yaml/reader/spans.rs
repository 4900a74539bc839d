//! Where values really stand, which is not always where the parser says.

use super::super::lines::{line_end, next_line};
use super::super::node::{Entry, Form, Node, Origin, Value};
use super::{Builder, Frame, Kind};
use std::ops::Range;

impl Builder<'_> {
    /// The parser's span goes on to the next token. Empty lines belong to a scalar only when it keeps them, and what
    /// follows it must leave it its last line break.
    pub(super) fn block_scalar_end(&self, value: &str, range: &Range<usize>) -> usize {
        let text = &self.text[..range.end];
        let lines = text.trim_end_matches([' ', '\t']);
        if !value.ends_with("\n\n") {
            return lines.trim_end().len();
        }
        let last = if lines.ends_with("\r\n") {
            2
        } else {
            usize::from(lines.ends_with(['\n', '\r']))
        };
        lines.len() - last
    }

    /// An empty value is told to be behind its key: it is behind the colon, where one could be written.
    pub(super) fn behind_colon(&self, range: &Range<usize>) -> Range<usize> {
        let rest = &self.text[range.start..];
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        if self.has_key() && rest[blanks..].starts_with(':') {
            let at = range.start + blanks + 1;
            return at..at;
        }
        range.clone()
    }

    /// A list whose dashes stand below its key is told to be where its first item is.
    pub(super) fn find_dash(&self, origin: &mut Origin) {
        let Some(Frame {
            kind:
                Kind::Mapping {
                    key: Some((_, key)),
                    ..
                },
            ..
        }) = self.open.last()
        else {
            return;
        };
        let (first, last) = (key.end, origin.range.start);
        let mut line = line_end(self.text, first);
        while let Some(start) =
            next_line(self.text, line).filter(|start| origin.form == Form::Block && *start <= last)
        {
            line = line_end(self.text, start);
            let words = self.text[start..line].trim_start_matches(' ');
            if words.starts_with('-') {
                let at = line - words.len();
                (origin.range, origin.column) = (at..at, at - start);
                return;
            }
        }
    }
}

/// Where the last of a collection's children ends.
pub(super) fn last_end(value: &Value, start: usize) -> usize {
    let of_node = |node: &Node| node.origin.as_ref().map(|origin| origin.range.end);
    let ends: Vec<usize> = match value {
        Value::Sequence(items) => items.iter().filter_map(of_node).collect(),
        Value::Mapping(mapping) => {
            let entries = mapping.written().filter_map(Entry::end);
            entries
                .chain(mapping.merges.iter().filter_map(of_node))
                .collect()
        }
        Value::Scalar(_) => Vec::new(),
    };
    ends.into_iter().fold(start, usize::max)
}
