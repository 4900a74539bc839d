//! Redis, as Debian ships it.

use crate::namespace::Namespace;
use crate::poll::{PATIENCE, poll_for};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Stdio};

/// The server is the same program as its checker, by another name. The checker comes without a service that starts.
const PROGRAM: &str = "/usr/bin/redis-check-rdb";

/// A Redis server on its usual port, at all addresses of a machine; killed on drop.
#[derive(Debug)]
pub struct Redis {
    process: Child,
}

impl Redis {
    /// Starts it and waits until it accepts connections.
    ///
    /// # Panics
    ///
    /// When it is not installed (`tests/run` does that) or does not come up.
    #[track_caller]
    pub fn start_in(machine: &Namespace) -> Self {
        assert!(
            Path::new(PROGRAM).is_file(),
            "{PROGRAM} is missing: `tests/run` installs it"
        );
        let server = machine.home().join("redis-server");
        symlink(PROGRAM, &server).expect("the home can be written");
        let process = machine
            .command(server)
            .args(["--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""])
            .current_dir(machine.home())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Redis starts");
        let redis = Self { process };
        let dial = || TcpStream::connect((Ipv4Addr::LOCALHOST, 6379)).ok();
        let up = poll_for(PATIENCE, || machine.enter(dial));
        assert!(up.is_some(), "Redis did not come up");
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
