//! ServiceEntries and texts that ask for hosts, made of bytes: few labels, so that they meet often, and whatever
//! readers of hosts are known to trip over.

use super::reference::{Entry, Protocol};
use std::fmt::Write;

/// ServiceEntries, who looks at them, and what is asked for.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) entries: Vec<Entry>,
    pub(crate) namespace: &'static str,
    /// Each with a name in TLS.
    pub(crate) asked: Vec<(String, String)>,
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const PORTS: [u16; 5] = [80, 443, 8080, 5432, 65535];
const PROTOCOLS: [&str; 8] = ["HTTP", "TLS", "TCP", "", "HTTPS", "GRPC", "HTTP2", "MONGO"];
const EXPORTS: [&[&str]; 7] = [
    &[],
    &["*"],
    &["."],
    &["~"],
    &["a"],
    &["b", "c"],
    &[".", "c"],
];

/// Labels of hosts that are allowed.
const LABELS: [&str; 9] = [
    "a",
    "b",
    "org",
    "test",
    "a-b",
    "xn--bcher-kva",
    "B",
    "aa",
    "1",
];

/// Addresses that are allowed, and hosts that are addresses.
const NETWORKS: [&str; 13] = [
    "10.1.2.3",
    "10.1.2.0/24",
    "10.1.0.0/16",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "10.1.2.3/32",
    "2001:db8::1",
    "2001:db8::/32",
    "::/0",
    "::ffff:10.1.2.3",
    "::ffff:10.1.0.0/112",
    "::1",
    "10.1.2.9/24",
];

/// Parts of texts that ask for hosts.
const PARTS: [&str; 48] = [
    "a",
    "b",
    "org",
    "test",
    "xn--bcher-kva",
    "aa",
    ".",
    ".",
    ".",
    "..",
    "-",
    "_",
    "*",
    ":",
    ":80",
    ":443",
    ":8080",
    ":0",
    ":65535",
    ":65536",
    ":080",
    ":+80",
    ":99999999999999999999",
    "@",
    "u:p@",
    "%",
    "%2e",
    "%00",
    "%25",
    "[",
    "]",
    "[::1]",
    "[::ffff:10.1.2.3]",
    "[2001:db8::1]",
    "::",
    "10.1.2.3",
    "10.1.2",
    "0x7f.1",
    "017",
    "1",
    "/",
    "\\",
    "?",
    "#",
    "\0",
    "\r\n",
    " ",
    "\u{3002}",
];

/// Hosts that are an address, or look like one.
const ADDRESSES: [&str; 20] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.1.9.9",
    "10.2.0.1",
    "192.0.2.1",
    "[::1]",
    "[2001:db8::1]",
    "[2001:DB8:0:0::1]",
    "[2001:db8::2]",
    "[::ffff:10.1.2.3]",
    "[::ffff:a01:203]",
    "[::10.1.2.3]",
    "[fe80::1%25eth0]",
    "[v1.a]",
    "[10.1.2.3]",
    "::1",
    "10.1.2.03",
    "010.1.2.3",
    "167838211",
    "10.1.515",
];

impl Case {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut from = Bytes(bytes);
        let count = 1 + from.below(6);
        let namespace = from.one_of(&NAMESPACES);
        let mut entries: Vec<Entry> = Vec::new();
        for at in 0..count {
            let next = entry(at, &entries, &mut from);
            entries.push(next);
        }
        let mut asked = Vec::new();
        while !from.0.is_empty() && asked.len() < 24 {
            let target = target(&entries, &mut from);
            let sni = sni(&target, &mut from);
            asked.push((target, sni));
        }
        Self {
            entries,
            namespace,
            asked,
        }
    }
}

/// Bytes that choices are made of. Where there are no more of them the first choice is made.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(self.next()) % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some(&mut self, length: usize) -> &'b [u8] {
        let (some, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        some
    }
}

fn entry(at: usize, before: &[Entry], from: &mut Bytes<'_>) -> Entry {
    let shape = from.next();
    let hosts = 1 + usize::from(shape & 1) + usize::from(shape & 2 == 2);
    let hosts = (0..hosts).map(|_| host(before, from)).collect();
    let mut ports: Vec<(u16, Protocol)> = Vec::new();
    for _ in 0..from.below(4) {
        // The first is the most frequent, so that entries meet on it.
        let port = from.one_of(&PORTS.map(|port| [PORTS[0], port]).concat());
        let protocol = Protocol(from.one_of(&PROTOCOLS));
        if ports.iter().all(|(known, _)| *known != port) {
            ports.push((port, protocol));
        }
    }
    let addresses = (shape >> 2 & 3).saturating_sub(1);
    Entry {
        name: format!("e{at}"),
        namespace: from.one_of(&NAMESPACES[..2]),
        created: (shape >> 4 & 1 == 1).then_some(1 + (shape >> 5 & 1)),
        hosts,
        ports,
        addresses: (0..addresses).map(|_| from.one_of(&NETWORKS)).collect(),
        export_to: from.one_of(&EXPORTS).to_vec(),
        is_static: shape >> 6 & 3 == 3,
    }
}

/// A host as a ServiceEntry may have it: often one of another entry, or above or below it.
fn host(before: &[Entry], from: &mut Bytes<'_>) -> String {
    if let Some(other) = before.last() {
        let known = &other.hosts[0];
        let name = known.strip_prefix("*.").unwrap_or(known);
        match from.next() % 8 {
            0 | 1 => return known.clone(),
            2 => return format!("*.{name}"),
            3 => return format!("*.{}.{name}", from.one_of(&LABELS)),
            4 => return format!("{}.{name}", from.one_of(&LABELS)),
            _ => {}
        }
    }
    let shape = from.next();
    if shape % 16 == 15 {
        return from.one_of(&NETWORKS).to_owned();
    }
    let count = usize::from(shape >> 4 & 3) + 1;
    let mut labels: Vec<&str> = (0..count).map(|_| from.one_of(&LABELS)).collect();
    if shape & 3 == 1 {
        labels[0] = "*";
    }
    let end = if shape & 12 == 8 { "." } else { "" };
    labels.join(".") + end
}

/// What a client asks for.
fn target(entries: &[Entry], from: &mut Bytes<'_>) -> String {
    let shape = from.next();
    match shape % 8 {
        0 => {
            let length = from.below(32);
            String::from_utf8_lossy(from.some(length)).into_owned()
        }
        1 => {
            let count = from.below(8);
            (0..count).map(|_| from.one_of(&PARTS)).collect()
        }
        2 => from.one_of(&ADDRESSES).to_owned() + &port(from),
        3 => long(from) + &port(from),
        _ => changed(known(entries, from), from) + &port(from),
    }
}

/// A host of an entry, with labels in place of a wildcard.
fn known(entries: &[Entry], from: &mut Bytes<'_>) -> String {
    let entry = &entries[from.below(entries.len())];
    let addresses = entry.addresses.iter().map(|one| (*one).to_owned());
    let all: Vec<String> = entry.hosts.iter().cloned().chain(addresses).collect();
    let host = &all[from.below(all.len())];
    let host = host.split_once('/').map_or(host.as_str(), |(host, _)| host);
    match host.strip_prefix('*') {
        Some(suffix) => {
            let label = from.one_of(&[
                "a", "b.a", "A", "", "_x", "-", "a.", ".", "*", "a\0", "test",
            ]);
            format!("{label}{suffix}")
        }
        None if host.contains(':') => format!("[{host}]"),
        None => host.to_owned(),
    }
}

/// The host, or another that is easily taken for it.
fn changed(host: String, from: &mut Bytes<'_>) -> String {
    let part = from.one_of(&PARTS);
    let place = (0..=host.len()).filter(|at| host.is_char_boundary(*at));
    let places: Vec<_> = place.collect();
    match from.next() % 24 {
        0 => host.to_ascii_uppercase(),
        1 => host + ".",
        2 => host + "..",
        3 => format!("a.{host}"),
        4 => format!("a{host}"),
        5 => format!("{host}.evil.test"),
        6 => format!("evil.test@{host}"),
        7 => format!("{host}@evil.test"),
        8 => host
            .split_once('.')
            .map_or_else(|| host.clone(), |(_, rest)| rest.to_owned()),
        9 => host.replacen('.', "%2e", 1),
        10 => format!("[{host}]"),
        11 => host + "%00",
        12 => format!("{host}:80"),
        13 => host.replace('.', "\u{3002}"),
        14 | 15 => {
            let at = places[from.below(places.len())];
            format!("{}{part}{}", &host[..at], &host[at..])
        }
        _ => host,
    }
}

fn port(from: &mut Bytes<'_>) -> String {
    match from.next() % 16 {
        at @ 0..5 => format!(":{}", PORTS[usize::from(at)]),
        5 => ":".to_owned(),
        6 => format!(":{}", from.next()),
        7 => from.one_of(&PARTS).to_owned(),
        8 => format!(":0000000{}", from.one_of(&PORTS)),
        9 => format!(":{}x", from.one_of(&PORTS)),
        10 => format!(":443:{}", from.one_of(&PORTS)),
        _ => String::new(),
    }
}

/// Names around the lengths that there may be.
fn long(from: &mut Bytes<'_>) -> String {
    let label = "a".repeat(60 + from.below(5));
    let count = from.below(6);
    let end = from.one_of(&["org", "a.test", "test.", "1", "0x1f", "0x", "b"]);
    let start = "b".repeat(from.below(64));
    let labels = std::iter::repeat_n(label.as_str(), count);
    let labels = std::iter::once(start.as_str()).chain(labels).chain([end]);
    labels.collect::<Vec<_>>().join(".")
}

fn sni(target: &str, from: &mut Bytes<'_>) -> String {
    let host = target.rsplit_once(':').map_or(target, |(host, _)| host);
    match from.next() % 8 {
        0 => target.to_owned(),
        1 => host.to_ascii_uppercase(),
        2 => format!("{host}."),
        3 => format!("a.{host}"),
        4 => host.trim_matches(['[', ']']).to_owned(),
        5 => from.one_of(&ADDRESSES).to_owned(),
        _ => host.to_owned(),
    }
}

/// An entry as a user writes it.
pub(crate) fn yaml(entry: &Entry) -> String {
    let mut text =
        String::from("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n");
    let mut line = |line: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{line}");
    };
    line(format_args!("  name: {}", entry.name));
    line(format_args!("  namespace: {}", entry.namespace));
    if let Some(day) = entry.created {
        line(format_args!(
            "  creationTimestamp: \"2026-01-0{day}T00:00:00Z\""
        ));
    }
    line(format_args!("spec:"));
    line(format_args!("  hosts: {:?}", entry.hosts));
    line(format_args!("  addresses: {:?}", entry.addresses));
    line(format_args!("  exportTo: {:?}", entry.export_to));
    line(format_args!("  ports:"));
    for (number, Protocol(name)) in &entry.ports {
        line(format_args!(
            "  - {{ number: {number}, name: p{number}, protocol: {name:?} }}"
        ));
    }
    if entry.is_static {
        line(format_args!("  resolution: STATIC"));
        line(format_args!("  endpoints: [{{ address: 192.0.2.1 }}]"));
    }
    line(format_args!("---"));
    text
}
