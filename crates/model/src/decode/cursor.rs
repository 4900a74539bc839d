//! A place in an object's tree: its value, its path, and where problems are reported.

use super::Fields;
use crate::yaml::{Entry, Node, Value};
use crate::{At, Diagnostic, Position, ResourceRef, Severity};
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;

/// Problems of one object that are kept; a file of nonsense has more than anyone wants to read.
const MAX_DIAGNOSTICS: usize = 100;

/// The object that is decoded, and what is wrong with it.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a Arc<str>,
    /// Absent as long as kind and name are not known.
    pub(crate) resource: Option<ResourceRef>,
    found: RefCell<Vec<Diagnostic>>,
    refused: Cell<bool>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(file: &'a Arc<str>, resource: Option<ResourceRef>) -> Self {
        Self {
            file,
            resource,
            found: RefCell::default(),
            refused: Cell::new(false),
        }
    }

    /// The namespace that short references are resolved in.
    pub(crate) fn namespace(&self) -> Arc<str> {
        self.resource
            .as_ref()
            .map_or_else(|| "".into(), |resource| resource.namespace.clone())
    }

    /// Whether an error was reported.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.get()
    }

    /// Whether nothing more is kept, so that looking for further problems would only take time.
    pub(crate) fn is_full(&self) -> bool {
        self.found.borrow().len() > MAX_DIAGNOSTICS
    }

    /// What was reported, errors first, then in the order of the file.
    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by(|one, other| {
            other
                .severity
                .cmp(&one.severity)
                .then_with(|| one.position.cmp(&other.position))
        });
        found
    }

    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.refused.set(true);
        }
        let mut found = self.found.borrow_mut();
        if found.contains(&diagnostic) {
            return; // a field that is looked at twice
        }
        if found.len() < MAX_DIAGNOSTICS {
            found.push(diagnostic);
        } else if found.len() == MAX_DIAGNOSTICS {
            let message = format!("more than {MAX_DIAGNOSTICS} problems, the others are left out");
            let severity = Severity::Error;
            found.push(Diagnostic {
                code: "too_many_problems",
                message,
                severity,
                help: None,
                ..diagnostic
            });
            self.refused.set(true);
        }
    }

    pub(crate) fn position(&self, at: At) -> Option<Position> {
        let file = self.file.clone();
        at.is_known().then_some(Position {
            file,
            line: at.line,
            column: at.column,
        })
    }
}

/// A value of the tree, and how it was reached.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) cx: &'a Context<'a>,
    pub(crate) node: &'a Node,
    /// Where its key stands. Absent for items of a list and the object itself.
    key_at: Option<At>,
    path: Path<'a>,
}

/// The steps from the object to a value, shared with the values beside it.
#[derive(Clone, Default)]
struct Path<'a>(Option<Rc<Step<'a>>>);

struct Step<'a> {
    parent: Path<'a>,
    name: Name<'a>,
}

enum Name<'a> {
    Key(&'a str),
    Index(usize),
}

/// A problem that is about to be reported; [`Problem::help`] adds to it.
pub(crate) struct Problem<'c> {
    cx: &'c Context<'c>,
    diagnostic: Option<Diagnostic>,
}

impl Problem<'_> {
    /// What to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) {
        if let Some(diagnostic) = &mut self.diagnostic {
            diagnostic.help = Some(help.into());
        }
    }
}

impl Drop for Problem<'_> {
    fn drop(&mut self) {
        if let Some(diagnostic) = self.diagnostic.take() {
            self.cx.report(diagnostic);
        }
    }
}

impl<'a> Cursor<'a> {
    /// The object as a whole.
    pub(crate) fn root(cx: &'a Context<'a>, node: &'a Node) -> Self {
        Self {
            cx,
            node,
            key_at: None,
            path: Path::default(),
        }
    }

    pub(crate) fn child(&self, entry: &'a Entry) -> Self {
        let path = self.path.to(Name::Key(&entry.key));
        Self {
            cx: self.cx,
            node: &entry.value,
            key_at: Some(entry.at),
            path,
        }
    }

    fn item(&self, index: usize, node: &'a Node) -> Self {
        Self {
            cx: self.cx,
            node,
            key_at: None,
            path: self.path.to(Name::Index(index)),
        }
    }

    /// Where it stands: an object or list at its key, anything else by itself.
    pub(crate) fn at(&self) -> At {
        match self.node.value {
            Value::Mapping(_) | Value::Sequence(_) => self.key_at.unwrap_or(self.node.at),
            _ => self.node.at,
        }
    }

    pub(crate) fn path(&self) -> String {
        self.path.text()
    }

    /// The path after its first step: `mirrors[1]` of `spec.http[0].mirrors[1]` below `spec.http[0]`.
    pub(crate) fn path_below(&self, ancestor: &Self) -> String {
        let (path, above) = (self.path(), ancestor.path());
        path.strip_prefix(&above)
            .map_or(path.as_str(), |rest| rest.trim_start_matches('.'))
            .to_owned()
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }

    /// Refuses the object.
    pub(crate) fn error(&self, code: &'static str, message: impl Into<String>) -> Problem<'a> {
        self.problem(Severity::Error, code, message.into())
    }

    /// Reports what does not refuse the object.
    pub(crate) fn warning(&self, code: &'static str, message: impl Into<String>) -> Problem<'a> {
        self.problem(Severity::Warning, code, message.into())
    }

    /// Reports a form of earlier versions, and what it is read as.
    pub(crate) fn legacy(&self, read_as: &str) {
        self.warning("legacy_form", format!("deprecated, read as {read_as}"))
            .help(format!("write {read_as}"));
    }

    fn problem(&self, severity: Severity, code: &'static str, message: String) -> Problem<'a> {
        let diagnostic = Diagnostic {
            severity,
            code,
            resource: self.cx.resource.clone(),
            path: self.path(),
            message,
            help: None,
            position: self.cx.position(self.at()),
        };
        Problem {
            cx: self.cx,
            diagnostic: Some(diagnostic),
        }
    }

    /// Says that the value is of another type.
    pub(crate) fn wrong_type(&self, wanted: &str) -> Problem<'a> {
        self.error(
            "wrong_type",
            format!("expected {wanted}, found {}", self.node.kind()),
        )
    }

    /// Decodes an object all of whose fields must be known.
    pub(crate) fn object<T>(&self, decode: impl FnOnce(&Fields<'a>) -> Option<T>) -> Option<T> {
        let fields = self.fields()?;
        let value = decode(&fields);
        fields.report_unknown();
        value
    }

    /// Decodes an object of which only some fields are wanted.
    pub(crate) fn part_of_object<T>(
        &self,
        decode: impl FnOnce(&Fields<'a>) -> Option<T>,
    ) -> Option<T> {
        let fields = self.fields()?;
        fields.report_duplicates();
        decode(&fields)
    }

    fn fields(&self) -> Option<Fields<'a>> {
        match &self.node.value {
            Value::Mapping(entries) => Some(Fields::new(self.clone(), entries)),
            _ => {
                self.wrong_type("an object");
                None
            }
        }
    }

    /// The items of a list; none when it is no list.
    pub(crate) fn items(&self) -> Vec<Self> {
        match &self.node.value {
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| self.item(index, node))
                .collect(),
            _ => {
                self.wrong_type("a list");
                Vec::new()
            }
        }
    }

    /// The entries of a map with free keys, each once.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Some(fields) = self.fields() else {
            return Vec::new();
        };
        fields.report_duplicates();
        fields
            .entries()
            .iter()
            .map(|entry| (entry.key.as_str(), self.child(entry)))
            .collect()
    }
}

impl<'a> Path<'a> {
    fn to(&self, name: Name<'a>) -> Self {
        Self(Some(Rc::new(Step {
            parent: self.clone(),
            name,
        })))
    }

    fn text(&self) -> String {
        let mut steps = Vec::new();
        let mut path = self;
        while let Some(step) = &path.0 {
            steps.push(step);
            path = &step.parent;
        }
        let mut text = String::new();
        for step in steps.into_iter().rev() {
            match step.name {
                Name::Key(key) => push_key(&mut text, key),
                Name::Index(index) => drop(write!(text, "[{index}]")),
            }
        }
        text
    }
}

/// `.key`, or `["a.b"]` when it would be read as a path.
pub(super) fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty()
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let separator = if path.is_empty() { "" } else { "." };
    let _ = if plain {
        write!(path, "{separator}{key}")
    } else {
        write!(path, "[{key:?}]")
    };
}
