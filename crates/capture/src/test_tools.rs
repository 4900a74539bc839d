//! Tools that are scripts, for tests.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Puts a script there. Another process writes it: a file that this one has open cannot be run, and a thread that
/// starts a program keeps it open for a moment.
pub(crate) fn put(folder: &Path, name: &str, script: &str) {
    let mut command = Command::new("sh");
    command
        .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
        .arg(folder.join(name));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("#!/bin/sh\n{script}\n").as_bytes())
        .unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}
