//! What an object has come to, as a publication says.

use super::condition::{Outcome, Taken, Verdict};
use crate::scope::PREFIX;
use config::Published;
use model::{Diagnostic, ResourceRef, Severity};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Diagnostics of one object that are repeated.
const MOST: usize = 10;

/// Bytes of what is repeated, as far as it is more than one line: an event has room for 1024.
const LONGEST: usize = 900;

/// A publication, by object.
pub(crate) struct Judge {
    published: Arc<Published>,
    /// Which of its diagnostics are of a file.
    of_file: BTreeMap<Arc<str>, Vec<usize>>,
}

impl Judge {
    pub(crate) fn of(published: Arc<Published>) -> Self {
        let mut of_file: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for (index, diagnostic) in published.diagnostics.iter().enumerate() {
            if let Some(file) = file(diagnostic) {
                of_file.entry(file).or_default().push(index);
            }
        }
        Self { published, of_file }
    }

    /// The publication's number.
    pub(crate) fn number(&self) -> u64 {
        self.published.number
    }

    /// What the object of a file has come to, if so many have taken it up.
    pub(crate) fn verdict(&self, file: &str, taken: Taken) -> Verdict {
        let indices = self.of_file.get(file).into_iter().flatten();
        let mut told: Vec<_> = indices
            .map(|index| &self.published.diagnostics[*index])
            .collect();
        told.sort_by_key(|diagnostic| diagnostic.severity != Severity::Error);
        let has_errors = told
            .first()
            .is_some_and(|one| one.severity == Severity::Error);
        let outcome = match (has_errors, self.is_in_force(file)) {
            (false, true) => Outcome::Accepted(taken),
            (true, true) => Outcome::HasErrors,
            (_, false) => Outcome::NotInForce,
        };
        Verdict {
            outcome,
            detail: detail(&told),
        }
    }

    fn is_in_force(&self, file: &str) -> bool {
        let Some(reference) = reference(file) else {
            return false;
        };
        let resource = self.published.resources.find(&reference);
        // Of an object that is in a folder, too, the other one may count.
        let position = resource.as_ref().map(|resource| &resource.meta().position);
        position.is_some_and(|position| {
            let file_of = position.as_ref().map(|position| &*position.file);
            file_of.is_none_or(|of| of == file)
        })
    }

    /// A code of what is wrong first, if something is.
    pub(crate) fn code(&self, file: &str) -> Option<&'static str> {
        let indices = self.of_file.get(file)?;
        let mut told = indices
            .iter()
            .map(|index| &self.published.diagnostics[*index]);
        Some(told.find(|one| one.severity == Severity::Error)?.code)
    }
}

/// The file that a diagnostic is about.
fn file(diagnostic: &Diagnostic) -> Option<Arc<str>> {
    if let Some(position) = &diagnostic.position {
        return position
            .file
            .starts_with(PREFIX)
            .then(|| position.file.clone());
    }
    let ResourceRef {
        kind,
        namespace,
        name,
    } = diagnostic.resource.as_ref()?;
    Some(format!("{PREFIX}{kind}/{namespace}/{name}").into())
}

/// The object of a file.
pub(crate) fn reference(file: &str) -> Option<ResourceRef> {
    let mut parts = file.strip_prefix(PREFIX)?.split('/');
    let reference = ResourceRef {
        kind: parts.next()?.into(),
        namespace: parts.next()?.into(),
        name: parts.next()?.into(),
    };
    parts.next().is_none().then_some(reference)
}

/// A line each, as long as there is room.
fn detail(told: &[&Diagnostic]) -> String {
    let mut detail = String::new();
    for (index, diagnostic) in told.iter().enumerate() {
        let line = line(diagnostic);
        let is_full = index > 0 && detail.len() + line.len() > LONGEST;
        if index == MOST || is_full {
            let left = told.len() - index;
            // Writing to a string cannot fail.
            let _ = write!(detail, "\nand {left} more");
            break;
        }
        if index > 0 {
            detail.push('\n');
        }
        detail.push_str(&line);
    }
    detail
}

fn line(diagnostic: &Diagnostic) -> String {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let mut line = format!("{severity}: ");
    if !diagnostic.path.is_empty() {
        let _ = write!(line, "{}: ", diagnostic.path);
    }
    line.push_str(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        let _ = write!(line, " ({help})");
    }
    // It may quote what its author wrote, on several lines.
    line = line.replace(['\n', '\r'], " ");
    if line.len() > LONGEST {
        line.truncate(line.floor_char_boundary(LONGEST));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(severity: Severity, message: &str) -> Diagnostic {
        Diagnostic {
            severity,
            code: "a_code",
            resource: None,
            path: "spec.http[0]".to_owned(),
            message: message.to_owned(),
            help: None,
            position: None,
        }
    }

    #[test]
    fn what_is_repeated_is_bounded_and_says_what_is_left_out() {
        let long = "ä".repeat(5000);
        let one = diagnostic(Severity::Error, &long);
        let text = detail(&[&one, &one, &one]);
        assert!(text.len() < LONGEST + 100, "{}", text.len());
        assert!(text.ends_with("\nand 2 more"), "{text}");
        let short = diagnostic(Severity::Warning, "a\nb");
        let text = detail(&[&short; 12]);
        assert!(text.starts_with("warning: spec.http[0]: a b\n"), "{text}");
        assert_eq!(text.lines().count(), 11);
        assert!(text.ends_with("\nand 2 more"), "{text}");
        assert_eq!(detail(&[]), "");
    }

    #[test]
    fn a_file_names_its_object() {
        let of = reference("kubernetes:VirtualService/shop/a").map(|one| one.to_string());
        assert_eq!(of.as_deref(), Some("VirtualService shop/a"));
        for other in [
            "shop.yaml",
            "kubernetes:Gateway",
            "kubernetes:Node/a",
            "kubernetes:A/b/c/d",
        ] {
            assert_eq!(reference(other), None, "{other}");
        }
    }
}
