//! Values to text: by indentation, in brackets, and as JSON.

use super::node::{Entry, Node, Scalar, Value};
use super::scalar;

/// How a document is written, so that what is added looks alike.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Style {
    pub(super) newline: &'static str,
    /// From an object to one in it.
    pub(super) step: usize,
    /// From a key to the dashes of its list.
    pub(super) dash: usize,
}

/// A list's dash and the blank behind it.
const DASH: &str = "- ";

/// Writes by indentation.
pub(super) struct Block<'s> {
    style: &'s Style,
    out: String,
}

impl<'s> Block<'s> {
    /// The entry of an object at a column, behind a line break.
    pub(super) fn entry(style: &'s Style, column: usize, entry: &Entry) -> String {
        let mut block = Self {
            style,
            out: String::new(),
        };
        block.new_line(column);
        block.key_and_value(column, entry);
        block.out
    }

    /// What follows a key at a column: a scalar behind a blank, or lines.
    pub(super) fn value(style: &'s Style, column: usize, value: &Node) -> String {
        let mut block = Self {
            style,
            out: String::new(),
        };
        block.behind_key(column, value);
        block.out
    }

    /// An item, whose first line begins at a column that is reached already.
    pub(super) fn item(style: &'s Style, column: usize, item: &Node) -> String {
        let mut block = Self {
            style,
            out: String::new(),
        };
        block.compact(column, item);
        block.out
    }

    fn new_line(&mut self, column: usize) {
        self.out += self.style.newline;
        self.out.extend(std::iter::repeat_n(' ', column));
    }

    fn key_and_value(&mut self, column: usize, entry: &Entry) {
        self.out += &key(&entry.key);
        self.out.push(':');
        self.behind_key(column, &entry.value);
    }

    fn behind_key(&mut self, column: usize, value: &Node) {
        match &value.value {
            Value::Mapping(mapping) if !mapping.entries.is_empty() => {
                let column = column + self.style.step;
                self.new_line(column);
                self.compact(column, value);
            }
            Value::Sequence(items) if !items.is_empty() => {
                let column = column + self.style.dash;
                self.new_line(column);
                self.compact(column, value);
            }
            _ => {
                self.out.push(' ');
                self.out += &inline(value);
            }
        }
    }

    fn compact(&mut self, column: usize, node: &Node) {
        match &node.value {
            Value::Mapping(mapping) if !mapping.entries.is_empty() => {
                for (index, entry) in mapping.entries.iter().enumerate() {
                    if index > 0 {
                        self.new_line(column);
                    }
                    self.key_and_value(column, entry);
                }
            }
            Value::Sequence(items) if !items.is_empty() => {
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        self.new_line(column);
                    }
                    self.out += DASH;
                    self.compact(column + DASH.len(), item);
                }
            }
            _ => self.out += &inline(node),
        }
    }
}

/// An item of a list in block style, behind a line break.
pub(super) fn block_item(style: &Style, column: usize, item: &Node) -> String {
    let dash = [style.newline, &" ".repeat(column), DASH].concat();
    dash + &Block::item(style, column + DASH.len(), item)
}

/// A scalar or an empty collection, on one line.
pub(super) fn inline(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => block_scalar(scalar),
        Value::Sequence(_) => "[]".to_owned(),
        Value::Mapping(_) => "{}".to_owned(),
    }
}

fn key(key: &str) -> String {
    if scalar::is_safe_plain(key) {
        key.to_owned()
    } else {
        quoted(key)
    }
}

fn block_scalar(scalar: &Scalar) -> String {
    let text = &scalar.text;
    if scalar.is_plain {
        return if text.is_empty() {
            "null".to_owned()
        } else {
            text.clone()
        };
    }
    if scalar::is_safe_plain(text) {
        return text.clone();
    }
    // JSON in a string is unreadable with a backslash before each quote.
    let is_simple =
        text.contains('"') && !text.contains('\'') && text.chars().all(|c| matches!(c, ' '..='~'));
    if is_simple {
        format!("'{text}'")
    } else {
        quoted(text)
    }
}

/// How values in brackets are spelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spelling {
    /// As in JSON.
    Json,
    /// With quotes only where they are needed.
    Yaml,
}

/// Where lines begin in brackets.
#[derive(Clone, Copy)]
pub(super) struct Lines<'s> {
    pub(super) newline: &'static str,
    /// The white space before the bracket's line.
    pub(super) indentation: &'s str,
    /// What is added a level.
    pub(super) step: &'s str,
}

/// Writes in brackets: each value on a line of its own, or all on one.
pub(super) fn flow(node: &Node, spelling: Spelling, lines: Option<Lines<'_>>) -> String {
    let scalar = if spelling == Spelling::Json {
        json_like
    } else {
        flow_scalar
    };
    let mut writer = Flow {
        out: String::new(),
        scalar,
        separator: (", ", ": "),
        lines,
    };
    writer.node(node, 0);
    writer.out
}

/// A key and its value in brackets.
pub(super) fn flow_entry(entry: &Entry, spelling: Spelling, lines: Option<Lines<'_>>) -> String {
    let key = if spelling == Spelling::Json {
        quoted(&entry.key)
    } else {
        key(&entry.key)
    };
    [&key, ": ", &flow(&entry.value, spelling, lines)].concat()
}

/// Compact JSON, keys in their order. What JSON cannot say, such as `.inf`, is a string.
pub(crate) fn json(node: &Node) -> String {
    let mut writer = Flow {
        out: String::new(),
        scalar: json_scalar,
        separator: (",", ":"),
        lines: None,
    };
    writer.node(node, 0);
    writer.out
}

struct Flow<'s> {
    out: String,
    scalar: fn(&Scalar) -> String,
    separator: (&'static str, &'static str),
    lines: Option<Lines<'s>>,
}

impl Flow<'_> {
    fn node(&mut self, node: &Node, level: usize) {
        match &node.value {
            Value::Scalar(scalar) => self.out += &(self.scalar)(scalar),
            Value::Sequence(items) => self.collection(['[', ']'], items, level, Self::node),
            Value::Mapping(mapping) => {
                self.collection(
                    ['{', '}'],
                    &mapping.entries,
                    level,
                    |writer, entry: &Entry, level| {
                        let key = Scalar {
                            text: entry.key.clone(),
                            is_plain: false,
                        };
                        writer.out += &(writer.scalar)(&key);
                        writer.out += writer.separator.1;
                        writer.node(&entry.value, level);
                    },
                );
            }
        }
    }

    fn collection<T>(
        &mut self,
        brackets: [char; 2],
        children: &[T],
        level: usize,
        write: impl Fn(&mut Self, &T, usize),
    ) {
        self.out.push(brackets[0]);
        for (index, child) in children.iter().enumerate() {
            if index > 0 {
                self.out += if self.lines.is_some() {
                    ","
                } else {
                    self.separator.0
                };
            }
            self.new_line(level + 1);
            write(self, child, level + 1);
        }
        if !children.is_empty() {
            self.new_line(level);
        }
        self.out.push(brackets[1]);
    }

    fn new_line(&mut self, level: usize) {
        if let Some(lines) = self.lines {
            self.out += lines.newline;
            self.out += lines.indentation;
            self.out.extend(std::iter::repeat_n(lines.step, level));
        }
    }
}

fn flow_scalar(scalar: &Scalar) -> String {
    // Either ends a plain scalar in brackets, the latter for some parsers only.
    let ends = |text: &str| text.contains([',', '[', ']', '{', '}']);
    if ends(&scalar.text) || (!scalar.is_plain && scalar.text.contains(':')) {
        return quoted(&scalar.text);
    }
    block_scalar(scalar)
}

/// What a JSON document has in it that is no string stays as it is.
fn json_like(scalar: &Scalar) -> String {
    if scalar.is_string() {
        quoted(&scalar.text)
    } else {
        block_scalar(scalar)
    }
}

fn json_scalar(scalar: &Scalar) -> String {
    if scalar.is_string() {
        return quoted(&scalar.text);
    }
    let truth = scalar::as_bool(&scalar.text).map(|truth| truth.to_string());
    truth
        .or_else(|| scalar::as_number(&scalar.text))
        .unwrap_or_else(|| "null".to_owned())
}

/// A JSON string, which every YAML reads alike.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if is_unprintable(c) => {
                let mut units = [0; 2];
                out.extend(
                    c.encode_utf16(&mut units)
                        .iter()
                        .map(|unit| format!("\\u{unit:04x}")),
                );
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What some YAML takes for a line break, or does not take at all.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}
