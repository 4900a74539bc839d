//! The access log: one line for each request, in Istio's default format or as JSON.
//!
//! A line is formatted on the thread that served the request and handed over to one writer thread;
//! a request never waits for the file. What the writer cannot keep up with is dropped and counted.
//!
//! # Text
//!
//! Istio's default line, followed by two fields of Tidegate: the reason code, and in quotes the
//! object that caused the answer with its place, `-` where there is none:
//!
//! ```text
//! [2026-01-02T03:04:05.678Z] "GET /cart HTTP/1.1" 404 NR route_not_found … - no_route "VirtualService shop/cart (shop.yaml:3:1)"
//! ```
//!
//! A line cannot be forged: in quoted fields, quotes, backslashes and everything that is not printable
//! are written as `\xNN`; in unquoted fields, spaces too.
//!
//! # JSON
//!
//! One object a line with Istio's keys, `null` for what is absent, then `reason` and `origin`.

mod clock;
mod escape;
mod flags;
mod json;
mod record;
mod text;
mod writer;

pub use flags::ResponseFlags;
pub use record::{AccessRecord, Address};

use prometheus::IntCounter;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::time::Duration;
use writer::{Sink, Writer};

/// How a line of the access log is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// Istio's default text format.
    #[default]
    Text,
    /// A JSON object with Istio's keys.
    Json,
}

/// How long [`AccessLog`] waits for the last lines to be written when it is dropped.
const FLUSH_ON_DROP: Duration = Duration::from_secs(1);

/// A thread's line buffer is given back when one line made it grow beyond this many bytes.
const LINE_KEPT: usize = 8 << 10;

/// Where the lines of the access log go. Shared by all threads; dropping it writes what is left.
pub struct AccessLog {
    format: Format,
    writer: Option<Writer>,
}

impl AccessLog {
    /// Opens the file for appending, or the process's own `/dev/stdout` or `/dev/stderr`, and starts
    /// the writer thread. `dropped` counts the lines that could not be written.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or no thread can be started.
    pub fn open(path: &Path, format: Format, dropped: IntCounter) -> io::Result<Self> {
        let writer = Writer::start(Sink::open(path)?, dropped)?;
        Ok(Self {
            format,
            writer: Some(writer),
        })
    }

    /// A log that is switched off: [`log`](Self::log) does nothing.
    pub fn off() -> Self {
        Self {
            format: Format::Text,
            writer: None,
        }
    }

    /// Whether lines go anywhere, so that nobody collects values in vain.
    pub fn is_on(&self) -> bool {
        self.writer.is_some()
    }

    /// Writes one line, soon. Never blocks on the file; drops the line when the writer is too far behind.
    pub fn log(&self, record: &AccessRecord<'_>) {
        let Some(writer) = &self.writer else { return };
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        // Only a thread that is ending has none any more.
        let _ = LINE.try_with(|line| {
            let mut line = line.borrow_mut();
            line.clear();
            self.format.write(record, &mut line);
            writer.push(&line);
            line.shrink_to(LINE_KEPT);
        });
    }

    /// Closes the file and opens its path anew, after the lines that are waiting: for `logrotate` and SIGHUP.
    ///
    /// When it cannot be opened, the old file stays in use and the failure is logged.
    pub fn reopen(&self) {
        if let Some(writer) = &self.writer {
            writer.reopen();
        }
    }

    /// Waits until all lines logged before are written, at most this long. `false`: they are not yet.
    pub fn flush(&self, limit: Duration) -> bool {
        self.writer
            .as_ref()
            .is_none_or(|writer| writer.flush(limit))
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close(FLUSH_ON_DROP);
        }
    }
}

impl Format {
    /// Appends the record's line, with its newline.
    pub fn write(self, record: &AccessRecord<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Text => text::write(record, out),
            Self::Json => json::write(record, out),
        }
    }
}

#[cfg(test)]
mod tests;
