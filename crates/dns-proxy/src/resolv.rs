//! The workload's `resolv.conf`: which nameservers are asked on, and in which domain names are looked for.

use crate::settings::Settings;
use arc_swap::ArcSwap;
use resolv_conf::ScopedIp;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// More nameservers of the file are left aside, as the C library does (`MAXNS`).
const MAX_SERVERS: usize = 3;

/// More of the settings are left aside.
const MAX_CONFIGURED: usize = 8;

/// What of a longer file comes later is not read.
const MAX_BYTES: u64 = 64 * 1024;

const PORT: u16 = 53;

/// So that it is not looked at all the time, whatever the settings say.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Who is asked on.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Upstreams {
    /// In the order in which they are asked.
    pub(crate) servers: Vec<SocketAddr>,
    /// The first domain that a name is looked for in. Lower case, without a trailing dot.
    pub(crate) search: Option<String>,
}

/// Follows the file.
#[derive(Debug)]
pub(crate) struct ResolvConf {
    reader: Reader,
    every: Duration,
    current: ArcSwap<Upstreams>,
    /// That of the file as it was first.
    first: Option<Stamp>,
}

#[derive(Clone, Debug)]
struct Reader {
    path: PathBuf,
    /// Empty: those of the file.
    configured: Vec<SocketAddr>,
    /// Where the proxy itself listens.
    own: Vec<SocketAddr>,
}

/// When it is the same, so is the file, and who may read it.
type Stamp = (u64, u64, i64, i64, u64);

impl ResolvConf {
    /// Reads it. Where it cannot be read, this machine is asked, as resolv.conf(5) has it.
    pub(crate) async fn read(settings: &Settings, own: Vec<SocketAddr>) -> Self {
        let reader = Reader {
            path: settings.resolv_conf.clone(),
            configured: settings
                .servers
                .iter()
                .copied()
                .take(MAX_CONFIGURED)
                .collect(),
            own,
        };
        // A change between the two is noticed.
        let first = reader.clone().stamp().await;
        let upstreams = reader.clone().upstreams().await;
        let upstreams = upstreams.unwrap_or_else(|| reader.upstreams_of(&[]));
        Self {
            current: ArcSwap::from_pointee(upstreams),
            every: settings.look_every,
            first,
            reader,
        }
    }

    /// As they stand now.
    pub(crate) fn current(&self) -> Arc<Upstreams> {
        self.current.load_full()
    }

    /// Reads it again whenever it is another. While it cannot be read, as when it is replaced, what it said counts.
    pub(crate) async fn follow(&self) {
        let mut known = self.first;
        loop {
            tokio::time::sleep(self.every.max(SHORTEST_PAUSE)).await;
            let now = self.reader.clone().stamp().await;
            if now.is_none() || now == known {
                continue;
            }
            known = now;
            let upstreams = self.reader.clone().upstreams().await;
            if let Some(upstreams) = upstreams.filter(|one| *one != *self.current()) {
                tracing::info!(servers = ?upstreams.servers, "there are other nameservers");
                self.current.store(Arc::new(upstreams));
            }
        }
    }
}

impl Reader {
    /// Absent: the file cannot be read.
    async fn upstreams(self) -> Option<Upstreams> {
        let read = move || match self.text() {
            Ok(text) => Some(self.upstreams_of(&text)),
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "it cannot be read which nameservers there are");
                None
            }
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }

    async fn stamp(self) -> Option<Stamp> {
        let look = move || std::fs::metadata(&self.path).ok().map(|one| stamp(&one));
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        File::open(&self.path)?
            .take(MAX_BYTES)
            .read_to_end(&mut text)?;
        Ok(text)
    }

    fn upstreams_of(&self, text: &[u8]) -> Upstreams {
        let (conf, errors) = resolv_conf::Config::parse_with_errors(text);
        for error in errors {
            tracing::debug!(path = %self.path.display(), %error, "left aside");
        }
        let search = conf.get_last_search_or_domain().next();
        let search = search.map(|domain| normal(domain));
        let servers = match self.configured.is_empty() {
            true => of_file(&conf),
            false => self.configured.clone(),
        };
        Upstreams {
            servers: self.without_itself(servers),
            search: search.filter(|domain| !domain.is_empty()),
        }
    }

    /// What is asked on would come back for ever.
    fn without_itself(&self, mut servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
        servers.retain(|server| {
            let is_itself = leads_to(*server, &self.own);
            if is_itself {
                let path = self.path.display();
                tracing::warn!(%server, %path, "this nameserver is the proxy itself, and is not asked");
            }
            !is_itself
        });
        if servers.is_empty() {
            tracing::warn!(path = %self.path.display(), "there is no nameserver to ask for names that are not known here");
        }
        servers
    }
}

fn of_file(conf: &resolv_conf::Config) -> Vec<SocketAddr> {
    let servers = conf.nameservers.iter().filter_map(address);
    let servers: Vec<_> = servers.take(MAX_SERVERS).collect();
    match servers.is_empty() {
        true => vec![(Ipv4Addr::LOCALHOST, PORT).into()],
        false => servers,
    }
}

/// An interface in it is looked up by the C library, which asks nobody else for it.
fn address(server: &ScopedIp) -> Option<SocketAddr> {
    match server {
        ScopedIp::V4(address) => Some((*address, PORT).into()),
        ScopedIp::V6(address, None) => Some((*address, PORT).into()),
        ScopedIp::V6(..) => {
            let text = server.to_string();
            (text.as_str(), PORT).to_socket_addrs().ok()?.next()
        }
    }
}

fn normal(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

fn stamp(file: &Metadata) -> Stamp {
    (
        file.dev(),
        file.ino(),
        file.ctime(),
        file.ctime_nsec(),
        file.len(),
    )
}

/// Whether a server is one of the addresses that are listened on.
pub(crate) fn leads_to(server: SocketAddr, own: &[SocketAddr]) -> bool {
    let ip = meant(server.ip());
    let mut own = own.iter().filter(|own| own.port() == server.port());
    own.any(|own| own.ip() == ip || (own.ip().is_unspecified() && is_of_this_machine(ip)))
}

/// Who connects to no address in particular comes to its own machine.
fn meant(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Only one's own addresses can be bound.
fn is_of_this_machine(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}
