//! Where RE2 and the `regex` crate read one expression differently.

use regex_syntax::ast::{self, Ast, ClassPerlKind, ClassSetItem, Visitor};

/// The expression without `\Q..\E`, which the `regex` crate does not know, and with a backslash before every
/// brace that RE2 takes for itself: one that begins no `{2}`, `{2,}` or `{2,3}`.
///
/// It need not be valid: whatever is wrong with it is left for the parser to tell.
pub fn with_plain_literals(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (taken, plain) = match first {
            '\\' => escaped(rest),
            '[' => (class_length(rest), None),
            '{' if !is_repetition(rest) => (1, Some(r"\{".to_owned())),
            other => (other.len_utf8(), None),
        };
        let (part, after) = rest.split_at(taken);
        pattern.push_str(plain.as_deref().unwrap_or(part));
        rest = after;
    }
    pattern
}

/// How much of `text`, which begins with a backslash, belongs to it, and what stands for that.
fn escaped(text: &str) -> (usize, Option<String>) {
    if let Some(quoted) = text.strip_prefix(r"\Q") {
        let end = quoted.find(r"\E").unwrap_or(quoted.len());
        let taken = text.len().min(end + r"\Q\E".len());
        return (taken, Some(regex_syntax::escape(&quoted[..end])));
    }
    let kind = text.chars().nth(1);
    let taken = 1 + kind.map_or(0, char::len_utf8);
    // Braces that name a character or a class of them.
    let is_named = matches!(kind, Some('x' | 'p' | 'P')) && text[taken..].starts_with('{');
    match text.find('}') {
        Some(end) if is_named => (end + 1, None),
        _ => (taken, None),
    }
}

/// The length of the class in brackets that `text` begins with. Braces in it are plain.
fn class_length(text: &str) -> usize {
    let start = if text.starts_with("[^") { 2 } else { 1 };
    // A bracket that comes first does not close.
    let mut at = start + usize::from(text[start..].starts_with(']'));
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        at += match next {
            ']' => return at + 1,
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |end| end + 2),
            '\\' => escaped_in_class(rest),
            other => other.len_utf8(),
        };
    }
    at
}

/// Nothing is quoted within a class.
fn escaped_in_class(text: &str) -> usize {
    1 + text.chars().nth(1).map_or(0, char::len_utf8)
}

/// Whether `text` begins with `{2}`, `{2,}` or `{2,3}`, written without needless zeros.
fn is_repetition(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else {
        return false;
    };
    let is_number = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'))
            && !digits.is_empty()
    };
    match inside.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(inside),
    }
}

/// The expression with its Perl classes and word boundaries spelt out as RE2 means them: ASCII only.
///
/// Apart from meaning the same, the spelt-out classes compile to a hundredth of the size.
///
/// # Errors
/// The parser's message, when the expression has no valid syntax.
pub(super) fn with_ascii_classes(text: &str) -> Result<String, String> {
    let tree = ast::parse::Parser::new()
        .parse(text)
        .map_err(|error| last_line(&error.to_string()))?;
    let found = ast::visit(&tree, Places::default()).unwrap_or_default();
    let mut pattern = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end, spelt_out) in found {
        pattern.push_str(&text[done..start]);
        pattern.push_str(spelt_out);
        done = end;
    }
    pattern.push_str(&text[done..]);
    Ok(pattern)
}

/// The parser draws the expression over several lines; only its last line says what is wrong.
pub(super) fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or(text);
    line.trim().trim_start_matches("error: ").to_owned()
}

/// Begin and end of what is replaced, and by what, in the order of the expression.
#[derive(Default)]
struct Places(Vec<(usize, usize, &'static str)>);

impl Places {
    fn add(&mut self, span: &ast::Span, spelt_out: &'static str) {
        self.0.push((span.start.offset, span.end.offset, spelt_out));
    }
}

impl Visitor for Places {
    type Output = Vec<(usize, usize, &'static str)>;
    type Err = ();

    fn finish(mut self) -> Result<Self::Output, ()> {
        self.0.sort_unstable();
        Ok(self.0)
    }

    fn visit_pre(&mut self, tree: &Ast) -> Result<(), ()> {
        match tree {
            Ast::ClassPerl(class) => self.add(&class.span, spell_out(class)),
            Ast::Assertion(assertion) if assertion.kind == ast::AssertionKind::WordBoundary => {
                self.add(&assertion.span, r"(?-u:\b)");
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), ()> {
        if let ClassSetItem::Perl(class) = item {
            self.add(&class.span, spell_out(class));
        }
        Ok(())
    }
}

/// Brackets nest, so that one spelling fits inside of others and outside.
fn spell_out(class: &ast::ClassPerl) -> &'static str {
    match (&class.kind, class.negated) {
        (ClassPerlKind::Digit, false) => "[0-9]",
        (ClassPerlKind::Digit, true) => "[^0-9]",
        (ClassPerlKind::Space, false) => r"[\t\n\f\r\x20]",
        (ClassPerlKind::Space, true) => r"[^\t\n\f\r\x20]",
        (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
        (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn matches(pattern: &str, text: &str) -> bool {
        let pattern = with_ascii_classes(pattern).unwrap();
        Regex::new(&format!("^(?:{pattern})$"))
            .unwrap()
            .is_match(text)
    }

    #[test]
    fn classes_are_ascii_as_in_re2() {
        let cases = [
            (r"\w+", "az_09", true),
            (r"\w+", "ä", false),
            (r"\W+", "ä-", true),
            (r"\d", "٣", false),
            (r"\D", "٣", true),
            (r"a\sb", "a b", true),
            (r"a\sb", "a\u{a0}b", false),
            (r"a\sb", "a\u{b}b", false),
            (r"[\w-]+", "a-b", true),
            (r"[^\w-]+", "ä", true),
            (r"[\W\d]", "5", true),
            (r"\\w", r"\w", true),
            ("(?x) a \\s b # \\w\n", "a b", true),
            (r"(?i)[\d]x", "5X", true),
            (r".*\bb.*", "a b", true),
            (r".*\bb.*", "äb", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(matches(pattern, text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn quotes_and_braces_are_literals_as_in_re2() {
        let cases = [
            // Quoted, to the end where nothing ends it.
            (r"\Qa.b\E", r"a\.b"),
            (r"\Qa.b", r"a\.b"),
            (r"x\Q\E*", "x*"),
            (r"\Qab\E+c", "ab+c"),
            (r"\Q(\E(a)\Q)\E", r"\((a)\)"),
            (r"\Q\d{2}\E", r"\\d\{2\}"),
            (r"\Q[\E{", r"\[\{"),
            (r"\\Qa\\E", r"\\Qa\\E"),
            (r"\Qé", "é"),
            // Stays for the parser to refuse.
            (r"a\E", r"a\E"),
            (r"[\Qa\E]", r"[\Qa\E]"),
            // Repetitions, and braces that are none.
            ("a{2}b{2,}c{2,3}d{0}e{0,10}", "a{2}b{2,}c{2,3}d{0}e{0,10}"),
            ("/v1/{id}", r"/v1/\{id}"),
            ("/{}/{", r"/\{}/\{"),
            ("a{,5}", r"a\{,5}"),
            ("a{ 2}", r"a\{ 2}"),
            ("a{02}", r"a\{02}"),
            ("a{2,03}", r"a\{2,03}"),
            ("a{2,3,4}", r"a\{2,3,4}"),
            ("a{{2}}", r"a\{{2}}"),
            (r"\{2}\{id\}", r"\{2}\{id\}"),
            // Braces that are part of something else.
            (r"\x{61}\p{Greek}\P{L}\pL{2}", r"\x{61}\p{Greek}\P{L}\pL{2}"),
            (r"\b{start}", r"\b\{start}"),
            ("[{]{2}[^]{}]{x}", r"[{]{2}[^]{}]\{x}"),
            (r"[[:alpha:]{\]{]{a}", r"[[:alpha:]{\]{]\{a}"),
            ("[{", "[{"),
            (r"[\", r"[\"),
            ("\\", "\\"),
            (r"\x{", r"\x\{"),
        ];
        for (text, want) in cases {
            assert_eq!(with_plain_literals(text), want, "{text}");
        }
    }

    #[test]
    fn literals_match_themselves() {
        let cases = [
            ("/v1/{id}/[0-9]{2}", "/v1/{id}/42", true),
            ("/v1/{id}", "/v1/7", false),
            (r"\Q/a.b\E/.+", "/a.b/c", true),
            (r"\Q/a.b\E/.+", "/axb/c", false),
            (r"\Qa#& -~b\E", "a#& -~b", true),
            ("a{,2}", "a{,2}", true),
            ("a{,2}", "aa", false),
        ];
        for (pattern, text, want) in cases {
            let plain = with_plain_literals(pattern);
            assert_eq!(matches(&plain, text), want, "{pattern} on {text}");
        }
    }

    #[test]
    fn long_repetitions_of_a_class_stay_small() {
        let pattern = with_ascii_classes(r"(\w{1,64}\.){1,8}\w+").unwrap();
        assert!(
            regex::RegexBuilder::new(&pattern)
                .size_limit(1 << 20)
                .build()
                .is_ok()
        );
    }

    #[test]
    fn what_has_no_class_stays_as_it_is() {
        for text in ["", "^(.*?;)?(user=jason)(;.*)?$", "[a-z]{2}", "é+"] {
            assert_eq!(with_ascii_classes(text).unwrap(), text);
        }
    }
}
