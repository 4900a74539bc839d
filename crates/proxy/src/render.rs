//! Diagnostics as people and programs read them.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use model::{Diagnostic, Position, Severity};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;

/// The texts of the files that diagnostics point into.
pub(crate) type Texts = BTreeMap<Arc<str>, Arc<str>>;

/// Lines shown before the one that is meant.
const LINES_BEFORE: usize = 2;

/// A line longer than this is not shown: it would bury the message.
const MAX_LINE: usize = 400;

/// Prints diagnostics as compilers do: the message, the source lines, a caret.
pub(crate) fn text(diagnostics: &[Diagnostic], texts: &Texts) -> String {
    let renderer = renderer();
    let rendered = diagnostics.iter().map(|diagnostic| {
        let text = diagnostic
            .position
            .as_ref()
            .and_then(|position| texts.get(&position.file));
        renderer.render(&[group(diagnostic, text)]).to_string() + "\n\n"
    });
    rendered.collect()
}

/// One line for each diagnostic.
pub(crate) fn lines(diagnostics: &[Diagnostic]) -> String {
    let line = |diagnostic: &Diagnostic| {
        let place = diagnostic
            .position
            .as_ref()
            .map(|position| format!("{position}: "));
        format!(
            "{}{}: {diagnostic}\n",
            place.unwrap_or_default(),
            word(diagnostic.severity)
        )
    };
    diagnostics.iter().map(line).collect()
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// The diagnostics as the contract has them.
pub(crate) fn json(diagnostics: &[Diagnostic]) -> Value {
    let all: Vec<Value> = diagnostics.iter().map(one_as_json).collect();
    json!({ "diagnostics": all })
}

fn one_as_json(diagnostic: &Diagnostic) -> Value {
    let position = diagnostic.position.as_ref();
    json!({
        "severity": word(diagnostic.severity),
        "code": diagnostic.code,
        "resource": diagnostic.resource.as_ref().map(ToString::to_string),
        "path": diagnostic.path,
        "message": diagnostic.message,
        "file": position.map(|position| &*position.file),
        "line": position.map(|position| position.line),
        "column": position.map(|position| position.column),
    })
}

fn renderer() -> Renderer {
    let is_plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stdout().is_terminal();
    if is_plain {
        Renderer::plain()
    } else {
        Renderer::styled()
    }
}

fn group<'d>(diagnostic: &'d Diagnostic, text: Option<&'d Arc<str>>) -> Group<'d> {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(diagnostic.to_string())
        .id(diagnostic.code);
    let mut group = Group::with_title(title);
    match (
        &diagnostic.position,
        text.and_then(|text| excerpt(text, diagnostic.position.as_ref()?)),
    ) {
        (Some(position), Some(excerpt)) => {
            let mark = AnnotationKind::Primary.span(excerpt.mark);
            let snippet = Snippet::source(excerpt.lines)
                .line_start(excerpt.first)
                .path(&*position.file)
                .fold(false);
            group = group.element(snippet.annotation(mark));
        }
        (Some(position), None) => {
            let origin = annotate_snippets::Origin::path(&*position.file);
            let (line, column) = (position.line as usize, position.column as usize);
            group = group.element(origin.line(line).char_column(column));
        }
        _ => {}
    }
    match &diagnostic.help {
        Some(help) => group.element(Level::HELP.message(&**help)),
        None => group,
    }
}

/// The lines around a place.
struct Excerpt<'t> {
    lines: &'t str,
    /// The number of the first, from 1.
    first: usize,
    /// What is meant, in bytes of `lines`.
    mark: std::ops::Range<usize>,
}

fn excerpt<'t>(text: &'t str, position: &Position) -> Option<Excerpt<'t>> {
    let meant = (position.line as usize).checked_sub(1)?;
    let first = meant.saturating_sub(LINES_BEFORE);
    let mut starts = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .skip(first);
    let from = starts.next()?;
    let line_from = if meant > first {
        starts.nth(meant - first - 1)?
    } else {
        from
    };
    let line = text[line_from..].lines().next().unwrap_or_default();
    if line.len() > MAX_LINE
        || text[from..line_from]
            .lines()
            .any(|line| line.len() > MAX_LINE)
    {
        return None;
    }
    let column = (position.column as usize).saturating_sub(1);
    let into = line
        .char_indices()
        .nth(column)
        .map_or(line.len(), |(at, _)| at);
    let start = line_from - from + into;
    let length = line[into..].trim_end().len().max(1);
    let lines = &text[from..line_from + line.len()];
    Some(Excerpt {
        lines,
        first: first + 1,
        mark: start..(start + length).min(lines.len().max(start)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(line: u32, column: u32) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code: "unknown_field",
            resource: None,
            path: "spec.colour".to_owned(),
            message: "unknown field".to_owned(),
            help: Some("remove it".to_owned()),
            position: Some(Position {
                file: "a.yaml".into(),
                line,
                column,
            }),
        }
    }

    #[test]
    fn the_place_is_shown_with_a_caret() {
        let texts = Texts::from([(
            "a.yaml".into(),
            "kind: X\nspec:\n  colour: red\nend: 1\n".into(),
        )]);
        let want = "\
error[unknown_field]: spec.colour: unknown field
 --> a.yaml:3:3
  |
1 | kind: X
2 | spec:
3 |   colour: red
  |   ^^^^^^^^^^^
  |
  = help: remove it

";
        assert_eq!(text(&[diagnostic(3, 3)], &texts), want);
    }

    #[test]
    fn no_place_makes_rendering_fail() {
        let texts = Texts::from([("a.yaml".into(), "é: ü\r\n".into())]);
        for line in [0, 1, 2, 3, u32::MAX] {
            for column in [0, 1, 4, 5, u32::MAX] {
                assert!(text(&[diagnostic(line, column)], &texts).contains("unknown field"));
            }
        }
        let empty = Texts::from([("a.yaml".into(), "".into())]);
        assert!(text(&[diagnostic(1, 1)], &empty).contains("a.yaml"));
        assert!(text(&[diagnostic(1, 1)], &Texts::new()).contains("a.yaml:1:1"));
    }

    #[test]
    fn json_has_the_fields_of_the_contract() {
        let want = json!({ "diagnostics": [{
            "severity": "error", "code": "unknown_field", "resource": null, "path": "spec.colour",
            "message": "unknown field", "file": "a.yaml", "line": 3, "column": 1,
        }]});
        assert_eq!(json(&[diagnostic(3, 1)]), want);
    }
}
