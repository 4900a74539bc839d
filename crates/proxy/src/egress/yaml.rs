//! ServiceEntries as YAML, each with a comment that says what was seen.
//!
//! By hand, for the sake of the comments. Hosts and names stand in quotes, in which JSON's escapes mean the same;
//! comments hold nothing but hosts that were parsed, addresses, numbers and words from here.

use super::entries::{Entry, Host, Port};
use dataplane::PassageProtocol;
use jiff::Timestamp;
use model::{PortProtocol, Resolution};
use std::fmt::{Display, Write};

/// How many names, clients or ports a comment lists: a document of a file has to stay below 1 MiB.
pub(super) const MAX_LISTED: usize = 16;

/// What an entry is called.
pub(super) struct Named {
    pub(super) name: String,
    /// Absent: where it is applied to.
    pub(super) namespace: Option<String>,
    /// The object that it replaces.
    pub(super) replaces: Option<String>,
}

/// Adds an entry.
pub(super) fn write(out: &mut String, entry: &Entry, named: &Named) {
    if !out.is_empty() {
        out.push_str("---\n");
    }
    comment(out, entry, named);
    line(out, "apiVersion: networking.istio.io/v1");
    line(out, "kind: ServiceEntry");
    line(out, "metadata:");
    line(out, format_args!("  name: {}", quoted(&named.name)));
    if let Some(namespace) = &named.namespace {
        line(out, format_args!("  namespace: {}", quoted(namespace)));
    }
    line(out, "spec:");
    line(out, "  hosts:");
    line(out, format_args!("  - {}", quoted(&entry.host.spelt())));
    if let Host::Address(address) = &entry.host {
        line(out, "  addresses:");
        line(out, format_args!("  - {}", quoted(&address.to_string())));
    }
    line(out, "  location: MESH_EXTERNAL");
    let resolution = match entry.host.resolution() {
        Resolution::Dns => "DNS",
        _ => "NONE",
    };
    line(out, format_args!("  resolution: {resolution}"));
    line(out, "  ports:");
    for (number, port) in &entry.ports {
        line(out, format_args!("  - number: {number}"));
        if port.protocol == PortProtocol::Unspecified {
            line(out, format_args!("    name: auto-{number}"));
        } else {
            let name = port.protocol.as_str().to_ascii_lowercase();
            line(out, format_args!("    name: {name}-{number}"));
            line(out, format_args!("    protocol: {}", port.protocol));
        }
    }
}

fn comment(out: &mut String, entry: &Entry, named: &Named) {
    let seen = &entry.seen;
    if let Host::Folded(_) = entry.host {
        let names = listed(entry.names.iter(), entry.names.len());
        line(out, format_args!("# Of {names}:"));
    }
    let (first, last) = (time(seen.first_seen), time(seen.last_seen));
    let counted = format_args!("# {} from {first} to {last},", counted(seen.count));
    line(out, counted);
    let (received, sent) = (seen.received, seen.sent);
    line(
        out,
        format_args!("# {received} bytes received and {sent} sent,"),
    );
    let more = usize::from(seen.of_further_clients > 0);
    let clients = listed(seen.clients.iter(), seen.clients.len().saturating_add(more));
    line(out, format_args!("# by {clients}."));
    let ports = entry
        .ports
        .iter()
        .filter(|(_, port)| !port.counts.is_empty());
    for (number, port) in ports.clone().take(MAX_LISTED) {
        line(out, format_args!("# Port {number}: {}", of_port(port)));
    }
    if ports.count() > MAX_LISTED {
        line(out, "# And more ports.");
    }
    if !entry.denials.is_empty() {
        let denials = listed(entry.denials.iter(), entry.denials.len());
        line(out, format_args!("# Without it: {denials}."));
    }
    if entry.is_forbidden {
        line(
            out,
            "# Look twice: it is in one of `[dns] forbidden-networks`, and allowed by this.",
        );
    }
    if !entry.unchanged.is_empty() {
        let denials = listed(entry.unchanged.iter(), entry.unchanged.len());
        line(out, format_args!("# It does not help against {denials}."));
    }
    if let Some(replaces) = &named.replaces {
        line(
            out,
            format_args!("# Replaces {replaces}, whose ports are among these."),
        );
    }
}

fn of_port(port: &Port) -> String {
    let each = port.counts.iter().map(|(protocol, count)| {
        let protocol = match protocol {
            PassageProtocol::Http => "HTTP",
            PassageProtocol::Tls => "TLS",
            PassageProtocol::Tcp => "TCP",
        };
        match count {
            1 => format!("{protocol} once"),
            _ => format!("{protocol} {count} times"),
        }
    });
    let each = each.collect::<Vec<_>>().join(", ");
    match port.protocol {
        PortProtocol::Unspecified => format!("{each}, so that it has no protocol: any is taken."),
        _ => format!("{each}."),
    }
}

fn counted(count: u64) -> String {
    match count {
        1 => "1 request or connection".to_owned(),
        _ => format!("{count} requests or connections"),
    }
}

/// The first of `all` that there are.
fn listed(items: impl ExactSizeIterator<Item = impl Display>, all: usize) -> String {
    if items.len() == 0 {
        return "nobody known".to_owned();
    }
    let has_more = all > items.len().min(MAX_LISTED);
    let items: Vec<String> = items.take(MAX_LISTED).map(|one| one.to_string()).collect();
    match has_more {
        true => format!("{} and others", items.join(", ")),
        false => items.join(", "),
    }
}

/// As in RFC 3339, but what is beyond its years.
fn time(seconds: u64) -> String {
    let known = i64::try_from(seconds).ok();
    let known = known.and_then(|seconds| Timestamp::from_second(seconds).ok());
    known.map_or_else(|| format!("second {seconds}"), |time| time.to_string())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn line(out: &mut String, text: impl Display) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}
