//! What serves, from outside: its files, its process, its own pages.

use crate::client::{Connection, Request, Response};
use crate::files::replace;
use crate::namespace::Namespace;
use crate::poll::{PATIENCE, poll_for};
use crate::port::Port;
use crate::scrape::Samples;
use crate::setup::Ports;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How much of the log a failing test shows.
const SHOWN_LOG: usize = 8 * 1024;

/// What a program that serves is started with.
pub trait Home {
    /// What it is, for messages of failing tests.
    fn what(&self) -> String;

    /// The folder with its bootstrap file and its logs.
    fn folder(&self) -> &Path;

    /// The network namespace it is in, unless that is the test's own.
    fn namespace(&self) -> Option<&Namespace>;

    /// What starts it.
    fn command(&self) -> Command;
}

/// A running program, stopped on drop.
#[derive(Debug)]
pub struct Daemon<H: Home> {
    pub(crate) home: H,
    own: Ports,
    process: Child,
}

impl<H: Home> Daemon<H> {
    /// Starts one with what its folder holds, and waits until it is ready.
    #[track_caller]
    pub(crate) fn launch(home: H, own: Ports) -> Self {
        let process = spawn(&home);
        let mut daemon = Self { home, own, process };
        daemon.wait_until_ready();
        daemon
    }

    /// The folder of its own resources.
    pub fn resources(&self) -> PathBuf {
        self.folder().join("resources")
    }

    /// The folder of its bootstrap file.
    pub fn folder(&self) -> &Path {
        self.home.folder()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A connection from the machine it is on.
    pub(crate) fn open(&self, address: SocketAddr) -> io::Result<Connection> {
        match self.home.namespace() {
            Some(namespace) => namespace.enter(|| Connection::open_at(address)),
            None => Connection::open_at(address),
        }
    }

    /// A connection to one of the ports for its own pages.
    fn open_own(&self, port: &Port) -> io::Result<Connection> {
        self.open((Ipv4Addr::LOCALHOST, port.number()).into())
    }

    /// A page of its admin server.
    ///
    /// # Panics
    ///
    /// When there is no response.
    #[track_caller]
    pub fn admin(&self, method: &str, target: &str) -> Response {
        self.page(&self.own.admin, method, target)
    }

    /// A page of its admin server that is JSON.
    ///
    /// # Panics
    ///
    /// When it is not.
    #[track_caller]
    pub fn admin_json(&self, target: &str) -> Value {
        let page = self.admin("GET", target);
        match serde_json::from_slice(&page.body) {
            Ok(value) => value,
            Err(error) => panic!("{target}: {error} in {}", page.text()),
        }
    }

    /// A page of its status server.
    ///
    /// # Panics
    ///
    /// When there is no response.
    #[track_caller]
    pub fn status(&self, target: &str) -> Response {
        self.page(&self.own.status, "GET", target)
    }

    /// A page of its metrics server.
    ///
    /// # Panics
    ///
    /// When there is no response.
    #[track_caller]
    pub fn metrics_page(&self, target: &str) -> Response {
        self.page(&self.own.metrics, "GET", target)
    }

    /// Its metrics at this moment.
    ///
    /// # Panics
    ///
    /// When there are none.
    #[track_caller]
    pub fn metrics(&self) -> Samples {
        Samples::parse(&self.metrics_page("/stats/prometheus").text())
    }

    #[track_caller]
    fn page(&self, port: &Port, method: &str, target: &str) -> Response {
        let request = Request::new(method, "localhost", target).header("Connection", "close");
        let answer = self.open_own(port).and_then(|mut own| own.send(&request));
        match answer {
            Ok(response) => response,
            Err(error) => panic!("{method} {target} of its own pages: {error}"),
        }
    }

    /// Replaces one file of its resources as careful editors do: written beside, then renamed.
    ///
    /// # Panics
    ///
    /// When the folder cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        replace(&self.resources(), name, content);
    }

    /// Takes one file of its resources away.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.resources().join(name)).expect("the file is there");
    }

    /// The records of the access log so far, when it is JSON.
    pub fn access_log(&self) -> Vec<Value> {
        self.access_log_text()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The access log so far.
    pub fn access_log_text(&self) -> String {
        fs::read_to_string(self.folder().join("access.log")).unwrap_or_default()
    }

    /// Waits for the access-log record of a request's path, and returns the newest.
    ///
    /// # Panics
    ///
    /// When it does not come.
    #[track_caller]
    pub fn logged(&self, path: &str) -> Value {
        self.logged_with("path", path)
    }

    /// Waits for an access-log record with this text in a field, and returns the newest.
    ///
    /// # Panics
    ///
    /// When it does not come.
    #[track_caller]
    pub fn logged_with(&self, field: &str, text: &str) -> Value {
        let found = poll_for(PATIENCE, || {
            let records = self.access_log();
            records
                .into_iter()
                .rev()
                .find(|record| record[field] == text)
        });
        match found {
            Some(record) => record,
            None => panic!(
                "no access-log record with {field} {text}:\n{}",
                self.access_log_text()
            ),
        }
    }

    /// What it wrote to its standard output and error so far.
    pub fn log(&self) -> String {
        let mut text = fs::read_to_string(self.folder().join("stdout.log")).unwrap_or_default();
        text += &fs::read_to_string(self.folder().join("stderr.log")).unwrap_or_default();
        text
    }

    /// Waits until its log says all of this, in one line.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[track_caller]
    pub fn wait_for_log(&self, words: &[&str]) {
        let seen = poll_for(PATIENCE, || {
            let log = self.log();
            log.lines()
                .any(|line| words.iter().all(|word| line.contains(word)))
                .then_some(())
        });
        assert!(seen.is_some(), "no line of the log has {words:?}");
    }

    /// What its admin server tells about a cluster: by its name in the access log.
    ///
    /// # Panics
    ///
    /// When there is no such cluster.
    #[track_caller]
    pub fn cluster(&self, name: &str) -> Value {
        let page = self.admin_json("/clusters?format=json");
        let all = page["clusters"].as_array().cloned().unwrap_or_default();
        match all.into_iter().find(|cluster| cluster["name"] == name) {
            Some(cluster) => cluster,
            None => panic!("no cluster {name} in {page}"),
        }
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Waits for it to end by itself.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        poll_for(limit, || self.process.try_wait().ok().flatten())
    }

    /// Ends it as an operator does and starts it again with the same files.
    ///
    /// # Panics
    ///
    /// When it does not end or does not get ready again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.signal(Signal::TERM);
        let status = self.ended_within(PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        self.process = spawn(&self.home);
        self.wait_until_ready();
    }

    /// Resident memory in KiB.
    ///
    /// # Panics
    ///
    /// When it is gone.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse().ok())
            .expect("VmRSS in kB")
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let request = Request::get("localhost", "/healthz/ready");
        let ready = poll_for(PATIENCE * 2, || {
            if let Some(status) = self.process.try_wait().ok().flatten() {
                return Some(Err(status));
            }
            let mut own = self.open_own(&self.own.status).ok()?;
            let response = own.send(&request).ok()?;
            (response.status == 200).then_some(Ok(()))
        });
        match ready {
            Some(Ok(())) => {}
            Some(Err(status)) => panic!("{} ended: {status}\n{}", self.home.what(), self.log()),
            None => panic!("{} did not get ready\n{}", self.home.what(), self.log()),
        }
    }
}

impl<H: Home> Drop for Daemon<H> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(SHOWN_LOG);
            let tail = (tail..=log.len()).find(|at| log.is_char_boundary(*at));
            let what = self.home.what();
            eprintln!("--- the log of {what}\n{}", &log[tail.unwrap_or(0)..]);
            eprintln!("--- its access log\n{}", self.access_log_text());
        }
    }
}

fn spawn(home: &impl Home) -> Child {
    let append = |name| {
        File::options()
            .create(true)
            .append(true)
            .open(home.folder().join(name))
            .expect("the folder can be written")
    };
    let mut command = home.command();
    command
        .current_dir(home.folder())
        .stdin(Stdio::null())
        .stdout(append("stdout.log"))
        .stderr(append("stderr.log"));
    match command.spawn() {
        Ok(process) => process,
        Err(error) => panic!("{} cannot be started: {error}", home.what()),
    }
}
