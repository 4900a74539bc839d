//! Edits of collections by indentation.

use super::super::lines::{indentation, line_before_end, line_end, line_start, next_line};
use super::super::node::{Entry, Form, Mapping, Node, Origin};
use super::super::write::{Block, block_item, inline};
use super::{Editor, added};

impl Editor<'_> {
    pub(super) fn block_mapping(&mut self, mapping: &Mapping, origin: &Origin) {
        for entry in mapping.written() {
            self.key(entry);
            match &entry.was {
                Some(was) if self.is_replaced(&entry.value) => {
                    self.block_value(entry, was, origin.column)
                }
                _ => self.node(&entry.value, Some(origin.column)),
            }
        }
        self.merges(mapping);
        for entry in &mapping.removed {
            self.remove_block_entry(entry, mapping);
        }
        let at = self.block_end(origin.range.end, origin.column);
        for entry in added(mapping) {
            let text = Block::entry(&self.style, origin.column, entry);
            self.insert(at, text);
        }
    }

    /// Puts another value behind a key.
    fn block_value(&mut self, entry: &Entry, was: &Origin, column: usize) {
        let is_collection = !entry.value.items().is_empty() || !entry.value.entries().is_empty();
        let start = match was.form {
            Form::Block => return self.is_stuck = true,
            Form::BlockScalar => match self.block_scalar_start(entry, was) {
                Some(start) => start,
                None => return self.is_stuck = true,
            },
            _ => was.range.start,
        };
        if !is_collection {
            let blank = if was.range.is_empty() { " " } else { "" };
            let text = [blank, &inline(&entry.value)].concat();
            return self.replace(start..was.range.end, text);
        }
        let blanks =
            self.text[..start].len() - self.text[..start].trim_end_matches([' ', '\t']).len();
        let is_after_key = !self.text[..start - blanks].ends_with(['\n', '\r']);
        let from = if is_after_key { start - blanks } else { start };
        self.replace(from..was.range.end, "");
        let text = Block::value(&self.style, column, &entry.value);
        self.insert(line_end(self.text, was.range.end), text);
    }

    /// The origin of such a scalar begins behind its header.
    fn block_scalar_start(&self, entry: &Entry, was: &Origin) -> Option<usize> {
        let key = entry.key_at.as_ref()?.end;
        let header = self.text.get(key..was.range.start)?;
        header.find(['|', '>']).map(|at| key + at)
    }

    fn remove_block_entry(&mut self, entry: &Entry, mapping: &Mapping) {
        let (Some(key), Some(end)) = (&entry.key_at, entry.end()) else {
            return self.is_stuck = true;
        };
        let Some(blanks) =
            indentation(self.text, key.start).filter(|_| mapping.written().next().is_some())
        else {
            return self.is_stuck = true;
        };
        let line = line_end(self.text, end);
        let comment = self.text[end..line].trim();
        let start = key.start - blanks.len();
        match line_before_end(self.text, start) {
            _ if !comment.is_empty() => self.replace(key.start..line, comment),
            Some(before) => self.replace(before..line, ""),
            None => self.replace(start..next_line(self.text, line).unwrap_or(line), ""),
        }
    }

    pub(super) fn block_sequence(
        &mut self,
        items: &[Node],
        origin: &Origin,
        parent: Option<usize>,
    ) {
        let Some(first) = items.iter().position(|item| item.origin.is_some()) else {
            return self.is_stuck = true;
        };
        let front = self.block_front(origin);
        for item in &items[..first] {
            match front {
                Some(at) => {
                    let text = block_item(&self.style, origin.column, item);
                    let text = text.strip_prefix(self.style.newline).unwrap_or(&text);
                    self.insert(at, [text, self.style.newline].concat());
                }
                None => self.is_stuck = true,
            }
        }
        // Where dashes stand below the key, a comment in their column may be one about the next key.
        let is_indented = parent.is_none_or(|parent| origin.column > parent);
        let end = self.block_end(origin.range.end, origin.column + usize::from(!is_indented));
        for item in &items[first..] {
            match &item.origin {
                None => {
                    let text = block_item(&self.style, origin.column, item);
                    self.insert(end, text);
                }
                Some(origin) if self.is_replaced(item) => {
                    let text = Block::item(&self.style, origin.column, item);
                    self.replace(origin.range.clone(), text);
                }
                Some(_) => self.node(item, None),
            }
        }
    }

    /// Where the lines of a new first item go: before the comments of the present one.
    fn block_front(&self, origin: &Origin) -> Option<usize> {
        indentation(self.text, origin.range.start)?;
        let mut at = line_start(self.text, origin.range.start);
        while let Some(end) = line_before_end(self.text, at)
            && is_blank_or_comment(&self.text[line_start(self.text, end)..end])
        {
            at = line_start(self.text, end);
        }
        Some(at)
    }

    /// Behind the line of a collection's last child, and behind the comments that are indented as far as it is.
    fn block_end(&self, end: usize, column: usize) -> usize {
        let mut at = line_end(self.text, end);
        let mut line = at;
        while let Some(start) = next_line(self.text, line) {
            line = line_end(self.text, start);
            let words = self.text[start..line].trim_start_matches([' ', '\t']);
            if words.starts_with('#') && line - words.len() - start >= column {
                at = line;
            } else if !words.is_empty() {
                break;
            }
        }
        at
    }
}

fn is_blank_or_comment(line: &str) -> bool {
    let words = line.trim();
    words.is_empty() || words.starts_with('#')
}
