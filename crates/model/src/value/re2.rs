//! Where RE2 and the `regex` crate read one expression differently.

use regex_syntax::ast::{self, Ast, ClassPerlKind, ClassSetItem, Visitor};

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
