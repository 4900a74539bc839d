//! Text to resources.

mod identity;
mod json;

pub use json::json_as_yaml;

use crate::decode::{Context, Envelope, Identity, decode};
use crate::yaml::{Document, Node, Value, documents, read};
use crate::{At, Diagnostic, Limits, Position, Resource, ResourceRef, Severity};
use std::fmt;
use std::sync::Arc;

/// What holds for objects and files that say nothing else.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The namespace of objects that name none.
    pub namespace: Arc<str>,
    /// How much is read.
    pub limits: Limits,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            namespace: "default".into(),
            limits: Limits::default(),
        }
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The objects whose identity is known, in the order of the file.
    pub objects: Vec<ParsedObject>,
    /// What belongs to no object of `objects`.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether there was a document that did not say which object it is: an object that this file had
    /// before may be meant by it.
    pub unidentified: bool,
}

impl Parsed {
    /// All diagnostics, the file's own first.
    pub fn all_diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .chain(self.objects.iter().flat_map(|object| &object.diagnostics))
    }
}

/// One object of a file.
#[derive(Clone)]
pub struct ParsedObject {
    /// Kind, namespace and name.
    pub reference: ResourceRef,
    /// The resource, unless there was an error.
    pub outcome: Outcome,
    /// Errors first. An accepted object has warnings only.
    pub diagnostics: Vec<Diagnostic>,
    /// A text that parses to this object again. May hold secrets.
    pub text: String,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is valid.
    Accepted(Resource),
    /// It is not; the diagnostics say why.
    Refused,
}

impl Outcome {
    /// The resource, when it is valid.
    pub fn resource(&self) -> Option<&Resource> {
        match self {
            Self::Accepted(resource) => Some(resource),
            Self::Refused => None,
        }
    }
}

impl fmt::Debug for ParsedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedObject")
            .field("reference", &self.reference)
            .field("outcome", &self.outcome)
            .field("diagnostics", &self.diagnostics)
            .finish_non_exhaustive()
    }
}

/// Reads the resources of a file: YAML documents, or JSON. Never fails as a whole: what is good stays.
pub fn parse(file: &Arc<str>, text: &str, defaults: &Defaults) -> Parsed {
    let mut parser = Parser {
        file,
        defaults,
        parsed: Parsed::default(),
    };
    if parser.is_too_large(text.len()) {
        return parser.parsed;
    }
    let documents = documents(text);
    if documents.len() > defaults.limits.documents {
        let message = format!(
            "file has {} documents, at most {}",
            documents.len(),
            defaults.limits.documents
        );
        parser.file_problem("too_large", message, "split it into several files");
        return parser.parsed;
    }
    for document in documents {
        parser.document(document);
    }
    parser.parsed
}

/// As [`parse`], of bytes that may be no text at all.
pub fn parse_bytes(file: &Arc<str>, bytes: &[u8], defaults: &Defaults) -> Parsed {
    let mut parser = Parser {
        file,
        defaults,
        parsed: Parsed::default(),
    };
    if parser.is_too_large(bytes.len()) {
        return parser.parsed;
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        parser.not_text(At { line: 1, column: 1 }, "file is UTF-16");
        return parser.parsed;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => match text.find(is_binary) {
            Some(offset) => parser.not_text(place(text, offset), "file has control characters"),
            None => return parse(file, text, defaults),
        },
        Err(error) => {
            let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
            parser.not_text(place(valid, valid.len()), "file is not UTF-8");
        }
    }
    parser.parsed
}

/// What YAML does not allow in a text.
fn is_binary(c: char) -> bool {
    c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{7f}')
}

fn place(text: &str, offset: usize) -> At {
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    At {
        line: number(before.matches('\n').count() + 1),
        column: number(before[line_start..].chars().count() + 1),
    }
}

struct Parser<'a> {
    file: &'a Arc<str>,
    defaults: &'a Defaults,
    parsed: Parsed,
}

impl Parser<'_> {
    /// Reports a file that is larger than it may be.
    fn is_too_large(&mut self, bytes: usize) -> bool {
        let limit = self.defaults.limits.file_bytes;
        let too_large = bytes > limit;
        if too_large {
            let message = format!("file is {bytes} bytes, at most {limit}");
            self.file_problem("too_large", message, "split it into several files");
        }
        too_large
    }

    fn document(&mut self, document: Document<'_>) {
        let limits = &self.defaults.limits;
        if document.text.len() > limits.document_bytes {
            let message = format!(
                "document is {} bytes, at most {}",
                document.text.len(),
                limits.document_bytes
            );
            let at = At {
                line: document.lines_before + 1,
                column: 1,
            };
            self.unreadable(document, "too_large", message, at);
            return;
        }
        match read(document.text, document.lines_before, limits) {
            Ok(node) => match list_items(&node) {
                Some(items) => items
                    .iter()
                    .for_each(|item| self.object(item, json::write(item))),
                None => self.object(&node, document.text.to_owned()),
            },
            Err(error) => self.unreadable(document, error.code, error.message, error.at),
        }
    }

    fn object(&mut self, node: &Node, text: String) {
        let envelope = Envelope {
            file: self.file,
            default_namespace: &self.defaults.namespace,
            node,
        };
        match envelope.identify() {
            Identity::Known(kind, reference) => {
                let cx = Context::new(self.file, Some(reference.clone()));
                let outcome = match decode(kind, &cx, node) {
                    Some(resource) => Outcome::Accepted(resource),
                    None => Outcome::Refused,
                };
                let diagnostics = cx.into_diagnostics();
                self.parsed.objects.push(ParsedObject {
                    reference,
                    outcome,
                    diagnostics,
                    text,
                });
            }
            Identity::Refused(reference, diagnostics) => {
                self.parsed.objects.push(ParsedObject {
                    reference,
                    outcome: Outcome::Refused,
                    diagnostics,
                    text,
                });
            }
            Identity::Skipped(diagnostics) => self.parsed.diagnostics.extend(diagnostics),
            Identity::Unidentified(diagnostics) => {
                self.parsed.unidentified = true;
                self.parsed.diagnostics.extend(diagnostics);
            }
        }
    }

    /// A broken document may still say which object it is; then that object alone is refused.
    fn unreadable(&mut self, document: Document<'_>, code: &'static str, message: String, at: At) {
        let resource = identity::guess(document.text, &self.defaults.namespace);
        let diagnostic = Diagnostic {
            severity: Severity::Error,
            code,
            resource: resource.clone(),
            path: String::new(),
            message,
            help: None,
            position: Some(Position {
                file: self.file.clone(),
                line: at.line,
                column: at.column,
            }),
        };
        match resource {
            Some(reference) => self.parsed.objects.push(ParsedObject {
                reference,
                outcome: Outcome::Refused,
                diagnostics: vec![diagnostic],
                text: document.text.to_owned(),
            }),
            None => {
                self.parsed.unidentified = true;
                self.parsed.diagnostics.push(diagnostic);
            }
        }
    }

    fn file_problem(&mut self, code: &'static str, message: String, help: &str) {
        self.report(code, message, help, At { line: 1, column: 1 });
    }

    fn not_text(&mut self, at: At, message: &str) {
        self.report(
            "not_text",
            message.to_owned(),
            "write YAML or JSON in UTF-8",
            at,
        );
    }

    fn report(&mut self, code: &'static str, message: String, help: &str, at: At) {
        self.parsed.unidentified = true;
        self.parsed.diagnostics.push(Diagnostic {
            severity: Severity::Error,
            code,
            resource: None,
            path: String::new(),
            message,
            help: Some(help.to_owned()),
            position: Some(Position {
                file: self.file.clone(),
                line: at.line,
                column: at.column,
            }),
        });
    }
}

/// The items of `kind: List`, and of `VirtualServiceList` and its like.
fn list_items(node: &Node) -> Option<&[Node]> {
    if !node.get("kind")?.as_str()?.ends_with("List") {
        return None;
    }
    match &node.get("items")?.value {
        Value::Sequence(items) => Some(items),
        _ => None,
    }
}
