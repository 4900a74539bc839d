//! The fields of an object, which remembers those that were asked for.

use super::Cursor;
use super::cursor::push_key;
use super::suggest::closest;
use crate::yaml::{Entry, Value};
use crate::{At, Diagnostic, Severity};
use std::cell::RefCell;
use std::collections::HashSet;

/// The fields of an object. Those nobody asks for are unknown.
pub(crate) struct Fields<'a> {
    pub(crate) cursor: Cursor<'a>,
    entries: &'a [Entry],
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(cursor: Cursor<'a>, entries: &'a [Entry]) -> Self {
        Self {
            cursor,
            entries,
            asked: RefCell::default(),
        }
    }

    pub(crate) fn at(&self) -> At {
        self.cursor.at()
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// The field's value; nothing when it is absent or null.
    pub(crate) fn field(&self, name: &'static str) -> Option<Cursor<'a>> {
        self.field_or_null(name).filter(|cursor| !cursor.is_null())
    }

    /// The field's value, also when it is null.
    pub(crate) fn field_or_null(&self, name: &'static str) -> Option<Cursor<'a>> {
        self.asked.borrow_mut().push(name);
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(self.cursor.child(entry))
    }

    /// The field's value, whose absence refuses the object.
    pub(crate) fn required(&self, name: &'static str) -> Option<Cursor<'a>> {
        let found = self.field(name);
        if found.is_none() {
            self.missing(name, format!("{name} is required"));
        }
        found
    }

    /// Reports at the object what should be in its field `name`.
    pub(crate) fn missing(&self, name: &str, message: String) {
        let mut diagnostic = self.diagnostic("missing_field", message);
        push_key(&mut diagnostic.path, name);
        self.cursor.cx.report(diagnostic);
    }

    /// Whether the field is there with a content, without asking for it. As in protobuf, an empty list
    /// is as good as absent.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is_nothing = |value: &Value| match value {
            Value::Null => true,
            Value::Sequence(items) => items.is_empty(),
            _ => false,
        };
        self.entries
            .iter()
            .any(|entry| entry.key == name && !is_nothing(&entry.value.value))
    }

    /// Whether there is no field at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reports when more than one of the fields is there.
    pub(crate) fn exclusive(&self, names: &[&str]) {
        let present: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| self.has(name))
            .collect();
        if let [first, second, ..] = present[..] {
            let message = format!("{first} and {second} exclude each other");
            let mut diagnostic = self.diagnostic("exclusive_fields", message);
            if let Some(entry) = self.entries.iter().find(|entry| entry.key == second) {
                push_key(&mut diagnostic.path, second);
                diagnostic.position = self.cursor.cx.position(entry.at);
            }
            self.cursor.cx.report(diagnostic);
        }
    }

    /// Reports fields that were not asked for, and fields that are there twice.
    pub(super) fn report_unknown(&self) {
        let asked = self.asked.borrow();
        for entry in self
            .entries
            .iter()
            .filter(|entry| !asked.contains(&entry.key.as_str()))
        {
            if self.cursor.cx.is_full() {
                break;
            }
            let mut diagnostic = self.at_entry(
                entry,
                "unknown_field",
                format!("unknown field {:?}", entry.key),
            );
            diagnostic.help =
                closest(&entry.key, &asked).map(|name| format!("did you mean {name:?}?"));
            self.cursor.cx.report(diagnostic);
        }
        drop(asked);
        self.report_duplicates();
    }

    pub(super) fn report_duplicates(&self) {
        let mut seen = HashSet::new();
        for entry in self.entries.iter().filter(|entry| !seen.insert(&entry.key)) {
            let message = format!("field {:?} is there twice", entry.key);
            self.cursor
                .cx
                .report(self.at_entry(entry, "duplicate_field", message));
        }
    }

    fn at_entry(&self, entry: &Entry, code: &'static str, message: String) -> Diagnostic {
        let mut diagnostic = self.diagnostic(code, message);
        push_key(&mut diagnostic.path, &entry.key);
        diagnostic.position = self.cursor.cx.position(entry.at);
        diagnostic
    }

    fn diagnostic(&self, code: &'static str, message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            resource: self.cursor.cx.resource.clone(),
            path: self.cursor.path(),
            message,
            help: None,
            position: self.cursor.cx.position(self.at()),
        }
    }
}
