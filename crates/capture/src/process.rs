//! The tools of the machine: found, run to their end within bounds, and their complaints told.

#[cfg(test)]
mod tests;

use crate::hint::Cause;
use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Where tools of the administrator are, also when the user's path does not name the folders.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// More than a tool waits for a lock.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A tool that prints more is ended: the tables of a busy machine are a tenth of it.
const MAX_OUTPUT: u64 = 32 << 20;

/// More of a complaint is not told.
const MAX_COMPLAINT: u64 = 4 << 10;

/// Where tools are looked for, and how long they may take.
#[derive(Clone, Debug)]
pub(crate) struct Toolbox {
    folders: Vec<PathBuf>,
    time_limit: Duration,
}

impl Toolbox {
    /// The machine's.
    pub(crate) fn of_machine() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let system = SYSTEM_FOLDERS.iter().map(PathBuf::from);
        Self {
            folders: env::split_paths(&path).chain(system).collect(),
            time_limit: TIME_LIMIT,
        }
    }

    /// One with these folders alone.
    #[cfg(test)]
    pub(crate) fn of(folders: Vec<PathBuf>, time_limit: Duration) -> Self {
        Self {
            folders,
            time_limit,
        }
    }

    /// A tool, if it is there.
    pub(crate) fn find(&self, name: &str) -> Option<Tool> {
        let mut paths = self.folders.iter().map(|folder| folder.join(name));
        paths.find(|path| path.is_file()).map(|path| Tool {
            name: name.to_owned(),
            path,
            // Tools that call others find them as we do.
            search_path: env::join_paths(&self.folders).unwrap_or_default(),
            time_limit: self.time_limit,
        })
    }
}

/// One tool.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    name: String,
    path: PathBuf,
    search_path: OsString,
    time_limit: Duration,
}

impl Tool {
    /// Runs it to its end with this input, and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it cannot be started, complains by its exit code, prints too much or takes too long.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Result<String, ToolError> {
        let failed = |failure| ToolError {
            command: [&[self.name.as_str()], arguments].concat().join(" "),
            failure,
        };
        let mut child = self
            .start(arguments)
            .map_err(|error| failed(ToolFailure::Start(error)))?;
        let result = self.attend(&mut child, input.to_owned());
        if result.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        let status = child
            .wait()
            .map_err(|error| failed(ToolFailure::Start(error)))?;
        let (output, complaint) = result.map_err(failed)?;
        if status.success() {
            Ok(output)
        } else {
            Err(failed(ToolFailure::Ended {
                status: status.to_string(),
                complaint,
            }))
        }
    }

    fn start(&self, arguments: &[&str]) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("PATH", &self.search_path);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    /// What it printed and complained, as soon as it has closed both.
    fn attend(&self, child: &mut Child, input: String) -> Result<(String, String), ToolFailure> {
        if let Some(mut stdin) = child.stdin.take() {
            // A tool that does not read to the end says why.
            thread::spawn(move || stdin.write_all(input.as_bytes()));
        }
        let output = child.stdout.take().map(|pipe| listen(pipe, MAX_OUTPUT));
        let complaint = child.stderr.take().map(|pipe| listen(pipe, MAX_COMPLAINT));
        let deadline = Instant::now() + self.time_limit;
        let heard = |listener: Option<Receiver<Heard>>| {
            let left = deadline.saturating_duration_since(Instant::now());
            let heard = listener
                .map(|listener| listener.recv_timeout(left))
                .transpose();
            let heard = heard.map_err(|_| ToolFailure::TimedOut(self.time_limit));
            heard.map(Option::unwrap_or_default)
        };
        let (output, complaint) = (heard(output)?, heard(complaint)?);
        if output.is_cut {
            return Err(ToolFailure::TooMuch);
        }
        Ok((output.text, complaint.text))
    }
}

/// What came out of a pipe.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    /// Whether there was more than the limit.
    is_cut: bool,
}

/// Reads a pipe to its end on a thread, and keeps so much of it.
fn listen(pipe: impl Read + Send + 'static, limit: u64) -> Receiver<Heard> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut kept = pipe.take(limit);
        let _ = kept.read_to_end(&mut bytes);
        // The tool must not stand still because nobody reads on.
        let more = io::copy(&mut kept.into_inner(), &mut io::sink()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // Nobody waits any more once the time is over.
        let _ = sender.send(Heard {
            text,
            is_cut: more > 0,
        });
    });
    receiver
}

/// A tool that did not do what it should.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` {failure}")]
pub struct ToolError {
    /// How it was called.
    pub command: String,
    /// What happened.
    pub failure: ToolFailure,
}

impl ToolError {
    /// A table of which the tool says that it does not understand it.
    pub(crate) fn foreign(tool: &Tool, table: &str) -> Self {
        Self {
            command: tool.name.clone(),
            failure: ToolFailure::Foreign(table.to_owned()),
        }
    }

    /// What is behind it, as far as that can be told.
    pub(crate) fn cause(&self) -> Cause {
        match &self.failure {
            ToolFailure::Ended { complaint, .. } => Cause::of(complaint),
            ToolFailure::Foreign(_) => Cause::Foreign,
            _ => Cause::Unknown,
        }
    }
}

/// What happened to a tool.
#[derive(Debug, thiserror::Error)]
pub enum ToolFailure {
    /// It could not be started, or not be waited for.
    #[error("cannot be run: {0}")]
    Start(io::Error),
    /// It ended with an error.
    #[error("failed ({status}): {}{}", complaint.trim(), Cause::of(complaint).advice())]
    Ended {
        /// How it ended.
        status: String,
        /// What it said.
        complaint: String,
    },
    /// It did not end in time, and was ended.
    #[error("did not end within {} s and was ended", .0.as_secs())]
    TimedOut(Duration),
    /// It does not understand what is in this table, and so neither shows nor keeps it.
    #[error("does not understand table {0}{advice}", advice = Cause::Foreign.advice())]
    Foreign(String),
    /// It printed more than 32 MiB.
    #[error("printed more than {} MiB", MAX_OUTPUT >> 20)]
    TooMuch,
}
