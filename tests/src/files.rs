//! Files that somebody watches.

use std::fs;
use std::path::Path;

/// Replaces a file of a folder as careful editors do: written beside the folder, then renamed.
///
/// # Panics
///
/// When it cannot be written.
pub(crate) fn replace(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let around = folder.parent().expect("a folder in a folder");
    let beside = around.join(format!("{name}.new"));
    fs::write(&beside, content).expect("the folder can be written");
    fs::rename(&beside, folder.join(name)).expect("the file can be renamed");
}
