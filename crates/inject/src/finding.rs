//! What is told about a file.

use crate::yaml::place;
use model::{Diagnostic, Position, ResourceRef, Severity};
use std::fmt;
use std::sync::Arc;

/// Something that is wrong with a document, or that its author should know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Which of the file's documents it is about, from 1; empty ones do not count. 0: none, or all of them.
    pub document: usize,
    /// What it is, about which object, and where.
    pub diagnostic: Diagnostic,
}

impl Finding {
    /// Errors are told first, and each kind in the order of the file.
    pub(crate) fn place(&self) -> (bool, usize, Option<Position>) {
        let position = self.diagnostic.position.clone();
        (!self.is_error(), self.document, position)
    }

    /// Whether nothing is given out because of it.
    pub fn is_error(&self) -> bool {
        self.diagnostic.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    /// `deploy.yaml:12:9: error: document 2: Deployment shop/cart: spec.template: must be an object; help`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = &self.diagnostic.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(if self.is_error() {
            "error: "
        } else {
            "warning: "
        })?;
        if self.document > 0 {
            write!(f, "document {}: ", self.document)?;
        }
        write!(f, "{}", self.diagnostic)?;
        match &self.diagnostic.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// A file with more is refused.
const MAX_FINDINGS: usize = 10_000;

/// The findings about a file while it is worked on, and what they are about at the moment.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    file: &'t Arc<str>,
    text: &'t str,
    pub(crate) findings: Vec<Finding>,
    /// The number of the document, where it begins in the text, and in which line.
    document: (usize, usize, u32),
    object: Option<ResourceRef>,
    /// Where the object or its pod is in the document, to be put before paths.
    path: String,
}

impl<'t> Report<'t> {
    pub(crate) fn new(file: &'t Arc<str>, text: &'t str) -> Self {
        Self {
            file,
            text,
            findings: Vec::new(),
            document: (0, 0, 1),
            object: None,
            path: String::new(),
        }
    }

    /// Turns to a document behind the present one, which begins with a line.
    pub(crate) fn turn_to(&mut self, number: usize, start: usize) {
        let (_, before, line) = self.document;
        let (more, _) = place(&self.text[before..start], start - before);
        self.document = (number, start, line + more - 1);
        self.object = None;
        self.path.clear();
    }

    /// Turns to an object of the document, or to a part of it: paths begin there.
    pub(crate) fn turn_to_object(&mut self, object: Option<ResourceRef>, path: String) {
        self.object = object;
        self.path = path;
    }

    /// How many errors there are.
    pub(crate) fn errors(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.is_error())
            .count()
    }

    /// Tells an error at a byte of the document.
    pub(crate) fn error(
        &mut self,
        at: Option<usize>,
        path: &str,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.add(Severity::Error, at, path, code, message.into(), None);
    }

    /// Tells an error, and what to do.
    pub(crate) fn error_with_help(
        &mut self,
        at: Option<usize>,
        path: &str,
        code: &'static str,
        said: [String; 2],
    ) {
        let [message, help] = said;
        self.add(Severity::Error, at, path, code, message, Some(help));
    }

    /// Tells what its author should know, and what to do.
    pub(crate) fn warn(
        &mut self,
        at: Option<usize>,
        path: &str,
        code: &'static str,
        said: [String; 2],
    ) {
        let [message, help] = said;
        self.add(
            Severity::Warning,
            at,
            path,
            code,
            message,
            Some(help).filter(|help| !help.is_empty()),
        );
    }

    fn add(
        &mut self,
        severity: Severity,
        at: Option<usize>,
        path: &str,
        code: &'static str,
        message: String,
        help: Option<String>,
    ) {
        if self.findings.len() > MAX_FINDINGS {
            return;
        }
        if self.findings.len() == MAX_FINDINGS {
            return self.too_many();
        }
        let (document, start, first_line) = self.document;
        let position = (document > 0).then(|| {
            let (line, column) = place(&self.text[start..], at.unwrap_or_default());
            let (file, line) = (Arc::clone(self.file), first_line + line - 1);
            Position { file, line, column }
        });
        let parts = [self.path.as_str(), path];
        let path = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(".");
        let resource = self.object.clone();
        let diagnostic = Diagnostic {
            severity,
            code,
            resource,
            path,
            message,
            help,
            position,
        };
        self.findings.push(Finding {
            document,
            diagnostic,
        });
    }

    fn too_many(&mut self) {
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            code: "too_large",
            resource: None,
            path: String::new(),
            message: format!("more than {MAX_FINDINGS} findings, the others are left out"),
            help: Some("split the file into several".to_owned()),
            position: None,
        };
        self.findings.push(Finding {
            document: 0,
            diagnostic,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file() {
        let (file, text) = (Arc::from("f"), "a: 1\r\n---\r\né: 2\n---\n{}");
        let mut report = Report::new(&file, text);
        report.turn_to(1, 0);
        report.error(Some(3), "", "x", "x");
        report.turn_to(2, 6);
        report.error(Some(9), "", "x", "x");
        report.turn_to(3, 17);
        report.error(None, "", "x", "x");
        let places = report.findings.iter().map(|finding| {
            let position = finding.diagnostic.position.as_ref().unwrap();
            (finding.document, position.line, position.column)
        });
        assert_eq!(
            places.collect::<Vec<_>>(),
            [(1, 1, 4), (2, 3, 4), (3, 4, 1)]
        );
    }

    #[test]
    fn findings_are_bounded() {
        let file = Arc::from("f");
        let mut report = Report::new(&file, "");
        for _ in 0..MAX_FINDINGS + 10 {
            report.warn(None, "", "x", [String::new(), String::new()]);
        }
        assert_eq!(report.findings.len(), MAX_FINDINGS + 1);
        assert_eq!(report.errors(), 1);
    }
}
