//! The real httpbin, as its authors ship it.

use crate::namespace::Namespace;
use crate::port::Port;
use crate::programs::peers;
use crate::{PATIENCE, poll_for};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// httpbin under gunicorn, on loopback unless said otherwise.
#[derive(Debug)]
pub struct Httpbin {
    port: Port,
    /// Where it is, unless that is where the test is.
    namespace: Option<Namespace>,
    process: Child,
}

impl Httpbin {
    /// Starts it and waits until it accepts connections.
    ///
    /// # Panics
    ///
    /// When it is not installed (`tests/run` does that) or does not come up.
    #[track_caller]
    pub fn start() -> Self {
        Self::launch(Port::reserve(), None)
    }

    /// As [`Httpbin::start`] on another machine, at all of its addresses.
    ///
    /// # Panics
    ///
    /// As there.
    #[track_caller]
    pub fn start_in(namespace: &Namespace, port: u16) -> Self {
        Self::launch(Port::unreserved(port), Some(namespace.clone()))
    }

    #[track_caller]
    fn launch(port: Port, namespace: Option<Namespace>) -> Self {
        let process = spawn(&port, namespace.as_ref());
        let httpbin = Self {
            port,
            namespace,
            process,
        };
        httpbin.wait_until_up();
        httpbin
    }

    /// Starts it once more, where it was before it was stopped.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process = spawn(&self.port, self.namespace.as_ref());
        self.wait_until_up();
    }

    /// Ends it, politely, so that the workers go with it.
    pub fn stop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let gone = poll_for(Duration::from_secs(5), || {
            self.process.try_wait().ok().flatten()
        });
        if gone.is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    #[track_caller]
    fn wait_until_up(&self) {
        let address = (Ipv4Addr::LOCALHOST, self.port());
        let up = poll_for(PATIENCE * 2, || match &self.namespace {
            Some(namespace) => namespace.enter(|| TcpStream::connect(address)).ok(),
            None => TcpStream::connect(address).ok(),
        });
        assert!(up.is_some(), "httpbin did not come up");
    }
}

impl Drop for Httpbin {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

#[track_caller]
fn spawn(port: &Port, namespace: Option<&Namespace>) -> Child {
    let gunicorn = peers().join("bin/gunicorn");
    assert!(
        gunicorn.is_file(),
        "{} is missing: `tests/run` installs it",
        gunicorn.display()
    );
    let (mut command, address) = match namespace {
        Some(namespace) => (namespace.command(gunicorn), "0.0.0.0"),
        None => (Command::new(gunicorn), "127.0.0.1"),
    };
    command
        .args(["--bind", &format!("{address}:{}", port.number())])
        .args(["--worker-class", "gthread", "--threads", "4"])
        .args(["--keep-alive", "60", "--log-level", "error"])
        .arg("httpbin:app")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("gunicorn starts")
}
