//! Watches YAML and JSON files and folders, and pushes what changed.
//!
//! Folders are watched rather than files, because editors, `kubectl` and the kubelet replace files by
//! renaming. An event is only a hint: what counts is what the file holds when it is read again, so a
//! missed event costs time until the next rescan and nothing else. This crate does not parse what it
//! reads and knows nothing of routing.

mod inbox;
mod read;
mod source;
mod walk;
mod watches;

pub use read::MAX_FILE_BYTES;
pub use source::{FileSource, Options, Watching, read_once};

#[cfg(test)]
mod tests;
