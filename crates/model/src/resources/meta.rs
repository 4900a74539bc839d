//! What every object has.

use crate::{At, Labels, Origin, Position, ResourceRef, Timestamp};
use std::collections::BTreeMap;

/// The identity of an object and what is said about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// Kind, namespace and name.
    pub reference: ResourceRef,
    /// `metadata.labels`
    pub labels: Labels,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// `metadata.creationTimestamp`. Absent for objects from files that do not write one.
    pub creation_timestamp: Option<Timestamp>,
    /// Where the object begins, when it came from text.
    pub position: Option<Position>,
}

impl Meta {
    /// The place `path` of this object, which stands at `at` of its file.
    pub fn origin(&self, path: String, at: At) -> Origin {
        Origin {
            resource: self.reference.clone(),
            path,
            position: self.position_of(at),
        }
    }

    /// `at` with the object's file; the object's own place when `at` is unknown.
    pub fn position_of(&self, at: At) -> Option<Position> {
        let own = self.position.as_ref()?;
        if !at.is_known() {
            return Some(own.clone());
        }
        Some(Position {
            file: own.file.clone(),
            line: at.line,
            column: at.column,
        })
    }

    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        &self.reference.namespace
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.reference.name
    }
}
