//! Texts of a rule that become part of a message's head.

use crate::decode::Cursor;

/// Whether it can be a host to be sent. Empty is as good as absent.
pub(super) fn check_authority(cursor: &Cursor<'_>) -> bool {
    let valid = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_graphic() && !b"/?#@\\".contains(&b))
    };
    if cursor.node.as_str().is_some_and(|text| !valid(text)) {
        cursor
            .error("invalid_value", "is no authority")
            .help("write host or host:port");
        return false;
    }
    true
}

/// Whether it can be part of a request's target, which upstreams would not understand otherwise.
pub(super) fn check_target(cursor: &Cursor<'_>) -> bool {
    check(cursor, misfit_of_target, "a request's path")
}

/// Reports what cannot be part of a `Location`.
pub(super) fn check_location(cursor: &Cursor<'_>) {
    check(cursor, misfit, "a redirect's location");
}

fn check(cursor: &Cursor<'_>, misfit: fn(&str) -> Option<char>, of: &str) -> bool {
    let Some(found) = cursor.node.as_str().and_then(misfit) else {
        return true;
    };
    cursor
        .error(
            "invalid_value",
            format!("character {found:?} cannot be part of {of}"),
        )
        .help(format!("write %{:02X} in its place", u32::from(found)));
    false
}

/// The first character that ends a head's line, or a part of it.
fn misfit(text: &str) -> Option<char> {
    text.chars().find(|c| c.is_ascii_control() || *c == ' ')
}

/// As [`misfit`], and what a URL never holds unencoded: `"` may stand in a path, not in a query.
fn misfit_of_target(text: &str) -> Option<char> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let misplaced = |c: &char| matches!(c, '<' | '>' | '`');
    misfit(text)
        .or_else(|| path.chars().find(misplaced))
        .or_else(|| query.chars().find(|c| matches!(c, '<' | '>' | '"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_splits_a_line_or_is_no_url_is_found() {
        let cases = [
            ("", None, None),
            ("/a-b/%20?c=d&e#f", None, None),
            ("/é/{id}/\"x\"?`", None, None),
            ("/a\r\nx-evil: 1", Some('\r'), Some('\r')),
            ("/a\nb", Some('\n'), Some('\n')),
            ("/a\0", Some('\0'), Some('\0')),
            ("/a\tb", Some('\t'), Some('\t')),
            ("/\u{7f}", Some('\u{7f}'), Some('\u{7f}')),
            ("/a b", Some(' '), Some(' ')),
            ("/a<b", None, Some('<')),
            ("/a`b", None, Some('`')),
            ("/a?b=\"c\"", None, Some('"')),
        ];
        for (text, of_location, of_target) in cases {
            assert_eq!(misfit(text), of_location, "{text:?}");
            assert_eq!(misfit_of_target(text), of_target, "{text:?}");
        }
    }
}
