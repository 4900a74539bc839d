//! What is published, and the receipt that goes with it.

use crate::ChangeKind;
use model::{Diagnostic, ResourceRef, Resources};
use rules::{Endpoints, Table};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One configuration, ready to be served.
#[derive(Clone, Debug)]
pub struct Published {
    /// The routes.
    pub table: Arc<Table>,
    /// The endpoints, which change without the table.
    pub endpoints: Arc<Endpoints>,
    /// The objects that both were made of, for the configuration dump.
    pub resources: Arc<Resources>,
    /// What is wrong with the present objects, refused ones included.
    pub diagnostics: Arc<[Diagnostic]>,
    /// What led to it.
    pub receipt: Arc<Receipt>,
}

/// What changed, and how long it took (promise 7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The table's generation. A change of endpoints alone leaves it.
    pub generation: u64,
    /// The objects that changed; those that only moved within their file are not among them.
    pub changes: Vec<ObjectChange>,
    /// Errors about all present objects.
    pub errors: usize,
    /// Warnings about all present objects.
    pub warnings: usize,
    /// When the change was noticed.
    pub received_at: SystemTime,
    /// How long it took until it was published.
    pub took: Duration,
}

/// One object that changed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ObjectChange {
    /// The object.
    pub resource: ResourceRef,
    /// What became of it.
    pub kind: ChangeKind,
}

impl std::fmt::Display for ObjectChange {
    /// `VirtualService shop/checkout changed`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            ChangeKind::Added => "added",
            ChangeKind::Changed | ChangeKind::Moved => "changed",
            ChangeKind::Removed => "removed",
        };
        write!(f, "{} {kind}", self.resource)
    }
}
