//! What a plain scalar is: YAML 1.2's core schema.

use super::Value;

/// Reads an unquoted scalar.
///
/// Numbers with leading zeros stay strings: YAML's versions do not agree whether they are octal.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        _ => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
        return Some(Value::Float(sign * f64::INFINITY));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return in_base(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return in_base(digits, 8);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') || leading_zero(unsigned) {
        return None;
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit())
        && let Ok(value) = text.parse()
    {
        return Some(Value::Int(value));
    }
    let float = unsigned
        .bytes()
        .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    float.then(|| text.parse().ok().map(Value::Float))?
}

fn in_base(digits: &str, base: u32) -> Option<Value> {
    let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
    all.then(|| i128::from_str_radix(digits, base).ok().map(Value::Int))?
}

fn leading_zero(text: &str) -> bool {
    text.len() > 1 && text.starts_with('0') && text.as_bytes()[1].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        let string = |text: &str| Value::String(text.to_owned());
        let cases = [
            ("", Value::Null),
            ("~", Value::Null),
            ("true", Value::Bool(true)),
            ("yes", string("yes")),
            ("12", Value::Int(12)),
            ("-5", Value::Int(-5)),
            ("+5", Value::Int(5)),
            ("0", Value::Int(0)),
            ("0x10", Value::Int(16)),
            ("0o17", Value::Int(15)),
            ("010", string("010")),
            ("1_000", string("1_000")),
            ("1.5", Value::Float(1.5)),
            ("1e3", Value::Float(1000.0)),
            (".5", Value::Float(0.5)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("1.2.3.4", string("1.2.3.4")),
            ("3s", string("3s")),
            ("-", string("-")),
            (".", string(".")),
            ("e5", string("e5")),
            ("inf", string("inf")),
            ("0x", string("0x")),
            ("0x-1", string("0x-1")),
            ("2020-01-01", string("2020-01-01")),
            (
                "170141183460469231731687303715884105728",
                Value::Float(1.7014118346046923e38),
            ),
        ];
        for (text, want) in cases {
            assert_eq!(plain(text), want, "{text}");
        }
    }
}
