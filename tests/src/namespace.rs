//! Network namespaces: machines of a test's own, as far as the network is concerned.

use crate::programs::{Ran, finish_with, try_finish_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Where `ip netns` keeps them.
const FOLDER: &str = "/run/netns";

/// What the names of ours begin with; the id of the process that made it is next.
const PREFIX: &str = "tidegate-e2e-";

/// No program of a test takes this many seconds.
const PROGRAM_LIMIT: &str = "20";

/// A network namespace by its name, and the home of the programs that are run in it.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    home: PathBuf,
}

impl Namespace {
    /// Does something in it, on a thread of its own. Sockets that are made there stay there, and so do threads that are
    /// started from there, whoever uses them later.
    ///
    /// # Panics
    ///
    /// When `work` does, or the namespace is gone.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.move_here();
                work()
            });
            inside.join()
        });
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs a program in it to its end: `timeout` ends one that takes too long, with the exit code 124. It is in its
    /// home, and sees nothing of the user's settings.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn run(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Ran {
        self.feed(program, arguments, &[])
    }

    /// As [`Namespace::run`], with this input, which must fit into a pipe.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn feed(&self, program: impl AsRef<OsStr>, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command("timeout");
        command
            .args(["--kill-after=1", PROGRAM_LIMIT])
            .arg(program)
            .args(arguments)
            .current_dir(&self.home)
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("PIP_CONFIG_FILE", "/dev/null")
            .env("LC_ALL", "C.UTF-8");
        finish_with(&mut command, input)
    }

    /// The folder in which its programs are run.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Where it is as a file, as long as it is there.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Runs a program in it, which keeps the id of the process.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// A wire from a device of it to a device of another.
    #[track_caller]
    pub(crate) fn connect(&self, device: &str, other: &Self, other_device: &str) {
        let other = &other.name;
        self.ip(&format!(
            "link add {device} type veth peer name {other_device} netns {other}\n"
        ));
    }

    /// Tells `ip` these commands in it.
    #[track_caller]
    pub(crate) fn ip(&self, commands: &str) {
        ip(&["-netns", &self.name], commands);
    }

    /// Sets a switch of its kernel, such as `net/ipv4/ip_forward`.
    #[track_caller]
    pub(crate) fn switch(&self, name: &str, wanted: &str) {
        let path = Path::new("/proc/sys").join(name);
        self.enter(|| {
            let found = fs::read_to_string(&path).expect("a switch of the kernel");
            if found.trim() != wanted {
                fs::write(&path, wanted).expect("root can set it");
            }
        });
    }

    /// Has it speak IPv6.
    #[track_caller]
    pub(crate) fn with_ipv6(&self) {
        for device in ["all", "default"] {
            self.switch(&format!("net/ipv6/conf/{device}/disable_ipv6"), "0");
        }
    }

    fn move_here(&self) {
        let place = File::open(self.path()).expect("the namespace is there");
        let moved = move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network));
        moved.expect("root can enter it");
    }
}

/// Some namespaces, deleted on drop.
#[derive(Debug)]
pub(crate) struct Lease<const COUNT: usize> {
    pub(crate) namespaces: [Namespace; COUNT],
}

impl<const COUNT: usize> Lease<COUNT> {
    /// Makes one for each of these roles, with a home below `folder`.
    ///
    /// # Panics
    ///
    /// When it cannot be done: root can do it, with iproute2.
    #[track_caller]
    pub(crate) fn new(roles: [&str; COUNT], folder: &Path) -> Self {
        sweep();
        let names = free_names(roles);
        let namespaces = std::array::from_fn(|index| Namespace {
            name: names[index].clone(),
            home: folder.join(roles[index]),
        });
        for Namespace { home, .. } in &namespaces {
            fs::create_dir(home).expect("the folder can be written");
        }
        let lease = Self { namespaces };
        ip(&[], &lease.each("netns add"));
        for namespace in &lease.namespaces {
            namespace.ip("link set lo up\n");
        }
        lease
    }

    fn each(&self, command: &str) -> String {
        let names = self.namespaces.iter().map(|namespace| &namespace.name);
        names.map(|name| format!("{command} {name}\n")).collect()
    }
}

impl<const COUNT: usize> Drop for Lease<COUNT> {
    fn drop(&mut self) {
        if let Err(complaint) = try_ip(&["-force"], &self.each("netns delete")) {
            eprintln!("namespaces may be left: {complaint}");
        }
    }
}

/// Deletes what tests left that could not do it themselves.
fn sweep() {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let left = names.filter(|name| is_left(name));
    let commands: String = left.map(|name| format!("netns delete {name}\n")).collect();
    if !commands.is_empty() {
        // Another test may be faster.
        let _ = try_ip(&["-force"], &commands);
    }
}

/// Whether a namespace is of a process that does not run any more.
fn is_left(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX);
    let owner = rest.and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
    owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists())
}

/// Names for these roles that nobody has: not even an earlier process that had the id of this one.
fn free_names<const COUNT: usize>(roles: [&str; COUNT]) -> [String; COUNT] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let own = std::process::id();
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = roles.map(|role| format!("{PREFIX}{own}-{number}-{role}"));
        if !names
            .iter()
            .any(|name| Path::new(FOLDER).join(name).exists())
        {
            return names;
        }
    }
}

#[track_caller]
fn ip(options: &[&str], commands: &str) {
    if let Err(complaint) = try_ip(options, commands) {
        panic!(
            "tests with network namespaces need root and iproute2 (`tests/run` installs it): \
             {complaint}in {commands}"
        );
    }
}

/// Tells `ip` these commands, one a line; the error is what it complains.
fn try_ip(options: &[&str], commands: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    let command = command.args(options).args(["-batch", "-"]);
    match try_finish_with(command, commands.as_bytes()) {
        Ok(ran) if ran.code == 0 => Ok(()),
        Ok(ran) => Err(ran.stderr),
        Err(error) => Err(format!("`ip` cannot be started: {error}\n")),
    }
}
