//! What is told to the person who wrote a resource.

use std::fmt;
use std::sync::Arc;

/// One thing wrong with, or worth knowing about, a resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    /// Whether the object is refused.
    pub severity: Severity,
    /// A stable identifier, `snake_case`: `unknown_field`, `wrong_type`, `missing_route`…
    pub code: &'static str,
    /// The object, when the document told its kind and name.
    pub resource: Option<ResourceRef>,
    /// Where in the object: `spec.http[0].timeout`. Empty: the object as a whole.
    pub path: String,
    /// What is wrong, lower case, no full stop.
    pub message: String,
    /// What to do about it, when the message does not say so.
    pub help: Option<String>,
    /// Where it stands, when it came from text.
    pub position: Option<Position>,
}

impl fmt::Display for Diagnostic {
    /// One line: `VirtualService shop/checkout: spec.http[1].timeout: must be at least 1ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(resource) = &self.resource {
            write!(f, "{resource}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The object is in force, but perhaps not as its author thinks.
    Warning,
    /// The object is refused; its last good version stays.
    Error,
}

/// Where something stands in a text.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The identity of an object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ResourceRef {
    /// `VirtualService`
    pub kind: Arc<str>,
    /// Its namespace; the default one when it names none. Empty for a Namespace and a Node.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{} {}", self.kind, self.name);
        }
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The place in a resource that something compiled came from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Origin {
    /// The object.
    pub resource: ResourceRef,
    /// Where in it: `spec.http[0].match[1]`.
    pub path: String,
    /// Where that stands, when the object came from text.
    pub position: Option<Position>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.resource)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        match &self.position {
            Some(position) => write!(f, " ({position})"),
            None => Ok(()),
        }
    }
}
