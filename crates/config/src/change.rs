//! What sources say to the [`Controller`](crate::Controller).

use crate::{CertificateFile, Identity, ResolvedName};
use std::fmt;
use std::sync::Arc;

/// How many messages of sources may wait for the controller; a source that is faster waits.
pub const QUEUE: usize = 16;

/// One thing a source has to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Message {
    /// These files are new, different or gone. Everything in one message takes effect at once.
    Changes(Vec<Change>),
    /// How files stand that the configuration asked for. Everything in one message takes effect at once.
    Certificates(Vec<CertificateFile>),
    /// What the proxy's identity in the mesh is. Counts where
    /// [`CredentialSettings::identity`](crate::CredentialSettings::identity) says that it is told.
    Identity(Identity),
    /// What names that the configuration asked for stand for. Everything in one message takes effect at once.
    Names(Vec<ResolvedName>),
    /// Everything of the wish of this number has been told, or why it cannot be, and what was wanted before and is not any
    /// more is gone.
    Objects(u64),
    /// Everything that exists has been told once: what the first configuration waits for.
    Synced,
    /// Nothing of what exists can be told, and it was told why. The first configuration waits for [`Message::Sighted`] unless
    /// something is there, as it was remembered or from others: a proxy with nothing to serve must not take the place of
    /// one that serves.
    Blind,
    /// Who was blind has told what there is.
    Sighted,
    /// What was told before by whom this comes from is to be told of once it is judged.
    Mark(Mark),
}

/// Tells a source how far what it told has come.
#[derive(Clone)]
pub struct Mark(Arc<dyn Fn(u64) + Send + Sync>);

impl Mark {
    /// Calls this once everything that the same source told before is judged, with the number of the
    /// [newest publication](crate::Published::number): that one, and whichever comes later, is of what was told. It must
    /// not block.
    pub fn new(reached: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(reached))
    }

    /// Says that it is judged.
    pub fn reached(&self, number: u64) {
        (self.0)(number);
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark")
    }
}

impl PartialEq for Mark {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Mark {}

/// One file (or one object of an API server) as it stands now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its name, as the user would write it. Diagnostics repeat it.
    pub file: Arc<str>,
    /// What is in it.
    pub content: Content,
}

/// What is in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// Its text, whole.
    Text(Arc<str>),
    /// It is there, or should be, but could not be read; the objects last seen in it stay. It may be a
    /// folder, of whose files the same is true.
    Unreadable(String),
    /// It is not there any more, and neither are its objects.
    Gone,
}
