//! Edits of collections in brackets.

use super::super::lines::indentation;
use super::super::node::{Entry, Mapping, Node, Origin};
use super::super::write::{Lines, flow, flow_entry};
use super::{Editor, added};
use std::ops::Range;

impl<'t> Editor<'t> {
    pub(super) fn flow_mapping(&mut self, mapping: &Mapping, origin: &Origin) {
        for entry in mapping.written() {
            self.key(entry);
            match &entry.was {
                Some(was) if self.is_replaced(&entry.value) => self.flow_value(entry, was),
                _ => self.node(&entry.value, None),
            }
        }
        self.merges(mapping);
        let merges = mapping
            .merges
            .iter()
            .filter_map(|node| Some(node.origin.as_ref()?.range.clone()));
        let mut children: Vec<Range<usize>> = mapping
            .written()
            .filter_map(|entry| Some(entry.key_at.as_ref()?.start..entry.end()?))
            .chain(merges)
            .collect();
        children.sort_by_key(|child| child.start);
        for entry in &mapping.removed {
            self.remove_flow_entry(entry, &children);
        }
        let (texts, spelling): (Vec<&Entry>, _) = (added(mapping).collect(), self.spelling);
        self.flow_end(origin, children.last(), &texts, |entry, lines| {
            flow_entry(entry, spelling, lines)
        });
    }

    fn flow_value(&mut self, entry: &Entry, was: &Origin) {
        let start = entry
            .key_at
            .as_ref()
            .map_or(was.range.start, |key| key.start);
        let text = flow(
            &entry.value,
            self.spelling,
            self.lines(indentation(self.text, start)),
        );
        let before = match was.range.is_empty() {
            true if self.text[..was.range.start].ends_with(':') => " ",
            true => ": ",
            false => "",
        };
        self.replace(was.range.clone(), [before, &text].concat());
    }

    fn remove_flow_entry(&mut self, entry: &Entry, children: &[Range<usize>]) {
        let (Some(key), Some(end)) = (&entry.key_at, entry.end()) else {
            return self.is_stuck = true;
        };
        let next = children.iter().find(|child| child.start > key.start);
        let before = children.iter().rev().find(|child| child.end <= key.start);
        match (next, before) {
            (Some(next), _) => self.replace(key.start..next.start, ""),
            (None, Some(before)) => self.replace(before.end..end, ""),
            (None, None) => self.is_stuck = true,
        }
    }

    pub(super) fn flow_sequence(&mut self, items: &[Node], origin: &Origin) {
        let children: Vec<Range<usize>> = items
            .iter()
            .filter_map(|item| Some(item.origin.as_ref()?.range.clone()))
            .collect();
        let first = items
            .iter()
            .position(|item| item.origin.is_some())
            .unwrap_or(items.len());
        let (front, rest) = items.split_at(first);
        for item in front {
            let Some(at) = children.first().map(|child| child.start) else {
                return self.is_stuck = true;
            };
            let lines = self.lines(indentation(self.text, at));
            let separator = lines.map_or_else(
                || ", ".to_owned(),
                |lines| [",", lines.newline, lines.indentation].concat(),
            );
            let text = [flow(item, self.spelling, lines), separator].concat();
            self.insert(at, text);
        }
        for item in rest {
            match &item.origin {
                Some(origin) if self.is_replaced(item) => {
                    let text = flow(
                        item,
                        self.spelling,
                        self.lines(indentation(self.text, origin.range.start)),
                    );
                    self.replace(origin.range.clone(), text);
                }
                _ => self.node(item, None),
            }
        }
        let added: Vec<&Node> = rest.iter().filter(|item| item.origin.is_none()).collect();
        let spelling = self.spelling;
        self.flow_end(origin, children.last(), &added, |item, lines| {
            flow(item, spelling, lines)
        });
    }

    /// Adds to the end of a collection in brackets, on lines of their own if its last child is on one.
    fn flow_end<T>(
        &mut self,
        origin: &Origin,
        last: Option<&Range<usize>>,
        added: &[&T],
        write: impl Fn(&T, Option<Lines<'_>>) -> String,
    ) {
        if added.is_empty() {
            return;
        }
        // A pair in a list, `[a: 1]`, is an object without brackets.
        let Some(last) = last.filter(|_| self.text[origin.range.start..].starts_with(['{', '[']))
        else {
            return self.is_stuck = true;
        };
        let lines = self.lines(indentation(self.text, last.start));
        if self.text[..last.end].ends_with(':') {
            // Behind a colon alone, some parsers take the comma for a part of the key.
            self.insert(last.end, " ");
        }
        for child in added {
            let blank = lines.map_or_else(
                || " ".to_owned(),
                |lines| [lines.newline, lines.indentation].concat(),
            );
            let text = [",", &blank, &write(child, lines)].concat();
            self.insert(last.end, text);
        }
    }

    fn lines(&self, indentation: Option<&'t str>) -> Option<Lines<'t>> {
        let indentation = indentation?;
        Some(Lines {
            newline: self.style.newline,
            indentation,
            step: self.flow_step,
        })
    }
}
