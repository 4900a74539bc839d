//! What a plain scalar is.
//!
//! Kubernetes' tools read YAML 1.1, this project reads 1.2. What either takes for something other than a string is
//! not a string here when it is read, and is quoted when it is one and is written.

/// Whether a plain scalar is nothing.
pub(super) fn is_null(plain: &str) -> bool {
    matches!(plain, "" | "~" | "null" | "Null" | "NULL")
}

/// The truth value that a plain scalar stands for.
pub(super) fn as_bool(plain: &str) -> Option<bool> {
    let is_word = |words: [&str; 4]| {
        let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        words.iter().any(|word| {
            plain == *word || plain == capital(word) || plain == word.to_ascii_uppercase()
        })
    };
    if is_word(["true", "yes", "on", "y"]) {
        return Some(true);
    }
    is_word(["false", "no", "off", "n"]).then_some(false)
}

/// The number that a plain scalar stands for, as JSON has it. Those that JSON has no form for, such as `.inf`, and what
/// YAML's versions disagree about, such as `010`, are none.
pub(super) fn as_number(plain: &str) -> Option<String> {
    let digits = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        let value = u64::from_str_radix(hexadecimal, 16)
            .ok()
            .filter(|_| digits == plain);
        return value
            .filter(|_| !hexadecimal.starts_with('+'))
            .map(|value| value.to_string());
    }
    let leading_zero =
        digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if leading_zero || !is_number {
        return None;
    }
    let number = plain.strip_prefix('+').unwrap_or(plain);
    if number.bytes().skip(1).all(|byte| byte.is_ascii_digit()) {
        return Some(number.to_owned());
    }
    let value: f64 = number.parse().ok()?;
    value.is_finite().then(|| value.to_string())
}

/// Whether a string can be written as it is, in block style: nothing in it means anything to any YAML.
pub(super) fn is_safe_plain(text: &str) -> bool {
    let starts_well = text
        .starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '$'))
        || text.strip_prefix('-').is_some_and(|rest| {
            let letters = rest.trim_start_matches('-');
            letters.starts_with(|c: char| c.is_ascii_alphabetic())
        });
    let is_plain = |c: char| {
        c.is_ascii_alphanumeric()
            || matches!(c, '-' | '_' | '.' | '/' | '$' | '(' | ')' | '=' | '@')
    };
    let colons = !text.ends_with(':') && text.chars().all(|c| is_plain(c) || c == ':');
    starts_well && colons && !is_null(text) && as_bool(text).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
        for (text, want) in [
            ("0", Some("0")),
            ("8080", Some("8080")),
            ("-5", Some("-5")),
            ("+5", Some("5")),
            ("0x1F", Some("31")),
            ("1.50", Some("1.5")),
            ("1e3", Some("1000")),
            ("010", None),
            ("1_000", None),
            ("0x", None),
            ("0x+1", None),
            ("-0x1", None),
            (".inf", None),
            ("1e999", None),
            ("1.2.3", None),
            ("5s", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(as_number(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn truth_has_many_words() {
        for text in ["true", "True", "TRUE", "yes", "Yes", "on", "ON", "y", "Y"] {
            assert_eq!(as_bool(text), Some(true), "{text}");
        }
        for text in ["false", "No", "OFF", "n"] {
            assert_eq!(as_bool(text), Some(false), "{text}");
        }
        for text in ["tRUE", "yEs", "1", "", "é"] {
            assert_eq!(as_bool(text), None, "{text}");
        }
    }

    #[test]
    fn what_could_be_misread_is_quoted() {
        for text in [
            "istio-proxy",
            "/var/run",
            "$(POD_NAME)",
            "-p",
            "--config",
            "a.b/c:1.2",
            "IfNotPresent",
            "a=b",
        ] {
            assert!(is_safe_plain(text), "{text}");
        }
        for text in [
            "", "~", "null", "yes", "N", "15001", "1.5", "-1", "-", "--", "*", "a b", "a: b", "a:",
            "#", "12:30:45", ".inf", "é",
        ] {
            assert!(!is_safe_plain(text), "{text}");
        }
    }
}
