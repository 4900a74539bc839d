//! The allow-list, written down from its definition: slow, and of nothing that is compiled.
//!
//! Who sees an entry: `exportTo`. Which of several entries has a host: the client's namespace comes first, then the
//! oldest. Which host a name belongs to on a port: its own, else the longest wildcard of whole labels. Which one an
//! address belongs to: the host that is it, else the smallest network.

use super::address::{Address, Network};
use rules::Denial;
use std::fmt;

/// A ServiceEntry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) namespace: &'static str,
    /// The day on which it was made.
    pub(crate) created: Option<u8>,
    pub(crate) hosts: Vec<String>,
    pub(crate) ports: Vec<(u16, Protocol)>,
    pub(crate) addresses: Vec<&'static str>,
    pub(crate) export_to: Vec<&'static str>,
    /// Whether it has an endpoint of its own, rather than that its hosts are looked up.
    pub(crate) is_static: bool,
}

/// What is spoken on a port: by its name in a ServiceEntry, empty where it is not said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Protocol(pub(crate) &'static str);

/// ServiceEntries, and who looks at them.
#[derive(Debug)]
pub(crate) struct AllowList<'e> {
    pub(crate) entries: Vec<&'e Entry>,
    pub(crate) namespace: &'static str,
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// A host in lower case and without a trailing dot, or an address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    Name(String),
    Address(Address),
}

/// What becomes of a client.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Allowed { entry: String, host: String },
    Denied(Denial),
}

/// A host of an entry that the client sees.
#[derive(Clone, Debug)]
struct Site<'e> {
    entry: &'e Entry,
    host: String,
}

impl Protocol {
    fn takes_requests(self) -> bool {
        matches!(self.0, "" | "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => f.write_str(&address.in_uri()),
        }
    }
}

impl Asked {
    /// `host [":" port]` of RFC 3986, without user information and without anything that some reader may take for
    /// another host.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, rest) = rest.split_once(']')?;
                (Host::Address(Address::parse_v6(inner)?), rest)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (Host::parse(&text[..end])?, &text[end..])
            }
        };
        let port = match port {
            "" | ":" => default_port,
            port => number(port.strip_prefix(':')?)?,
        };
        Some(Self { host, port })
    }

    /// Whether a name in TLS is that of the host. Software that names addresses does so with and without brackets.
    pub(crate) fn is_named(&self, sni: &str) -> bool {
        let inner = sni.strip_prefix('[').and_then(|one| one.strip_suffix(']'));
        let named = match inner {
            Some(inner) => Address::parse_v6(inner).map(Host::Address),
            None => Address::parse(sni)
                .map(Host::Address)
                .or_else(|| Host::parse(sni)),
        };
        named.is_some_and(|named| named == self.host)
    }
}

impl Host {
    /// An IPv4 address or a name.
    fn parse(text: &str) -> Option<Self> {
        if !text.contains(':')
            && let Some(address) = Address::parse(text)
        {
            return Some(Self::Address(address));
        }
        let name = without_dot(text).to_ascii_lowercase();
        let is_name = name.len() <= 255 && name.split('.').all(is_label) && !is_numeric(&name);
        is_name.then_some(Self::Name(name))
    }
}

impl AllowList<'_> {
    /// What becomes of a connection.
    pub(crate) fn connection(&self, asked: &Asked) -> Verdict {
        match self.service(asked) {
            Some(site) => site.allowed(),
            None => Verdict::Denied(self.denial(asked)),
        }
    }

    /// What becomes of a request in clear, for which only what takes requests counts.
    pub(crate) fn request(&self, asked: &Asked) -> Verdict {
        let all = self.on_port(asked.port, Protocol::takes_requests);
        let found = by_host(&all, &asked.host).or_else(|| match asked.host {
            Host::Address(address) => by_network(&all, address),
            Host::Name(_) => None,
        });
        match (found, self.service(asked)) {
            (Some(site), _) => site.allowed(),
            (None, Some(_)) => Verdict::Denied(Denial::Protocol),
            (None, None) => Verdict::Denied(self.denial(asked)),
        }
    }

    fn service(&self, asked: &Asked) -> Option<Site<'_>> {
        let all = self.on_port(asked.port, |_| true);
        let found = by_host(&all, &asked.host).or_else(|| match asked.host {
            Host::Address(address) => by_network(&all, address),
            Host::Name(_) => None,
        });
        found.cloned()
    }

    fn denial(&self, asked: &Asked) -> Denial {
        let mut ports = self.owners().into_iter().flat_map(|site| &site.entry.ports);
        let on_another = ports.any(|(port, _)| {
            self.service(&Asked {
                host: asked.host.clone(),
                port: *port,
            })
            .is_some()
        });
        let hidden = self.entries.iter().filter(|entry| !self.is_seen(entry));
        let mut hidden = hidden.flat_map(|entry| sites(entry));
        if on_another {
            Denial::Port
        } else if hidden.any(|site| site.has(&asked.host)) {
            Denial::NotVisible
        } else {
            Denial::NotInRegistry
        }
    }

    /// Those of the hosts that are seen which have a port.
    fn on_port(&self, number: u16, takes: impl Fn(Protocol) -> bool) -> Vec<Site<'_>> {
        let mut owners = self.owners();
        owners.retain(|site| {
            let mut ports = site.entry.ports.iter();
            ports.any(|(port, protocol)| *port == number && takes(*protocol))
        });
        owners
    }

    /// Each host that is seen, with the one entry that has it.
    fn owners(&self) -> Vec<Site<'_>> {
        let seen = self.entries.iter().filter(|entry| self.is_seen(entry));
        let seen: Vec<_> = seen.flat_map(|entry| sites(entry)).collect();
        let rank = |site: &Site<'_>| {
            let entry = site.entry;
            let is_foreign = entry.namespace != self.namespace;
            (
                is_foreign,
                entry.created,
                entry.namespace,
                entry.name.clone(),
            )
        };
        let is_owner = |site: &&Site<'_>| {
            let mut others = seen.iter().filter(|other| other.host == site.host);
            others.all(|other| rank(site) <= rank(other))
        };
        seen.iter().filter(is_owner).cloned().collect()
    }

    fn is_seen(&self, entry: &Entry) -> bool {
        let mut export = entry.export_to.iter();
        entry.export_to.is_empty()
            || export.any(|to| match *to {
                "*" => true,
                "." => entry.namespace == self.namespace,
                to => to == self.namespace,
            })
    }
}

impl Site<'_> {
    fn allowed(&self) -> Verdict {
        Verdict::Allowed {
            entry: self.entry.name.clone(),
            host: self.host.clone(),
        }
    }

    fn networks(&self) -> impl Iterator<Item = Network> {
        let addresses = self.entry.addresses.iter();
        addresses.filter_map(|text| Network::parse(text))
    }

    /// Whether it is the host, or a wildcard of it.
    fn has(&self, host: &Host) -> bool {
        match (host, self.host.strip_prefix('*')) {
            (Host::Name(name), Some(suffix)) => name.len() > suffix.len() && name.ends_with(suffix),
            (Host::Name(name), None) => *name == self.host,
            (Host::Address(address), _) => Address::parse(&self.host) == Some(*address),
        }
    }
}

/// The host itself, else the longest wildcard.
fn by_host<'s, 'e>(all: &'s [Site<'e>], host: &Host) -> Option<&'s Site<'e>> {
    let fitting = all.iter().filter(|site| site.has(host));
    match host {
        // It may be spelt in several ways.
        Host::Address(_) => first(fitting),
        Host::Name(_) => fitting.max_by_key(|site| (!site.host.starts_with('*'), site.host.len())),
    }
}

/// The smallest network.
fn by_network<'s, 'e>(all: &'s [Site<'e>], address: Address) -> Option<&'s Site<'e>> {
    let smallest = |site: &Site<'_>| {
        let fitting = site.networks().filter(|one| one.has(address));
        fitting.map(|one| one.length()).max()
    };
    let best = all.iter().filter_map(smallest).max()?;
    first(all.iter().filter(|site| smallest(site) == Some(best)))
}

/// Of several with the same address the first by name.
fn first<'s, 'e: 's>(sites: impl Iterator<Item = &'s Site<'e>>) -> Option<&'s Site<'e>> {
    sites.min_by(|one, other| one.host.cmp(&other.host))
}

/// The hosts of an entry, each once.
fn sites(entry: &Entry) -> Vec<Site<'_>> {
    let mut hosts: Vec<_> = entry
        .hosts
        .iter()
        .map(|host| without_dot(host).to_ascii_lowercase())
        .collect();
    hosts.sort();
    hosts.dedup();
    let all = hosts.into_iter();
    all.map(|host| Site { entry, host }).collect()
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn is_label(label: &str) -> bool {
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len()) && label.bytes().all(is_of_names)
}

/// Whether inet_aton(3) or a browser would take it for an address: its last label is a number.
fn is_numeric(name: &str) -> bool {
    let last = name.split('.').next_back().unwrap_or_default();
    let is_all = |text: &str, one: fn(&u8) -> bool| text.as_bytes().iter().all(one);
    let hex = last.strip_prefix("0x");
    is_all(last, u8::is_ascii_digit) || hex.is_some_and(|hex| is_all(hex, u8::is_ascii_hexdigit))
}

/// A port: digits, from 1 to 65535.
fn number(text: &str) -> Option<u16> {
    let mut number: u64 = 0;
    for byte in text.bytes() {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number = (number * 10 + digit).min(1 << 32);
    }
    u16::try_from(number).ok().filter(|number| *number > 0)
}
