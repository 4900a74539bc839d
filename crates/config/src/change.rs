//! What sources say to the [`Controller`](crate::Controller).

use crate::{CertificateFile, Identity, ResolvedName};
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
}

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
