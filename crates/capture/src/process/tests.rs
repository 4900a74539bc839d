use super::{ToolFailure, Toolbox};
use crate::test_tools::put;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use tempfile::TempDir;

const SOON: Duration = Duration::from_millis(200);
const LATE: Duration = Duration::from_secs(20);

fn toolbox(script: &str, limit: Duration) -> (TempDir, Toolbox) {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "tool", script);
    let toolbox = Toolbox::of(
        vec![folder.path().to_owned(), "/bin".into(), "/usr/bin".into()],
        limit,
    );
    (folder, toolbox)
}

#[test]
fn a_tool_gets_its_input_and_gives_its_output() {
    let (_folder, toolbox) = toolbox("echo \"$@ $LC_ALL\"; cat", LATE);
    let input = "x".repeat(1 << 20);
    let output = toolbox
        .find("tool")
        .unwrap()
        .run(&["-a", "b"], &input)
        .unwrap();
    assert_eq!(output, format!("-a b C\n{input}"));
    assert!(toolbox.find("no-tool").is_none());
}

#[test]
fn a_complaint_is_told_with_what_to_do() {
    let (_folder, toolbox) = toolbox(
        "echo 'Permission denied (you must be root)' >&2; exit 4",
        LATE,
    );
    let error = toolbox
        .find("tool")
        .unwrap()
        .run(&["--noflush"], "")
        .unwrap_err();
    let told = error.to_string();
    let want = "`tool --noflush` failed (exit status: 4): Permission denied (you must be root); rules need root";
    assert!(told.starts_with(want), "{told}");
}

#[test]
fn a_tool_that_does_not_read_its_input_is_heard_all_the_same() {
    let (_folder, toolbox) = toolbox("exec 0<&-; echo no >&2; exit 1", LATE);
    let error = toolbox
        .find("tool")
        .unwrap()
        .run(&[], &"x".repeat(1 << 20))
        .unwrap_err();
    assert_eq!(error.to_string(), "`tool` failed (exit status: 1): no");
}

#[test]
fn a_tool_that_does_not_end_is_ended() {
    let (_folder, toolbox) = toolbox("exec sleep 60", SOON);
    let error = toolbox.find("tool").unwrap().run(&[], "").unwrap_err();
    assert!(
        matches!(error.failure, ToolFailure::TimedOut(limit) if limit == SOON),
        "{error}"
    );
}

#[test]
fn output_and_complaints_have_bounds() {
    let (_folder, toolbox) = toolbox("head -c 40000000 /dev/zero", LATE);
    let error = toolbox.find("tool").unwrap().run(&[], "").unwrap_err();
    assert_eq!(error.to_string(), "`tool` printed more than 32 MiB");

    let (_folder, toolbox) =
        self::toolbox("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", LATE);
    let error = toolbox.find("tool").unwrap().run(&[], "").unwrap_err();
    let ToolFailure::Ended { complaint, .. } = error.failure else {
        panic!("{error}")
    };
    assert_eq!(complaint.len(), 4096);
}

#[test]
fn what_is_no_program_is_told() {
    let (folder, toolbox) = toolbox("", LATE);
    fs::set_permissions(
        folder.path().join("tool"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let error = toolbox.find("tool").unwrap().run(&[], "").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tool` cannot be run: Permission denied (os error 13)"
    );
}
