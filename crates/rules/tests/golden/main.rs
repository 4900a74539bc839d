//! Golden cases: resources as a user writes them in `testdata`, then requests and what becomes of them.
//!
//! A `_calls` document lists requests; fields left out of `want` are not compared. A `_problem` line in a resource
//! announces a diagnostic of it, as its code, or its code and path; every diagnostic must be announced.
//! A `_proxy` document changes whom is compiled for.

#![expect(
    clippy::unwrap_used,
    reason = "a case that cannot be read must stop the test"
)]

mod case;
mod file;
mod outcome;

use file::GoldenFile;
use std::path::{Path, PathBuf};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the crate reads no files, its cases do"
)]
fn every_golden_file_behaves_as_it_says() {
    let mut failures = Vec::new();
    let files = golden_files();
    assert!(files.len() > 10, "the cases are gone");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let failed = GoldenFile::read(&name, &text).failures();
        failures.extend(
            failed
                .into_iter()
                .map(|failure| format!("{name}: {failure}")),
        );
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .collect();
    files.sort();
    files
}
