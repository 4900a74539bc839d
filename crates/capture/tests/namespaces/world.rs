//! A pod, what is outside of it, and who listens where.

use crate::machines::{AGENT, APPLICATION, Machine, Who};
use capture::{Error, IptablesArgs};
use clap::Parser as _;
use socket2::{Domain, SockRef, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for what should happen at once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where rules are kept, and the flags that say so.
pub(crate) const BACKENDS: [&[&str]; 3] = [
    &["--force-iptables-binary", "nft"],
    &["--force-iptables-binary", "legacy"],
    &["--native-nftables"],
];

/// The pod's own addresses.
pub(crate) const POD: [&str; 2] = ["10.9.0.2", "fd09::2"];

/// The other end of its wire, where the name server is as well.
pub(crate) const ROUTER: [&str; 2] = ["10.9.0.1", "fd09::1"];

/// Somewhere in the cluster; the router answers for it.
pub(crate) const SERVICE: [&str; 2] = ["10.1.2.3", "fd00:1::3"];

/// Somewhere else, likewise.
pub(crate) const ELSEWHERE: [&str; 2] = ["192.0.2.7", "2001:db8::7"];

/// At which the pod listens: the agent's ports, those that are never captured, and the application's.
const POD_PORTS: [u16; 7] = [15001, 15006, 15008, 15021, 15053, 8080, 9080];

/// At which everything outside listens.
const OUTER_PORTS: [u16; 4] = [53, 80, 443, 5432];

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: IptablesArgs,
}

pub(crate) struct World {
    pub(crate) pod: Machine,
    pub(crate) outside: Machine,
    listeners: Vec<(String, TcpListener)>,
    folder: TempDir,
}

/// Where a connection arrived.
#[derive(Debug)]
pub(crate) struct Landing {
    /// The machine and the port, as `pod:15001`.
    pub(crate) at: String,
    /// Where it was meant to go, as the kernel remembers.
    pub(crate) original: Option<SocketAddr>,
    /// Where it came from.
    pub(crate) from: SocketAddr,
}

impl World {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let (pod, outside) = (Machine::new("pod"), Machine::new("outside"));
        pod.connect("eth0", &outside, "eth0");
        outside.ip(&format!(
            "link set eth0 up
             addr add {}/24 dev eth0
             addr add {}/64 dev eth0 nodad
             addr add {}/32 dev lo
             addr add {}/128 dev lo
             addr add {}/32 dev lo
             addr add {}/128 dev lo",
            ROUTER[0], ROUTER[1], SERVICE[0], SERVICE[1], ELSEWHERE[0], ELSEWHERE[1],
        ));
        pod.ip(&format!(
            "link set eth0 up
             addr add {}/24 dev eth0
             addr add {}/64 dev eth0 nodad
             route add default via {}
             -6 route add default via {}",
            POD[0], POD[1], ROUTER[0], ROUTER[1],
        ));
        // The router sends to the pod whatever it does not have itself.
        outside.ip(&format!(
            "route add default via {}\n-6 route add default via {}",
            POD[0], POD[1]
        ));
        let mut world = Self {
            pod,
            outside,
            listeners: Vec::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        world.listen();
        world
    }

    fn listen(&mut self) {
        for port in POD_PORTS {
            let who = if (15000..16000).contains(&port) {
                AGENT
            } else {
                APPLICATION
            };
            let listeners = self
                .pod
                .enter_as(who, || ["0.0.0.0", "::"].map(|any| listener(any, port)));
            self.listeners
                .extend(listeners.map(|listener| (format!("pod:{port}"), listener)));
        }
        for port in OUTER_PORTS {
            let listeners = self
                .outside
                .enter(|| ["0.0.0.0", "::"].map(|any| listener(any, port)));
            self.listeners
                .extend(listeners.map(|listener| (format!("outside:{port}"), listener)));
        }
    }

    /// Runs `mesh-agent iptables` with these arguments in the pod, and returns what it said.
    pub(crate) fn try_iptables(&self, arguments: &[&str]) -> Result<String, Error> {
        self.try_iptables_as(APPLICATION, arguments)
    }

    /// As [`World::try_iptables`], by somebody.
    pub(crate) fn try_iptables_as(&self, who: Who, arguments: &[&str]) -> Result<String, Error> {
        let words = ["iptables"].iter().chain(arguments);
        let args = Cli::try_parse_from(words).expect("flags that exist").args;
        self.pod.enter_as(who, || {
            let mut out = Vec::new();
            args.run(&mut out)
                .map(|()| String::from_utf8(out).expect("text"))
        })
    }

    /// As [`World::try_iptables`], where it must succeed.
    #[track_caller]
    pub(crate) fn iptables(&self, arguments: &[&[&str]]) -> String {
        let result = self.try_iptables(&arguments.concat());
        result.unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The path of a `resolv.conf` with these name servers.
    pub(crate) fn resolv_conf(&self, servers: &[&str]) -> String {
        let path = self.folder.path().join("resolv.conf");
        let lines = servers
            .iter()
            .map(|server| format!("nameserver {server}\n"));
        fs::write(&path, lines.collect::<String>()).expect("the folder can be written");
        path.to_str().expect("a path of UTF-8").to_owned()
    }

    /// Connects from the pod as somebody, and tells where that arrives.
    #[track_caller]
    pub(crate) fn call(&self, who: Who, to: (&str, u16)) -> Landing {
        self.call_from(&self.pod, who, None, to)
    }

    /// Connects from outside.
    #[track_caller]
    pub(crate) fn call_pod(&self, to: (&str, u16)) -> Landing {
        self.call_from(&self.outside, APPLICATION, None, to)
    }

    /// Connects from a machine as somebody, and from this address.
    #[track_caller]
    pub(crate) fn call_from(
        &self,
        machine: &Machine,
        who: Who,
        source: Option<&str>,
        to: (&str, u16),
    ) -> Landing {
        let to = address(to);
        let connected = machine.enter_as(who, || connect(source, to));
        let stream = connected.unwrap_or_else(|error| panic!("{who:?} to {to}: {error}"));
        let landing = self.landing();
        drop(stream);
        landing.unwrap_or_else(|| panic!("{who:?} to {to} arrived nowhere"))
    }

    /// The connection that waits at one of the listeners.
    fn landing(&self) -> Option<Landing> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for (name, listener) in &self.listeners {
                match listener.accept() {
                    Ok((stream, from)) => {
                        return Some(Landing {
                            at: name.clone(),
                            original: original(&stream),
                            from,
                        });
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
            thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// What is in the tables of a variant, without times and counters.
    #[track_caller]
    pub(crate) fn saved(&self, variant: &str) -> String {
        self.pod
            .run(&format!("{variant}-save"), &[], "")
            .lines()
            .filter_map(comparable)
            .collect()
    }

    /// Everything that nftables knows.
    #[track_caller]
    pub(crate) fn nft_ruleset(&self) -> String {
        self.pod.run("nft", &["list", "ruleset"], "")
    }
}

fn comparable(line: &str) -> Option<String> {
    let line = line.split(" [").next().unwrap_or_default();
    (!line.starts_with('#')).then(|| format!("{line}\n"))
}

pub(crate) fn address((address, port): (&str, u16)) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port)
}

/// A UDP socket of somebody's on a machine, which does not wait for ever.
pub(crate) fn udp(machine: &Machine, who: Who, at: (&str, u16)) -> UdpSocket {
    let socket = machine.enter_as(who, || UdpSocket::bind(address(at)).expect("a free port"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket
}

fn listener(any: &str, port: u16) -> TcpListener {
    let at = address((any, port));
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).expect("a socket");
    if at.is_ipv6() {
        socket.set_only_v6(true).expect("an option of the kernel's");
    }
    socket.bind(&at.into()).expect("a free port");
    socket.listen(16).expect("a listener");
    socket
        .set_nonblocking(true)
        .expect("an option of the kernel's");
    socket.into()
}

fn connect(source: Option<&str>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&address((source, 0)).into())?;
    }
    socket.connect_timeout(&to.into(), PATIENCE)?;
    Ok(socket.into())
}

fn original(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = match stream.local_addr().expect("an address") {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok().and_then(|address| address.as_socket())
}
