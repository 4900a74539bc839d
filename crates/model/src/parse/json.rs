//! A tree as JSON, for an item of a List, which has no text of its own.

use crate::yaml::{Node, Value};
use std::fmt::Write;

/// One line that reads to the same tree again.
pub(super) fn write(node: &Node) -> String {
    let mut text = String::new();
    value(&mut text, node);
    text
}

fn value(text: &mut String, node: &Node) {
    match &node.value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => drop(write!(text, "{value}")),
        Value::Int(value) => drop(write!(text, "{value}")),
        Value::Float(value) if value.is_nan() => text.push_str(".nan"),
        Value::Float(value) if value.is_infinite() => {
            text.push_str(if *value > 0.0 { ".inf" } else { "-.inf" });
        }
        // The exponent keeps a whole number a float.
        Value::Float(value) => drop(write!(text, "{value:e}")),
        Value::String(value) => string(text, value),
        Value::Sequence(items) => {
            list(text, ['[', ']'], items.iter(), value);
        }
        Value::Mapping(entries) => {
            list(text, ['{', '}'], entries.iter(), |text, entry| {
                // Before a long key a parser may give up looking for the colon; `?` announces it.
                text.push_str(if entry.key.len() > 512 { "? " } else { "" });
                string(text, &entry.key);
                text.push_str(": ");
                value(text, &entry.value);
            });
        }
    }
}

fn list<T>(
    text: &mut String,
    brackets: [char; 2],
    items: impl Iterator<Item = T>,
    mut item: impl FnMut(&mut String, T),
) {
    text.push(brackets[0]);
    for (index, one) in items.enumerate() {
        text.push_str(if index > 0 { ", " } else { "" });
        item(text, one);
    }
    text.push(brackets[1]);
}

fn string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            ' '..='~' => text.push(c),
            _ if (c as u32) < 0x1_0000 => drop(write!(text, "\\u{:04x}", c as u32)),
            _ => drop(write!(text, "\\U{:08x}", c as u32)),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{At, Limits};

    fn without_places(node: &mut Node) {
        node.at = At::default();
        match &mut node.value {
            Value::Sequence(items) => items.iter_mut().for_each(without_places),
            Value::Mapping(entries) => {
                for entry in entries {
                    entry.at = At::default();
                    without_places(&mut entry.value);
                }
            }
            _ => {}
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let yaml = "a: [1, -2, 1.5, 2.0, 1e30, true, ~, '12', \"q\\\"\\\\\\n\\t\\u0007é😀\"]\nb: {}\nc: []\n'': x\n";
        let mut tree = crate::yaml::read(yaml, 0, &Limits::default()).unwrap();
        let mut again = crate::yaml::read(&write(&tree), 0, &Limits::default()).unwrap();
        without_places(&mut tree);
        without_places(&mut again);
        assert_eq!(tree, again);
    }
}
