//! Values written in many styles, as people write them.

use serde_json::Value;

/// How a document is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// From an object to one in it.
    pub(crate) step: usize,
    /// From a key to the dashes of its list.
    pub(crate) dash: usize,
    /// From this level on, collections are in brackets.
    pub(crate) brackets_from: usize,
    pub(crate) quotes: Quotes,
    pub(crate) has_comments: bool,
    pub(crate) newline: &'static str,
    pub(crate) ends_with_newline: bool,
    pub(crate) has_marker: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Quotes {
    Single,
    Double,
}

/// A document.
pub(crate) fn render(value: &Value, style: Style) -> String {
    let mut writer = Writer {
        style,
        lines: Vec::new(),
        comments: 0,
    };
    if style.has_marker {
        writer.lines.push("---".to_owned());
    }
    writer.comment(0);
    writer.block(value, 0, 0, String::new());
    writer.comment(0);
    let mut text = writer.lines.join(style.newline);
    if style.ends_with_newline {
        text += style.newline;
    }
    text
}

struct Writer {
    style: Style,
    lines: Vec<String>,
    comments: usize,
}

impl Writer {
    fn comment(&mut self, column: usize) {
        if self.style.has_comments {
            self.comments += 1;
            // Of every few comments one has an empty line before it.
            if self.comments.is_multiple_of(3) {
                self.lines.push(String::new());
            }
            self.lines
                .push(format!("{}# comment {}", " ".repeat(column), self.comments));
        }
    }

    /// Lines of a collection at a column; the first one continues `start`.
    fn block(&mut self, value: &Value, column: usize, level: usize, mut start: String) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let line = if start.is_empty() {
                        " ".repeat(column)
                    } else {
                        std::mem::take(&mut start)
                    };
                    self.entry(format!("{line}{}:", self.string(key)), value, column, level);
                }
            }
            Value::Array(items) => {
                for item in items {
                    let line = if start.is_empty() {
                        " ".repeat(column)
                    } else {
                        std::mem::take(&mut start)
                    };
                    self.item(format!("{line}-"), item, column, level);
                }
            }
            _ => unreachable!("only collections have lines"),
        }
    }

    fn entry(&mut self, line: String, value: &Value, column: usize, level: usize) {
        if !self.is_block(value, level) {
            return self.last(format!("{line} {}", self.inline(value)), column);
        }
        let deeper = column
            + if value.is_array() {
                self.style.dash
            } else {
                self.style.step
            };
        self.lines.push(line);
        self.comment(deeper);
        self.block(value, deeper, level + 1, String::new());
        if deeper > column {
            self.comment(deeper);
        }
    }

    fn item(&mut self, line: String, value: &Value, column: usize, level: usize) {
        if self.is_block(value, level) {
            self.block(value, column + 2, level + 1, format!("{line} "));
        } else {
            self.last(format!("{line} {}", self.inline(value)), column);
        }
    }

    fn last(&mut self, line: String, column: usize) {
        let is_commented = self.style.has_comments && self.lines.len().is_multiple_of(2);
        self.lines.push(if is_commented {
            format!("{line}  # beside")
        } else {
            line
        });
        if self.lines.len().is_multiple_of(5) {
            self.comment(column);
        }
    }

    fn is_block(&self, value: &Value, level: usize) -> bool {
        let is_filled = value.as_object().is_some_and(|map| !map.is_empty())
            || value.as_array().is_some_and(|items| !items.is_empty());
        is_filled && level < self.style.brackets_from
    }

    fn inline(&self, value: &Value) -> String {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| self.inline(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| {
                    format!("{}: {}", self.string(key), self.inline(value))
                };
                let entries: Vec<String> = map.iter().map(entry).collect();
                format!("{{{}}}", entries.join(", "))
            }
            other => other.to_string(),
        }
    }

    fn string(&self, text: &str) -> String {
        let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
            && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text);
        let is_simple = !text.contains(['\'', '\n']);
        match self.style.quotes {
            _ if is_word => text.to_owned(),
            Quotes::Single if is_simple => format!("'{text}'"),
            _ => Value::from(text).to_string(),
        }
    }
}
