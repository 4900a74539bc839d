//! Programs: the product's binary, and whatever a user would have at hand.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a program that ended left behind.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

/// Runs a program to its end.
///
/// # Panics
///
/// When it cannot be started.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> Ran {
    finish(Command::new(program).args(arguments))
}

/// Runs the gateway's binary to its end, in a folder.
///
/// # Panics
///
/// When it cannot be started.
#[track_caller]
pub fn run_gateway(folder: &Path, arguments: &[&str]) -> Ran {
    finish(
        Command::new(gateway_binary())
            .args(arguments)
            .current_dir(folder),
    )
}

#[track_caller]
fn finish(command: &mut Command) -> Ran {
    finish_with(command, &[])
}

/// Runs it to its end with this input, which must fit into a pipe.
#[track_caller]
pub(crate) fn finish_with(command: &mut Command, input: &[u8]) -> Ran {
    match try_finish_with(command, input) {
        Ok(ran) => ran,
        Err(error) => panic!("{command:?}: {error}"),
    }
}

/// As [`finish_with`], and says so when it cannot be started.
pub(crate) fn try_finish_with(command: &mut Command, input: &[u8]) -> io::Result<Ran> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read has its reasons.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// The binary under test: the one built beside this test, or `GATEWAY_BINARY`.
///
/// # Panics
///
/// When there is none: it belongs to another package, so Cargo does not build it for us.
pub fn gateway_binary() -> PathBuf {
    binary("gateway", "GATEWAY_BINARY")
}

/// The sidecar's: the one built beside this test, or `MESH_AGENT_BINARY`.
///
/// # Panics
///
/// As [`gateway_binary`].
pub fn mesh_agent_binary() -> PathBuf {
    binary("mesh-agent", "MESH_AGENT_BINARY")
}

fn binary(name: &str, variable: &str) -> PathBuf {
    let path = env::var_os(variable).map_or_else(|| build_folder().join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build -p {name}` first, or `tests/run`, which does",
        path.display()
    );
    path
}

/// The Python environment that `tests/run` makes, or the one in `PEERS_VENV`.
pub fn peers() -> PathBuf {
    env::var_os("PEERS_VENV").map_or_else(
        || build_folder().with_file_name("peers").join("venv"),
        PathBuf::from,
    )
}

/// `target/debug`: this test lies in its `deps`.
fn build_folder() -> PathBuf {
    let test = env::current_exe().expect("the path of this test");
    let folder = test.parent().expect("a folder with the test in it");
    if folder.ends_with("deps") {
        folder.parent().expect("deps lies in a folder").to_owned()
    } else {
        folder.to_owned()
    }
}
