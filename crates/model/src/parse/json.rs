//! A tree as JSON, for an item of a List, which has no text of its own.

use crate::yaml::{Node, Value};
use std::fmt::Write;

/// JSON that reads the same as YAML, which all text is [parsed](super::parse) as: characters that YAML has no place for as
/// they are, or takes for a line's end, are escaped. In JSON they stand in strings alone, and both know the escapes.
///
/// Source: YAML 1.2, "Character Set" and "Line Break Characters".
pub fn json_as_yaml(json: String) -> String {
    if !json.contains(is_escaped) {
        return json;
    }
    let mut yaml = String::with_capacity(json.len());
    for c in json.chars() {
        match is_escaped(c) {
            true => drop(write!(yaml, "\\u{:04x}", u32::from(c))),
            false => yaml.push(c),
        }
    }
    yaml
}

/// All of them have four digits.
fn is_escaped(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

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
    fn json_is_yaml_that_means_the_same() {
        let json = "{\"a\u{7f}\": [\"é\u{2028}😀\\\"\\\\\u{85}\u{80}\u{fffe}\"]}";
        let yaml = json_as_yaml(json.to_owned());
        assert_eq!(yaml, r#"{"a\u007f": ["é\u2028😀\"\\\u0085\u0080\ufffe"]}"#);
        let tree = crate::yaml::read(&yaml, 0, &Limits::default()).unwrap();
        let Value::Mapping(entries) = &tree.value else {
            panic!("{tree:?}");
        };
        assert_eq!(entries[0].key, "a\u{7f}");
        let Value::Sequence(items) = &entries[0].value.value else {
            panic!("{tree:?}");
        };
        let want = "é\u{2028}😀\"\\\u{85}\u{80}\u{fffe}";
        assert_eq!(items[0].value, Value::String(want.into()));
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
