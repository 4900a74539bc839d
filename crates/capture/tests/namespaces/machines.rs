//! Network namespaces: machines of a test's own, as far as the network is concerned.

use rustix::process::{Gid, Uid};
use rustix::thread::{
    LinkNameSpaceType, move_into_link_name_space, set_thread_res_gid, set_thread_res_uid,
};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// What the names begin with; the id of the process that made it is next.
const PREFIX: &str = "tidegate-capture-";

/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";

/// Who does something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// An application, with all rights.
pub(crate) const APPLICATION: Who = Who { user: 0, group: 0 };

/// The agent, with its usual user.
pub(crate) const AGENT: Who = Who {
    user: 1337,
    group: 1337,
};

/// A machine, gone on drop.
#[derive(Debug)]
pub(crate) struct Machine(String);

impl Machine {
    #[track_caller]
    pub(crate) fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let machine = Self(format!("{PREFIX}{}-{number}-{role}", std::process::id()));
        // Of an earlier process with the same id.
        let _ = ip(&format!("netns delete {}", machine.0));
        if let Err(complaint) = ip(&format!("netns add {}", machine.0)) {
            panic!("namespaces need root and iproute2 (`tests/run` installs it): {complaint}");
        }
        machine.enter(|| {
            for device in ["all", "default"] {
                // Where it is on already, it may not be writable.
                let _ = fs::write(
                    format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"),
                    "0",
                );
            }
        });
        machine.ip("link set lo up");
        machine
    }

    /// Tells `ip` these commands in it, one a line.
    #[track_caller]
    pub(crate) fn ip(&self, commands: &str) {
        for command in commands
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            if let Err(complaint) = ip(&format!("-netns {} {command}", self.0)) {
                panic!("ip {command}: {complaint}");
            }
        }
    }

    /// A wire from a device of it to a device of another.
    #[track_caller]
    pub(crate) fn connect(&self, device: &str, other: &Self, other_device: &str) {
        let other = &other.0;
        self.ip(&format!(
            "link add {device} type veth peer name {other_device} netns {other}"
        ));
    }

    /// Does something in it, on a thread of its own. Sockets that are made there stay there.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.enter_as(APPLICATION, work)
    }

    /// As [`Machine::enter`], as somebody.
    pub(crate) fn enter_as<T: Send>(&self, who: Who, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.move_here();
                become_thread(who);
                work()
            });
            inside.join()
        });
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs a program in it with this input, and returns what it printed.
    #[track_caller]
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let result = self.enter(|| run(Command::new(program).args(arguments), input));
        result.unwrap_or_else(|complaint| panic!("{program} {arguments:?}: {complaint}"))
    }

    fn move_here(&self) {
        let place = File::open(Path::new(FOLDER).join(&self.0)).expect("the namespace is there");
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(place.as_fd(), network).expect("root can enter it");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(complaint) = ip(&format!("netns delete {}", self.0)) {
            eprintln!("a namespace may be left: {complaint}");
        }
    }
}

/// The thread does not come back from there.
fn become_thread(who: Who) {
    if who.user == 0 && who.group == 0 {
        return;
    }
    let (user, group) = (Uid::from_raw(who.user), Gid::from_raw(who.group));
    set_thread_res_gid(group, group, group).expect("root can be any group");
    set_thread_res_uid(user, user, user).expect("root can be anybody");
}

/// Deletes what tests left that could not do it themselves.
fn sweep() {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    for name in names.filter(|name| is_left(name)) {
        // Another test may be faster.
        let _ = ip(&format!("netns delete {name}"));
    }
}

/// Whether it is of a process that does not run any more.
fn is_left(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX);
    let owner = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists())
}

fn ip(command: &str) -> Result<String, String> {
    run(Command::new("ip").args(command.split_whitespace()), "")
}

fn run(command: &mut Command, input: &str) -> Result<String, String> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().expect("it is piped");
    // Who does not read has its reasons.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
