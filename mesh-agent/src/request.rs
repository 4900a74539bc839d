//! `mesh-agent request`.

use crate::args::RequestArgs;
use crate::client::Page;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How long the sidecar may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a page of the sidecar beside it, and prints the answer.
pub(crate) fn run(args: &RequestArgs) -> anyhow::Result<ExitCode> {
    let path = args.path.trim_start_matches('/');
    let url = format!("http://127.0.0.1:{}/{path}", args.debug_port);
    let answer = Page::of(&url)?.ask(&args.method, PATIENCE)?;
    std::io::stdout().lock().write_all(&answer.body)?;
    if !(200..300).contains(&answer.status) {
        anyhow::bail!("{url} answers {:?}", answer.line);
    }
    Ok(ExitCode::SUCCESS)
}
