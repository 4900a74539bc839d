//! The command: files in, one text out.

use crate::args::InjectArgs;
use crate::finding::Finding;
use crate::inject::inject;
use crate::options::InjectOptions;
use model::Limits;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum InjectFailure {
    /// The file of `--config` cannot be read.
    #[error("cannot read the options {}", file.display())]
    ReadOptions {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file of `--config` has something wrong in it.
    #[error("options {}: {why}", file.display())]
    Options {
        /// The file.
        file: PathBuf,
        /// What, and where.
        why: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is no text.
    #[error("{file}: is not UTF-8 from byte {at} on")]
    NotText {
        /// The file.
        file: Arc<str>,
        /// The first byte that is not.
        at: usize,
    },
    /// The result cannot be written.
    #[error("cannot write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The standard streams cannot be used.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// Something is wrong in the files. It was told on the standard error stream.
    #[error("nothing was written because of {0}")]
    Refused(Refused),
}

/// The findings that nothing was written because of.
#[derive(Debug)]
pub struct Refused(pub Vec<Finding>);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.iter().filter(|finding| finding.is_error()).count() {
            1 => f.write_str("an error"),
            count => write!(f, "{count} errors"),
        }
    }
}

/// The name of the standard streams.
const DASH: &str = "-";

impl InjectArgs {
    /// Reads the files, writes them with sidecars, and tells on `stderr` what there is to know: warnings, errors, and
    /// workloads that got no sidecar.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written, or something is wrong in one; then nothing is written.
    pub fn run(
        &self,
        stdin: &mut dyn Read,
        stdout: &mut dyn Write,
        stderr: &mut dyn Write,
    ) -> Result<(), InjectFailure> {
        let options = self.options()?;
        let mut out = String::new();
        let mut refused = Vec::new();
        for path in &self.filenames {
            let (file, text) = read(path, stdin)?;
            match inject(&file, &text, &options) {
                Ok(injected) => {
                    for finding in &injected.warnings {
                        writeln!(stderr, "{finding}")?;
                    }
                    for workload in &injected.workloads {
                        if let Some(why) = &workload.skipped {
                            writeln!(stderr, "{file}: {} gets no sidecar: {why}", workload.object)?;
                        }
                    }
                    append(&mut out, &injected.text);
                }
                Err(findings) => {
                    for finding in &findings {
                        writeln!(stderr, "{finding}")?;
                    }
                    refused.extend(findings);
                }
            }
        }
        if !refused.is_empty() {
            return Err(InjectFailure::Refused(Refused(refused)));
        }
        self.write(&out, stdout)
    }

    /// The options of the file, with flags over them.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has something wrong in it.
    pub fn options(&self) -> Result<InjectOptions, InjectFailure> {
        let Some(file) = &self.config else {
            return Ok(self.over(InjectOptions::default()));
        };
        let text = std::fs::read_to_string(file).map_err(|source| InjectFailure::ReadOptions {
            file: file.clone(),
            source,
        })?;
        let options = toml::from_str(&text).map_err(|error| InjectFailure::Options {
            file: file.clone(),
            why: error.to_string(),
        })?;
        Ok(self.over(options))
    }

    fn write(&self, text: &str, stdout: &mut dyn Write) -> Result<(), InjectFailure> {
        match self
            .output
            .as_deref()
            .filter(|path| *path != Path::new(DASH))
        {
            Some(file) => std::fs::write(file, text).map_err(|source| InjectFailure::Write {
                file: file.to_owned(),
                source,
            }),
            None => {
                stdout.write_all(text.as_bytes())?;
                Ok(stdout.flush()?)
            }
        }
    }
}

fn read(path: &Path, stdin: &mut dyn Read) -> Result<(Arc<str>, String), InjectFailure> {
    let limit = Limits::default().file_bytes as u64;
    let mut bytes = Vec::new();
    // One more than there may be, so that it is told that there are too many.
    let read = if path == Path::new(DASH) {
        stdin.take(limit + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
    };
    read.map_err(|source| InjectFailure::Read {
        file: path.to_owned(),
        source,
    })?;
    let name = if path == Path::new(DASH) {
        "<stdin>".into()
    } else {
        path.to_string_lossy()
    };
    let file = Arc::from(&*name);
    match String::from_utf8(bytes) {
        Ok(text) => Ok((file, text)),
        Err(error) => Err(InjectFailure::NotText {
            file,
            at: error.utf8_error().valid_up_to(),
        }),
    }
}

/// Puts a file behind others, as a document of its own.
fn append(out: &mut String, text: &str) {
    if !out.is_empty() {
        if !out.ends_with(['\n', '\r']) {
            out.push('\n');
        }
        if !text.trim_start_matches('\u{feff}').starts_with("---") {
            out.push_str("---\n");
        }
    }
    out.push_str(if out.is_empty() {
        text
    } else {
        text.trim_start_matches('\u{feff}')
    });
}
