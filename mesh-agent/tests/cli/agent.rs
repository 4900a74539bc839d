//! A sidecar in a folder of its own, at a loopback address of its own.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the sidecar in a folder, without a terminal.
pub(crate) fn mesh_agent(folder: &Path, words: &[&str]) -> Output {
    let output = command(folder).args(words).output();
    output.expect("the sidecar starts")
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mesh-agent"));
    command.current_dir(folder).env_clear().env("NO_COLOR", "1");
    command
}

#[track_caller]
pub(crate) fn check_exit(output: &Output, want: i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(want), "{said}");
}

/// What a sidecar is started with.
pub(crate) struct Setup {
    folder: TempDir,
    address: Ipv4Addr,
    bootstrap: String,
    env: Vec<(String, String)>,
}

impl Setup {
    /// Nothing is redirected, and the drain has no delay but what `drain` says.
    pub(crate) fn new(drain: &str) -> Self {
        Self::with(drain, "mode = 'NONE'")
    }

    /// The same with `[capture]` as it is given; `HOST` in it is the sidecar's own address.
    pub(crate) fn with(drain: &str, capture: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = own_address();
        let capture = capture.replace("HOST", &address.to_string());
        let bootstrap = format!(
            "[resources]\nfiles = ['resources']\nlast-good = ''\n[capture]\n{capture}\n\
             [admin]\naddress = '{address}:15000'\n[status]\naddress = '{address}:15021'\n\
             [metrics]\naddress = '{address}:15020'\n[access-log]\npath = 'access.log'\n[drain]\n{drain}\n"
        );
        fs::create_dir(folder.path().join("resources")).expect("the folder can be written");
        Self {
            folder,
            address,
            bootstrap,
            env: Vec::new(),
        }
    }

    /// With `service` of the namespace at a port of the sidecar, which leads to `endpoint` on 127.0.0.1.
    pub(crate) fn service(self, name: &str, protocol: &str, endpoint: u16) -> Self {
        let service = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: {protocol}, port: 9080}}]}}\n\
             ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
             ports: [{{name: {protocol}, port: {endpoint}}}]\nendpoints: [{{addresses: [127.0.0.1]}}]\n"
        );
        let file = self.folder.path().join(format!("resources/{name}.yaml"));
        fs::write(file, service).expect("the folder can be written");
        self
    }

    /// With more in the bootstrap file, behind all sections.
    pub(crate) fn more(mut self, text: &str) -> Self {
        self.bootstrap += text;
        self
    }

    /// With a variable of the pod.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A port of the sidecar's.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// What it says when it does not start.
    pub(crate) fn refused(self) -> Output {
        self.prepared().output().expect("the sidecar starts")
    }

    fn prepared(&self) -> Command {
        fs::write(self.folder.path().join("agent.toml"), &self.bootstrap)
            .expect("the folder can be written");
        let mut command = command(self.folder.path());
        command
            .args(["run", "--config", "agent.toml"])
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it, and does not wait.
    pub(crate) fn spawn(self) -> Agent {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log");
        let mut command = self.prepared();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.stderr(log).spawn().expect("the sidecar starts");
        Agent {
            setup: self,
            process,
        }
    }

    /// Starts it, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Agent {
        let mut agent = self.spawn();
        eventually("it is ready", || {
            assert!(agent.is_running(), "{}", agent.log());
            agent
                .try_get(15021, "/healthz/ready")
                .is_some_and(|answer| answer.status == 200)
        });
        agent
    }
}

/// A loopback address that no other process of tests has, nor any of the last sidecars of this one, more than tests run
/// at a time: all of 127.0.0.0/8 is this machine.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = 1 + NEXT.fetch_add(1, Ordering::Relaxed) % 31;
    let own = (std::process::id() << 5) & 0x00ff_ffff;
    Ipv4Addr::from(0x7f00_0000 | own | number)
}

/// A running sidecar, stopped on drop.
pub(crate) struct Agent {
    setup: Setup,
    process: Child,
}

/// What a page or a service answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    fn of(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        })
    }
}

impl Agent {
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        self.setup.at(port)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.setup.folder()
    }

    #[track_caller]
    pub(crate) fn get(&self, port: u16, path: &str) -> Answer {
        self.ask(port, "GET", path, "")
    }

    #[track_caller]
    pub(crate) fn post(&self, port: u16, path: &str) -> Answer {
        self.ask(port, "POST", path, "content-length: 0\r\n")
    }

    #[track_caller]
    pub(crate) fn ask(&self, port: u16, method: &str, path: &str, headers: &str) -> Answer {
        let answer = self.try_ask(port, method, path, headers);
        answer.unwrap_or_else(|| panic!("no answer to {method} {path}: {}", self.log()))
    }

    pub(crate) fn try_get(&self, port: u16, path: &str) -> Option<Answer> {
        self.try_ask(port, "GET", path, "")
    }

    fn try_ask(&self, port: u16, method: &str, path: &str, headers: &str) -> Option<Answer> {
        let mut socket = self.try_connect(port)?;
        let host = self.at(port);
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n"
        );
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Answer::of(&answer)
    }

    #[track_caller]
    pub(crate) fn connect(&self, port: u16) -> TcpStream {
        let connected = self.try_connect(port);
        connected.unwrap_or_else(|| panic!("no connection to port {port}: {}", self.log()))
    }

    pub(crate) fn try_connect(&self, port: u16) -> Option<TcpStream> {
        let socket = TcpStream::connect(self.at(port)).ok()?;
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(socket)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id()).expect("a process id");
        let id = Pid::from_raw(id).expect("a process id");
        kill_process(id, signal).expect("it runs");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().expect("it can be asked").is_none()
    }

    /// How it ended, if it did so in time.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().expect("it can be asked") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    #[track_caller]
    pub(crate) fn ends_well(&mut self, limit: Duration) {
        let status = self.ended_within(limit);
        assert!(
            status.is_some_and(|status| status.success()),
            "{status:?}: {}",
            self.log()
        );
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until something holds that happens by itself.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
