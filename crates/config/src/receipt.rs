//! What is published, and the receipt that goes with it.

use crate::ChangeKind;
use crate::CredentialStatus;
use crate::configuration::combined;
use certificates::Credentials;
use model::{Diagnostic, ResourceRef, Resources};
use rules::{Endpoints, Table};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// One configuration, ready to be served.
#[derive(Clone, Debug)]
pub struct Published {
    /// Which publication of this process it is, from 1.
    pub number: u64,
    /// The routes.
    pub table: Arc<Table>,
    /// The endpoints, which change without the table.
    pub endpoints: Arc<Endpoints>,
    /// The certificates, which change without either.
    pub credentials: Arc<Credentials>,
    /// How each of these stands, the missing ones included.
    pub credential_status: Arc<[CredentialStatus]>,
    /// The objects that both were made of, for the configuration dump.
    pub resources: Arc<Resources>,
    /// What is wrong with the present objects, refused ones included.
    pub diagnostics: Arc<[Diagnostic]>,
    /// What led to it.
    pub receipt: Arc<Receipt>,
    pub(crate) taken: Arc<AtomicBool>,
}

impl Published {
    /// Says that this one's receipt is recorded. Until somebody does, the next publication's receipt
    /// repeats what is in it, so that no change is without.
    ///
    /// To be called while the channel that it came by is borrowed.
    pub fn note_taken(&self) {
        self.taken.store(true, Ordering::Relaxed);
    }

    /// Adds what stands in the receipt of an earlier publication that nobody took.
    pub(crate) fn continue_from(&mut self, earlier: &Self) {
        if !earlier.taken.load(Ordering::Relaxed) {
            self.receipt = Arc::new(self.receipt.after(&earlier.receipt));
        }
    }
}

/// Changes that one receipt names when it stands for several publications.
const MAX_CHANGES: usize = 1024;

/// What changed, and how long it took (promise 7).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Receipt {
    /// The table's generation. A change of endpoints alone leaves it.
    pub generation: u64,
    /// The objects and certificates that changed; those that only moved within their file are not among them.
    pub changes: Vec<ObjectChange>,
    /// How many more there are, where publications that nobody took changed too much to be named.
    pub changes_more: usize,
    /// Errors about all present objects.
    pub errors: usize,
    /// Warnings about all present objects.
    pub warnings: usize,
    /// When the change was noticed.
    pub received_at: SystemTime,
    /// How long it took until it was published.
    pub took: Duration,
}

impl Receipt {
    /// This receipt and an earlier one as one.
    fn after(&self, earlier: &Self) -> Self {
        let mut before: BTreeMap<&ResourceRef, ChangeKind> = earlier
            .changes
            .iter()
            .map(|change| (&change.resource, change.kind))
            .collect();
        let mut changes = self.changes.clone();
        for change in &mut changes {
            let first = before.remove(&change.resource);
            // Absent: it came and went again, of which at least the end is told.
            change.kind = combined(first, change.kind).unwrap_or(change.kind);
        }
        let others = before.into_iter().map(|(resource, kind)| ObjectChange {
            resource: resource.clone(),
            kind,
        });
        changes.extend(others);
        let surplus = changes.len().saturating_sub(MAX_CHANGES);
        changes.truncate(MAX_CHANGES);
        Self {
            changes,
            changes_more: self.changes_more + earlier.changes_more + surplus,
            received_at: earlier.received_at.min(self.received_at),
            ..self.clone()
        }
    }
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
