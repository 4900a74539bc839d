//! What is said about objects that do not do what their authors think.

use ahash::HashSet;
use model::{At, Diagnostic, Meta, Severity};

/// A warning about the place `path` of an object, which stands at `at`.
pub(crate) fn warning(
    meta: &Meta,
    code: &'static str,
    path: impl Into<String>,
    at: At,
    message: impl Into<String>,
) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code,
        resource: Some(meta.reference.clone()),
        path: path.into(),
        message: message.into(),
        help: None,
        position: meta.position_of(at),
    }
}

/// Says that an object cannot be obeyed as written, so that its last good version should stay.
pub(crate) fn error(
    meta: &Meta,
    code: &'static str,
    path: impl Into<String>,
    at: At,
    message: impl Into<String>,
) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        ..warning(meta, code, path, at, message)
    }
}

/// Adds what to do about it.
pub(crate) trait Help {
    /// The same with this advice.
    fn help(self, help: impl Into<String>) -> Self;
}

impl Help for Diagnostic {
    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Drops what was said already: one rule is compiled for several listeners, and says the same for each.
pub(crate) fn distinct(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut said = HashSet::default();
    let mut kept = Vec::with_capacity(diagnostics.len());
    for diagnostic in diagnostics {
        let key = (
            diagnostic.code,
            diagnostic.resource.clone(),
            diagnostic.path.clone(),
            diagnostic.message.clone(),
        );
        if said.insert(key) {
            kept.push(diagnostic);
        }
    }
    kept
}
