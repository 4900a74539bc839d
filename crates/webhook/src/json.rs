//! JSON that is YAML as well.

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};
use std::io;

/// Writes a value so that what reads YAML reads the same: characters that YAML has no place for as they are, or takes
/// for a line's end, are escaped.
///
/// Source: YAML 1.2, "Character Set" and "Line Break Characters".
pub(crate) fn as_yaml(value: &Value) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Escaping))?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_escaped) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// All of them have four digits.
fn is_escaped(character: char) -> bool {
    matches!(
        character,
        '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_plain_and_means_the_same() {
        let value = json!({"a\u{7f}": ["é\u{2028}\u{1f600}\"\\\u{85}", 1, {"\u{feff}": null}]});
        let text = as_yaml(&value).unwrap();
        assert_eq!(
            text,
            r#"{"a\u007f":["é\u2028😀\"\\\u0085",1,{"\ufeff":null}]}"#
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
