//! The unit of systemd for a machine that runs the gateway by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/systemd");
const UNIT: &str = "tidegate-gateway.service";

/// What systemd-analyze says of the unit as it is installed, but for where the binary is.
#[track_caller]
fn analyze(words: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(Path::new(UNITS).join(UNIT)).expect("the unit");
    let text = text.replace("/usr/bin/gateway", env!("CARGO_BIN_EXE_gateway"));
    fs::write(folder.path().join(UNIT), text).expect("a copy");
    let asked = Command::new("systemd-analyze")
        .args(words)
        .arg(UNIT)
        .current_dir(folder.path())
        .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()))
        .output()
        .expect("systemd-analyze of the package systemd");
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{said}{asked:?}");
    String::from_utf8_lossy(&asked.stderr).into_owned()
}

#[test]
fn systemd_understands_every_line() {
    let told = analyze(&["verify", "--man=no", "--recursive-errors=one"]);
    assert!(told.is_empty(), "{told}");
}

/// What it is allowed is little enough for whoever asks systemd: an exposure of 2.0 at most, out of 10.
#[test]
fn the_gateway_is_allowed_little() {
    analyze(&["security", "--offline=true", "--threshold=20"]);
}
