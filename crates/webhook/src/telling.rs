//! What is wrong with an object, as the clients of an API server are told.

use model::Diagnostic;

/// The longest refusal, in bytes: a screenful and a half. What there is no room for is counted.
const LONGEST_REFUSAL: usize = 8 << 10;

/// The longest warning, in characters: API servers may cut what is longer.
///
/// Source: Kubernetes, "Response" of dynamic admission control.
const LONGEST_WARNING: usize = 256;

/// Characters of all warnings together: API servers leave out what is beyond, of other webhooks' too.
const ALL_WARNINGS: usize = 4096;

/// Kept for the line that says how many were left out.
const ROOM_FOR_COUNT: usize = 128;

/// `spec.http[0].timeout: must be at least 1ms; what to do`. The client knows which object it sent.
pub(crate) fn line(diagnostic: &Diagnostic) -> String {
    let Diagnostic {
        path,
        message,
        help,
        ..
    } = diagnostic;
    let mut line = String::new();
    if !path.is_empty() {
        line += path;
        line += ": ";
    }
    line += message;
    if let Some(help) = help {
        line += "; ";
        line += help;
    }
    // Some clients show the first line alone, and one that is broken could look like several.
    line.replace(['\n', '\r'], " ")
}

/// Why an object is refused: all that is wrong with it, a line each.
pub(crate) fn refusal<'d>(errors: impl Iterator<Item = &'d Diagnostic>) -> String {
    let lines: Vec<_> = errors.map(line).collect();
    let room = LONGEST_REFUSAL - ROOM_FOR_COUNT;
    if let [only] = &lines[..] {
        return cut(only, room);
    }
    let mut refusal = format!("{} errors", lines.len());
    for (number, line) in lines.iter().enumerate() {
        let left = room.saturating_sub(refusal.len() + "\n- ".len());
        // The first is told in any case.
        if line.len() > left && number > 0 {
            let rest = lines.len() - number;
            return format!("{refusal}\n- and {rest} more: `gateway check FILE` tells them all");
        }
        refusal += "\n- ";
        refusal += &cut(line, left);
    }
    refusal
}

/// Warnings within what API servers pass on.
pub(crate) fn warnings(lines: impl Iterator<Item = String>) -> Vec<String> {
    let lines: Vec<_> = lines.collect();
    let mut warnings = Vec::new();
    let mut left = ALL_WARNINGS - ROOM_FOR_COUNT;
    for (number, line) in lines.iter().enumerate() {
        let warning = short(line);
        let length = warning.chars().count();
        if length > left {
            let rest = lines.len() - number;
            warnings.push(format!(
                "and {rest} more: `gateway check FILE` tells them all"
            ));
            break;
        }
        left -= length;
        warnings.push(warning);
    }
    warnings
}

/// What is to be done goes first where there is too little room, then the end of what is wrong.
fn short(line: &str) -> String {
    if line.chars().count() <= LONGEST_WARNING {
        return line.to_owned();
    }
    let said = line.rsplit_once("; ").map_or(line, |(said, _)| said);
    if said.chars().count() <= LONGEST_WARNING {
        return said.to_owned();
    }
    let kept: String = said.chars().take(LONGEST_WARNING - 1).collect();
    format!("{kept}…")
}

/// At most this many bytes.
fn cut(text: &str, room: usize) -> String {
    if text.len() <= room {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(room.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Severity;

    fn diagnostic(path: &str, message: &str, help: Option<&str>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: "x",
            resource: None,
            path: path.to_owned(),
            message: message.to_owned(),
            help: help.map(str::to_owned),
            position: None,
        }
    }

    #[test]
    fn a_line_says_where_what_and_what_to_do() {
        let all = diagnostic("spec.hosts", "is empty", Some("name one"));
        assert_eq!(line(&all), "spec.hosts: is empty; name one");
        assert_eq!(line(&diagnostic("", "two\nlines", None)), "two lines");
    }

    #[test]
    fn all_errors_are_told() {
        let errors = [
            diagnostic("a", "is wrong", None),
            diagnostic("b", "too", None),
        ];
        assert_eq!(refusal(errors[..1].iter()), "a: is wrong");
        assert_eq!(refusal(errors.iter()), "2 errors\n- a: is wrong\n- b: too");
    }

    #[test]
    fn refusals_are_bounded() {
        let errors = vec![diagnostic("a", &"é".repeat(300), None); 100];
        let said = refusal(errors.iter());
        assert!(said.len() <= LONGEST_REFUSAL, "{}", said.len());
        let told = said.matches("\n- a: ").count();
        assert!(
            said.ends_with(&format!(
                "\n- and {} more: `gateway check FILE` tells them all",
                100 - told
            )),
            "{said}"
        );
        for count in [1, 2] {
            let errors = vec![diagnostic("a", &"é".repeat(30_000), None); count];
            let said = refusal(errors.iter());
            assert!(said.len() <= LONGEST_REFUSAL && said.contains('…'));
        }
    }

    #[test]
    fn warnings_are_as_api_servers_pass_them_on() {
        let of = |line: String, count: usize| warnings(std::iter::repeat_n(line, count));
        assert_eq!(of("a; b".to_owned(), 1), ["a; b"]);
        let with_help = format!("{}; {}", "a".repeat(200), "b".repeat(200));
        assert_eq!(of(with_help, 1), ["a".repeat(200)]);
        let cut = of("é".repeat(400), 1).remove(0);
        assert_eq!(cut.chars().count(), LONGEST_WARNING);
        assert!(cut.ends_with('…'));
        let many = of("x".repeat(250), 40);
        let all: usize = many.iter().map(|warning| warning.chars().count()).sum();
        assert!(all <= ALL_WARNINGS, "{all}");
        let last = format!(
            "and {} more: `gateway check FILE` tells them all",
            40 - (many.len() - 1)
        );
        assert_eq!(many.last(), Some(&last));
    }
}
