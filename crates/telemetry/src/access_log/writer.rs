//! The thread that writes the access log.
//!
//! Lines are gathered in one buffer of bounded size. Only the line that finds it empty wakes the
//! thread, which then lets more arrive for a moment: a busy gateway pays one wake-up for hundreds
//! of lines, an idle one none at all.

use prometheus::IntCounter;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Bytes of lines that may wait for the file. Beyond them, lines are dropped.
const QUEUE_LIMIT: usize = 1 << 20;

/// Bytes that are worth writing without waiting for more.
const BATCH: usize = 64 << 10;

/// How long the first line of a batch waits for others.
const GATHER: Duration = Duration::from_millis(10);

/// Lines on their way to a [`Sink`].
pub(super) struct Writer {
    shared: Arc<Shared>,
    dropped: IntCounter,
    thread: JoinHandle<()>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something for the thread to do.
    wake: Condvar,
    /// Something was written.
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    /// A batch is with the thread, not yet in the file.
    writing: bool,
    reopen: bool,
    /// Somebody waits for the lines: no gathering.
    hurry: bool,
    closed: bool,
}

impl Writer {
    pub(super) fn start(sink: Sink, dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            written: Condvar::new(),
        });
        let worker = Worker {
            shared: shared.clone(),
            sink,
            dropped: dropped.clone(),
            failing: false,
        };
        let thread = thread::Builder::new()
            .name("access-log".into())
            .spawn(move || worker.run())?;
        Ok(Self {
            shared,
            dropped,
            thread,
        })
    }

    /// Adds a line, or drops it when too many wait.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.shared.lock();
        let waiting = queue.bytes.len();
        if waiting + line.len() > QUEUE_LIMIT || queue.closed {
            drop(queue);
            self.dropped.inc();
            return;
        }
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        let filled = waiting < BATCH && waiting + line.len() >= BATCH;
        drop(queue);
        if waiting == 0 || filled {
            self.shared.wake.notify_one();
        }
    }

    pub(super) fn reopen(&self) {
        self.shared.lock().reopen = true;
        self.shared.wake.notify_one();
    }

    /// Waits until the queue is empty and written; `false` when it takes too long.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let mut queue = self.shared.lock();
        queue.hurry = true;
        self.shared.wake.notify_one();
        let waited = self
            .shared
            .written
            .wait_timeout_while(queue, limit, |queue| !queue.is_written());
        let (queue, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(queue);
        !timeout.timed_out()
    }

    /// Writes what waits and ends the thread. One that is stuck in a write is left behind.
    pub(super) fn close(self, limit: Duration) {
        self.shared.lock().closed = true;
        if self.flush(limit) {
            // A panic of the thread has been printed already.
            let _ = self.thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn is_written(&self) -> bool {
        self.bytes.is_empty() && !self.writing && !self.reopen
    }

    fn is_idle(&self) -> bool {
        self.bytes.is_empty() && !self.reopen && !self.closed
    }

    fn may_gather(&self) -> bool {
        self.bytes.len() < BATCH && !self.hurry && !self.closed && !self.reopen
    }
}

/// What one turn of the thread has to do.
struct Turn {
    lines: u64,
    reopen: bool,
    closed: bool,
}

struct Worker {
    shared: Arc<Shared>,
    sink: Sink,
    dropped: IntCounter,
    /// The last write failed: said once, until one works again.
    failing: bool,
}

impl Worker {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let turn = self.take(&mut batch);
            self.write(&batch, turn.lines);
            if turn.reopen {
                self.sink.reopen();
            }
            batch.clear();
            batch.shrink_to(BATCH);
            self.finish();
            if turn.closed {
                return;
            }
        }
    }

    /// Sleeps until there is something to do, then exchanges the empty `batch` for the waiting lines.
    fn take(&self, batch: &mut Vec<u8>) -> Turn {
        let queue = self
            .shared
            .wake
            .wait_while(self.shared.lock(), |queue| queue.is_idle());
        let queue = queue.unwrap_or_else(PoisonError::into_inner);
        let gathered = self
            .shared
            .wake
            .wait_timeout_while(queue, GATHER, |queue| queue.may_gather());
        let (mut queue, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.bytes, batch);
        let turn = Turn {
            lines: queue.lines,
            reopen: queue.reopen,
            closed: queue.closed,
        };
        queue.lines = 0;
        queue.reopen = false;
        queue.writing = true;
        turn
    }

    fn write(&mut self, batch: &[u8], lines: u64) {
        let result = self.sink.file.write_all(batch);
        let Err(error) = result else {
            self.failing = false;
            return;
        };
        self.dropped.inc_by(lines);
        if !self.failing {
            tracing::error!(path = %self.sink.path.display(), %error, "the access log cannot be written");
        }
        self.failing = true;
    }

    fn finish(&self) {
        let mut queue = self.shared.lock();
        queue.writing = false;
        if queue.is_written() {
            queue.hurry = false;
        }
        drop(queue);
        self.shared.written.notify_all();
    }
}

/// The file that lines go to.
pub(super) struct Sink {
    path: PathBuf,
    file: File,
}

impl Sink {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open_file(path)?,
        })
    }

    fn reopen(&mut self) {
        match open_file(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => {
                let path = self.path.display();
                tracing::error!(%path, %error, "the access log cannot be opened anew, the old file stays in use");
            }
        }
    }
}

/// Opening `/dev/stdout` by its path fails where it is a socket, as under systemd: it is duplicated.
fn open_file(path: &Path) -> io::Result<File> {
    let standard = match path.to_str() {
        Some("/dev/stdout") => Some(io::stdout().as_fd().try_clone_to_owned()?),
        Some("/dev/stderr") => Some(io::stderr().as_fd().try_clone_to_owned()?),
        _ => None,
    };
    match standard {
        Some(fd) => Ok(File::from(fd)),
        None => OpenOptions::new().append(true).create(true).open(path),
    }
}
