//! What developers download: packages and repositories, as files for a server that knows nothing of either.

use crate::programs::{Ran, finish_with};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Puts version 1.0 of a Python package into a folder, as an index for `pip` that is found at `/simple/` there. Its
/// module says `HELLO = "hello"`.
///
/// # Panics
///
/// When the folder cannot be written.
pub fn put_package(folder: &Path, name: &str) {
    let shelf = folder.join("simple").join(name);
    let wheel = format!("{name}-1.0-py3-none-any.whl");
    fs::create_dir_all(&shelf).expect("the folder can be made");
    let page =
        format!("<!DOCTYPE html><html><body><a href=\"{wheel}\">{wheel}</a></body></html>\n");
    fs::write(shelf.join("index.html"), page).expect("the folder can be written");
    let sources = tempfile::tempdir().expect("a temporary folder");
    let parts = write_sources(sources.path(), name);
    let mut zip = Command::new("python3");
    zip.args(["-m", "zipfile", "-c"])
        .arg(shelf.join(wheel))
        .args(parts)
        .current_dir(sources.path());
    finish(&mut zip);
}

/// The two folders of a wheel.
fn write_sources(folder: &Path, name: &str) -> [String; 2] {
    let about = format!("{name}-1.0.dist-info");
    let files = [
        (
            format!("{name}/__init__.py"),
            "HELLO = \"hello\"\n".to_owned(),
        ),
        (
            format!("{about}/METADATA"),
            format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"),
        ),
        (
            format!("{about}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: e2e\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
                .to_owned(),
        ),
    ];
    let mut record = format!("{about}/RECORD,,\n");
    for folder in [name, &about].map(|part| folder.join(part)) {
        fs::create_dir(folder).expect("the folder can be made");
    }
    for (path, content) in &files {
        let _ = writeln!(record, "{path},,");
        fs::write(folder.join(path), content).expect("the folder can be written");
    }
    let path = folder.join(&about).join("RECORD");
    fs::write(path, record).expect("the folder can be written");
    [name.to_owned(), about]
}

/// Puts a Git repository into a folder, as files that `git` can clone from there. Its one commit has the file `README`
/// which says `hello`.
///
/// # Panics
///
/// When the folder cannot be written.
pub fn put_repository(folder: &Path, name: &str) {
    let sources = tempfile::tempdir().expect("a temporary folder");
    let repository = folder.join(name);
    fs::write(sources.path().join("README"), "hello\n").expect("the folder can be written");
    let git = |arguments: &[&str]| finish(&mut git(sources.path(), arguments));
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "README"]);
    git(&["commit", "--quiet", "--message=first"]);
    let to = repository.to_str().expect("a path of UTF-8");
    git(&["clone", "--quiet", "--bare", ".", to]);
    git(&["--git-dir", to, "update-server-info"]);
}

/// `git` as it comes, without the user's or the machine's settings.
fn git(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=e2e", "-c", "user.email=e2e@shop.test"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

#[track_caller]
fn finish(command: &mut Command) -> Ran {
    let ran = finish_with(command, &[]);
    assert!(ran.code == 0, "{command:?}: {}", ran.stderr);
    ran
}
