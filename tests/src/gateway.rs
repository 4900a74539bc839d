//! The gateway, from outside: what it listens on.

use crate::client::{Connection, Request, Response};
use crate::daemon::{Daemon, Home};
use crate::namespace::Namespace;
use crate::poll::{PATIENCE, poll_for};
use crate::programs::gateway_binary;
use crate::setup::{BOOTSTRAP, Setup};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A running gateway, stopped on drop.
pub type Gateway = Daemon<Setup>;

impl Home for Setup {
    fn what(&self) -> String {
        "the gateway".to_owned()
    }

    fn folder(&self) -> &Path {
        self.folder()
    }

    fn namespace(&self) -> Option<&Namespace> {
        self.namespace()
    }

    fn command(&self) -> Command {
        let mut command = command(self);
        command
            .arg("run")
            .arg("--config")
            .arg(self.folder().join(BOOTSTRAP))
            .envs(self.in_environment().iter().cloned());
        command
    }
}

impl Gateway {
    /// Starts one with these files as its resources.
    ///
    /// # Panics
    ///
    /// When it does not get ready.
    #[track_caller]
    pub fn start(files: &[(&str, &str)]) -> Self {
        let setup = Setup::new();
        files
            .iter()
            .fold(setup, |setup, (name, text)| setup.file(name, text))
            .start()
    }

    /// Where port 80 of its Gateways is bound.
    pub fn http(&self) -> u16 {
        self.home.bound(80)
    }

    /// Where port 443 of its Gateways is bound.
    pub fn https(&self) -> u16 {
        self.home.bound(443)
    }

    /// Where a Gateway server's port is bound.
    pub fn bound(&self, number: u16) -> u16 {
        self.home.bound(number)
    }

    /// Its URL for a path, for programs that want one.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.home.address(), self.http())
    }

    /// The folder of its certificates.
    pub fn certificates(&self) -> PathBuf {
        self.home.certificates()
    }

    /// `GET`, on a connection of its own.
    ///
    /// # Panics
    ///
    /// When there is no whole response.
    #[track_caller]
    pub fn get(&self, host: &str, target: &str) -> Response {
        self.send(&Request::get(host, target))
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Panics
    ///
    /// When there is no whole response.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Response {
        match self.connect().send(request) {
            Ok(response) => response,
            Err(error) => panic!("{request:?}: {error}"),
        }
    }

    /// A connection to its port 80, from the machine it is on.
    ///
    /// # Panics
    ///
    /// When it does not accept.
    #[track_caller]
    pub fn connect(&self) -> Connection {
        let address = SocketAddr::new(self.home.address(), self.http());
        match self.open(address) {
            Ok(connection) => connection,
            Err(error) => panic!("connecting to {address}: {error}"),
        }
    }

    /// Waits until a request is answered with this status and body.
    ///
    /// # Panics
    ///
    /// When it is not within the harness' patience.
    #[track_caller]
    pub fn wait_for(&self, host: &str, target: &str, status: u16, body: &str) {
        let mut last = None;
        let seen = poll_for(PATIENCE, || {
            let response = self.connect().send(&Request::get(host, target)).ok()?;
            let found = response.status == status && response.text() == body;
            last = Some((response.status, response.text()));
            found.then_some(())
        });
        assert!(
            seen.is_some(),
            "{host}{target}: waited for {status} {body:?}, last {last:?}"
        );
    }
}

/// The gateway, which sees the folder's `etc` in place of the machine's if there is one.
fn command(setup: &Setup) -> Command {
    let start = |program: &OsStr| match setup.namespace() {
        Some(namespace) => namespace.command(program),
        None => Command::new(program),
    };
    let etc = setup.folder().join("etc");
    if !etc.is_dir() {
        return start(gateway_binary().as_os_str());
    }
    let mut command = start("unshare".as_ref());
    command
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg(r#"mount --bind "$0" /etc && exec "$@""#)
        .args([etc, gateway_binary()]);
    command
}
