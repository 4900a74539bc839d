//! Steady traffic in the background, every answer checked.

use crate::client::{Connection, Request, Response};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// Failures described in a report; the rest is counted.
const SHOWN_FAILURES: usize = 10;

/// Keep-alive connections that send one request after the other.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<LoadReport>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Answers that were right.
    pub served: usize,
    /// Requests that had no answer, or a wrong one.
    pub failed: usize,
    /// Connections that an answer said would close, and that were opened anew.
    pub reopened: usize,
    /// Some of the failures in words.
    pub failures: Vec<String>,
}

impl Load {
    /// Starts as many connections; an answer is right when `is_right` says so.
    pub fn start<F>(port: u16, connections: usize, request: &Request, is_right: F) -> Self
    where
        F: Fn(&Response) -> bool + Send + Sync + 'static,
    {
        let dial = move || Connection::try_open(port);
        Self::dialling(dial, connections, request, is_right)
    }

    /// As [`Load::start`], each connection opened by `dial`.
    pub fn dialling<S, D, F>(dial: D, connections: usize, request: &Request, is_right: F) -> Self
    where
        S: Read + Write + 'static,
        D: Fn() -> io::Result<Connection<S>> + Send + Sync + 'static,
        F: Fn(&Response) -> bool + Send + Sync + 'static,
    {
        let dial = Arc::new(dial);
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let is_right: Arc<dyn Fn(&Response) -> bool + Send + Sync> = Arc::new(is_right);
        let workers = (0..connections).map(|_| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let (request, is_right) = (request.clone(), Arc::clone(&is_right));
            let dial = Arc::clone(&dial);
            std::thread::spawn(move || {
                work(dial.as_ref(), &stop, &served, &request, is_right.as_ref())
            })
        });
        Self {
            workers: workers.collect(),
            stop,
            served,
        }
    }

    /// Right answers so far.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Lets the requests in flight finish, and reports.
    ///
    /// # Panics
    ///
    /// When a connection's thread did.
    pub fn stop(self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = LoadReport::default();
        for worker in self.workers {
            total.add(worker.join().expect("the thread of a connection"));
        }
        total
    }
}

impl LoadReport {
    fn add(&mut self, other: Self) {
        self.served += other.served;
        self.failed += other.failed;
        self.reopened += other.reopened;
        self.failures.extend(other.failures);
        self.failures.truncate(SHOWN_FAILURES);
    }

    fn fail(&mut self, what: String) {
        self.failed += 1;
        if self.failures.len() < SHOWN_FAILURES {
            self.failures.push(what);
        }
    }
}

fn work<S: Read + Write>(
    dial: &dyn Fn() -> io::Result<Connection<S>>,
    stop: &AtomicBool,
    served: &AtomicUsize,
    request: &Request,
    is_right: &dyn Fn(&Response) -> bool,
) -> LoadReport {
    let mut report = LoadReport::default();
    let mut open = None;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = match open.take().map_or_else(dial, Ok) {
            Ok(connection) => connection,
            Err(error) => {
                report.fail(format!("connecting: {error}"));
                continue;
            }
        };
        match connection.send(request) {
            Ok(response) if is_right(&response) => {
                report.served += 1;
                served.fetch_add(1, Ordering::Relaxed);
                if response.header("connection") == Some("close") {
                    report.reopened += 1;
                } else {
                    open = Some(connection);
                }
            }
            Ok(response) => {
                report.fail(format!("{} {:?}", response.status, response.text()));
            }
            Err(error) => report.fail(format!("request {}: {error}", report.served)),
        }
    }
    report
}
