//! Cases in `testdata`, and what is done with them.

use inject::{Finding, InjectOptions, Injected, inject};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file to be injected, with the options beside it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) options: InjectOptions,
}

/// The cases of a folder below `testdata`.
pub(crate) fn cases(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(folder);
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_input = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        !name.contains(".want.") && (name.ends_with(".yaml") || name.ends_with(".json"))
    };
    let mut cases: Vec<Case> = entries.filter(is_input).map(case).collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(!cases.is_empty());
    cases
}

fn case(path: PathBuf) -> Case {
    let options = fs::read_to_string(path.with_extension("toml")).unwrap_or_default();
    Case {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(&path).unwrap(),
        options: toml::from_str(&options).unwrap(),
        path,
    }
}

impl Case {
    pub(crate) fn inject(&self) -> Result<Injected, Vec<Finding>> {
        inject(&Arc::from(self.name.as_str()), &self.text, &self.options)
    }
}

/// Compares with a golden file, or writes it where `UPDATE_GOLDENS` is set.
#[track_caller]
pub(crate) fn check_golden(path: &Path, got: &str) {
    if std::env::var_os("UPDATE_GOLDENS").is_some() {
        fs::write(path, got).unwrap();
        return;
    }
    let want = fs::read_to_string(path).unwrap_or_default();
    assert!(
        got == want,
        "{} is not what came out:\n{got}",
        path.display()
    );
}

/// Injects a text that has nothing wrong in it.
#[track_caller]
pub(crate) fn injected(text: &str, options: &InjectOptions) -> Injected {
    inject(&Arc::from("test.yaml"), text, options).unwrap_or_else(|findings| {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        panic!("{}\n{text}", lines.join("\n"))
    })
}

/// What is told about a text that is refused.
#[track_caller]
pub(crate) fn refused(text: &str, options: &InjectOptions) -> Vec<String> {
    let findings = inject(&Arc::from("test.yaml"), text, options).unwrap_err();
    findings.iter().map(ToString::to_string).collect()
}
