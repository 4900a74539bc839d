//! A changed tree to its text: what is new is put in, what stays is not touched.

mod block;
mod flow;

use super::changes::{changed_anchors, is_changed};
use super::lines::{line_end, line_starts, newline};
use super::node::{Entry, Form, Mapping, Node, Value};
use super::write::{Block, Lines, Spelling, Style, flow};
use model::Limits;
use std::collections::HashSet;
use std::ops::Range;

/// The text of a changed tree.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Written {
    /// With the edits in their places.
    Edited(String),
    /// The document could not be edited in place and is written anew: its comments are lost.
    Anew(String),
}

/// Writes a document whose tree was changed.
///
/// The text is read again: what does not mean the same as the tree is not given out.
pub(crate) fn written(text: &str, root: &Node) -> Written {
    let edited = Editor::edited(text, root);
    match edited.filter(|edited| says(edited, root)) {
        Some(edited) => Written::Edited(edited),
        None => Written::Anew(anew(text, root)),
    }
}

/// What is written has more values than what was read, and repeats no anchors.
fn says(text: &str, root: &Node) -> bool {
    let Limits { nesting, nodes, .. } = Limits::default();
    let limits = Limits {
        nesting: nesting * 2,
        nodes: nodes * 2,
        ..Limits::default()
    };
    super::reader::read(text, &limits)
        .is_ok_and(|read| read.root.means(root) && read.duplicate.is_none())
}

/// Keeps what stands before the document's value and behind it.
fn anew(text: &str, root: &Node) -> String {
    let Some(origin) = &root.origin else {
        return text.to_owned();
    };
    let style = style(text, root);
    let body = if origin.form == Form::Flow {
        let lines = Lines {
            newline: style.newline,
            indentation: "",
            step: flow_step(text),
        };
        flow(root, Spelling::Json, Some(lines))
    } else {
        Block::item(&style, origin.column, root)
    };
    [
        &text[..origin.range.start],
        &body,
        &text[origin.range.end..],
    ]
    .concat()
}

/// How the document is written, by the first object and the first list in an object.
fn style(text: &str, root: &Node) -> Style {
    let step = first_indent(root, &Node::is_mapping);
    let dash = first_indent(root, &Node::is_sequence);
    Style {
        newline: newline(text),
        step: step.unwrap_or(2).max(1),
        dash: dash.unwrap_or_default(),
    }
}

/// How much further right the first collection of a kind stands than the object it is in.
fn first_indent(node: &Node, is_meant: &dyn Fn(&Node) -> bool) -> Option<usize> {
    let block = |node: &Node| {
        node.origin
            .as_ref()
            .filter(|origin| origin.form == Form::Block)
            .map(|origin| origin.column)
    };
    let own = block(node)?;
    let values = || node.entries().iter().map(|entry| &entry.value);
    let direct = values().filter(|value| is_meant(value)).find_map(block);
    let direct = direct.and_then(|column| column.checked_sub(own));
    direct.or_else(|| {
        values()
            .chain(node.items())
            .find_map(|value| first_indent(value, is_meant))
    })
}

/// What replaces some bytes.
struct Edit {
    range: Range<usize>,
    text: String,
}

struct Editor<'t> {
    text: &'t str,
    style: Style,
    /// How values in brackets are spelled, and what each level of them adds.
    spelling: Spelling,
    flow_step: &'t str,
    /// Aliases for these have to be written out.
    anchors: HashSet<usize>,
    edits: Vec<Edit>,
    /// Something cannot be edited in place.
    is_stuck: bool,
}

impl<'t> Editor<'t> {
    fn edited(text: &'t str, root: &Node) -> Option<String> {
        let is_json = root
            .origin
            .as_ref()
            .is_some_and(|origin| origin.form == Form::Flow);
        let mut editor = Self {
            text,
            style: style(text, root),
            spelling: if is_json {
                Spelling::Json
            } else {
                Spelling::Yaml
            },
            flow_step: flow_step(text),
            anchors: changed_anchors(root),
            edits: Vec::new(),
            is_stuck: false,
        };
        editor.node(root, None);
        if editor.is_stuck {
            None
        } else {
            editor.apply()
        }
    }

    fn apply(mut self) -> Option<String> {
        // What is put in stands before what is taken out there; of several, what belongs further in comes first.
        self.edits
            .sort_by_key(|edit| (edit.range.start, !edit.range.is_empty()));
        let mut out = String::with_capacity(self.text.len() * 2);
        let mut at = 0;
        for edit in &self.edits {
            out += self.text.get(at..edit.range.start)?;
            out += &edit.text;
            at = edit.range.end;
        }
        out += self.text.get(at..)?;
        Some(out)
    }

    fn replace(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.edits.push(Edit {
            range,
            text: text.into(),
        });
    }

    fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// Edits what is in a node that stays. `parent` is the column of the object that it is a value of, in block style.
    fn node(&mut self, node: &Node, parent: Option<usize>) {
        let Some(origin) = &node.origin else {
            return;
        };
        match (&node.value, origin.form) {
            (Value::Mapping(mapping), Form::Block) => self.block_mapping(mapping, origin),
            (Value::Mapping(mapping), Form::Flow) => self.flow_mapping(mapping, origin),
            (Value::Sequence(items), Form::Block) => self.block_sequence(items, origin, parent),
            (Value::Sequence(items), Form::Flow) => self.flow_sequence(items, origin),
            _ => {}
        }
    }

    /// Whether the text that stands for a node has to give way to another.
    fn is_replaced(&self, node: &Node) -> bool {
        match &node.origin {
            None => true,
            Some(origin) if origin.form == Form::Alias => {
                is_changed(node) || self.anchors.contains(&origin.anchor)
            }
            // There is no place in an empty collection where block style could put something.
            Some(origin) => {
                origin.form == Form::Flow && is_without_children(node) && is_changed(node)
            }
        }
    }

    fn key(&mut self, entry: &Entry) {
        let Some(at) = entry.key_at.clone().filter(|_| entry.is_renamed) else {
            return;
        };
        let is_quoted = self.text[at.clone()].starts_with('"');
        let key = if is_quoted {
            format!("\"{}\"", entry.key)
        } else {
            entry.key.clone()
        };
        self.replace(at, key);
    }

    /// What `<<` refers to is written out when it is no longer what it was.
    fn merges(&mut self, mapping: &Mapping) {
        for merged in mapping
            .merges
            .iter()
            .flat_map(|node| std::iter::once(node).chain(node.items()))
        {
            if let Some(origin) = &merged.origin
                && origin.form == Form::Alias
                && self.anchors.contains(&origin.anchor)
            {
                let text = flow(merged, self.spelling, None);
                self.replace(origin.range.clone(), text);
            }
        }
    }
}

fn added(mapping: &Mapping) -> impl Iterator<Item = &Entry> {
    mapping.entries.iter().filter(|entry| {
        let is_new = entry.key_at.is_none() && !entry.is_merged;
        is_new || (entry.is_merged && is_changed(&entry.value))
    })
}

/// Whether the text has nothing in it.
fn is_without_children(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => false,
        Value::Sequence(items) => items.iter().all(|item| item.origin.is_none()),
        Value::Mapping(mapping) => mapping.written().next().is_none() && mapping.merges.is_empty(),
    }
}

/// The white space that the first indented line begins with.
fn flow_step(text: &str) -> &str {
    let lines = line_starts(text).map(|start| &text[start..line_end(text, start)]);
    let indentations =
        lines.map(|line| &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]);
    indentations
        .into_iter()
        .find(|blanks| !blanks.is_empty())
        .unwrap_or("  ")
}
