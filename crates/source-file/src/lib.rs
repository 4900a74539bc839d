//! Watches YAML and JSON files and folders, and pushes what changed.
//!
//! Folders are watched rather than files, because editors, `kubectl` and the kubelet replace files by
//! renaming. An event is only a hint: what counts is what the file holds when it is read again, so a
//! missed event costs time until the next rescan and nothing else. This crate does not parse what it
//! reads and knows nothing of routing.
//!
//! Beside these it follows single files of certificates and keys that it is asked for by name
//! ([`FileSource::follow`]).

mod followed;
mod inbox;
mod read;
mod source;
mod trail;
mod walk;
mod watches;

pub use read::{MAX_CERTIFICATE_BYTES, MAX_FILE_BYTES, read_certificates};
pub use source::{FileSource, Follower, Options, Watching, read_once};

#[cfg(test)]
mod tests;
