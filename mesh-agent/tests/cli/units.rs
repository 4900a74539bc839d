//! The units of systemd for machines that are workloads by themselves.

use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd");
const BINARY: &str = env!("CARGO_BIN_EXE_mesh-agent");

/// The units as they are installed, but for where the binary is.
fn install(to: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(UNITS).expect("the folder of units") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a unit");
        if name.ends_with(".service") && text.contains("/usr/bin/mesh-agent") {
            fs::write(to.join(&name), text.replace("/usr/bin/mesh-agent", BINARY)).expect("a copy");
            names.push(name);
        }
    }
    names
}

#[test]
fn systemd_understands_every_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = install(folder.path());
    assert_eq!(names.len(), 2, "{names:?}");
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=one"])
        .args(&names)
        .current_dir(folder.path())
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output()
        .expect("systemd-analyze of the package systemd");
    let told = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && told.is_empty(), "{told}");
}

/// What it is allowed is little enough for whoever asks systemd.
#[test]
fn the_sidecar_is_allowed_little() {
    let folder = tempfile::tempdir().expect("a folder");
    install(folder.path());
    let asked = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg("tidegate-mesh-agent.service")
        .current_dir(folder.path())
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output()
        .expect("systemd-analyze of the package systemd");
    let told = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{told}");
}
