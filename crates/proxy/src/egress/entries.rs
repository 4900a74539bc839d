//! What was learnt, made into the ServiceEntries that allow it.

use super::Row;
use super::learned::{Seen, without_brackets};
use super::registry::{Present, allows, providers, speaks};
use dataplane::PassageProtocol;
use model::{ExportTo, HostPattern, Hostname, PortProtocol, Resolution, ServiceEntry};
use rules::{Denial, ForbiddenNetworks, OutboundProtocol, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What hosts end in that are made up: such names are in no DNS, now or ever (RFC 6761).
const NOWHERE: &str = ".invalid";

/// A row that can be allowed.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// What clients asked for.
    pub(super) target: Target,
    host: Host,
    pub(super) protocol: PassageProtocol,
    pub(super) seen: Seen,
}

/// What a ServiceEntry is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Host {
    Name(Hostname),
    Address(IpAddr),
    /// All hosts under a wildcard.
    Folded(HostPattern),
}

/// A ServiceEntry that allows what was seen.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) host: Host,
    /// By number.
    pub(super) ports: BTreeMap<u16, Port>,
    /// The names that were asked for.
    pub(super) names: BTreeSet<String>,
    pub(super) seen: Seen,
    /// Why it was refused last, by host and port.
    pub(super) denials: BTreeSet<&'static str>,
    /// What of these it does not change.
    pub(super) unchanged: BTreeSet<&'static str>,
    /// Whether it allows an address that no name may stand for.
    pub(super) is_forbidden: bool,
}

/// A port of an [`Entry`].
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) protocol: PortProtocol,
    /// Requests and connections by what was spoken. Empty: nothing was seen there.
    pub(super) counts: BTreeMap<PassageProtocol, u64>,
}

impl Asked {
    /// Reads a row.
    ///
    /// # Errors
    /// Why no ServiceEntry allows it.
    pub(super) fn new(row: &Row) -> Result<Self, &'static str> {
        let bare = without_brackets(&row.host);
        let target = Target::new(bare, row.port).map_err(|_| "nobody can ask for this host")?;
        let host = match target.address() {
            Some(address) => Host::Address(address),
            None => {
                let name = Hostname::try_from(target.authority());
                Host::Name(name.map_err(|_| "a ServiceEntry cannot have this host")?)
            }
        };
        if let Host::Name(name) = &host {
            check_name(name.as_str())?;
        }
        if row.port == 0 {
            return Err("there is no port 0");
        }
        Ok(Self {
            target,
            host,
            protocol: row.protocol,
            seen: row.seen.clone(),
        })
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if !name.contains('.') {
        return Err("in a ServiceEntry a name without a dot is that of a service in its namespace");
    }
    match name.ends_with(NOWHERE) {
        true => Err("there are no names under .invalid"),
        false => Ok(()),
    }
}

impl Host {
    /// The host as it stands in a ServiceEntry.
    ///
    /// Of an address it is one that nobody can look up.
    pub(super) fn spelt(&self) -> String {
        match self {
            Self::Name(name) => name.as_str().to_owned(),
            Self::Folded(pattern) => pattern.as_str().to_owned(),
            Self::Address(_) => format!("{}{NOWHERE}", self.label()),
        }
    }

    /// Whether it is an address that no name may stand for.
    pub(super) fn is_forbidden(&self, forbidden: &ForbiddenNetworks) -> bool {
        matches!(self, Self::Address(address) if forbidden.forbid(*address))
    }

    /// The name that a ServiceEntry for it would like to have.
    pub(super) fn label(&self) -> String {
        match self {
            Self::Name(name) => format!("egress-{}", name.as_str().replace('.', "-")),
            Self::Folded(pattern) => {
                let suffix = pattern.suffix().unwrap_or_default();
                format!("egress-any{}", suffix.replace('.', "-"))
            }
            Self::Address(IpAddr::V4(address)) => {
                format!("egress-{}", address.to_string().replace('.', "-"))
            }
            Self::Address(IpAddr::V6(address)) => {
                let parts = address.segments().map(|part| format!("{part:x}"));
                format!("egress-{}", parts.join("-"))
            }
        }
    }

    /// How a ServiceEntry finds its endpoints.
    pub(super) fn resolution(&self) -> Resolution {
        match self {
            Self::Name(_) => Resolution::Dns,
            Self::Address(_) | Self::Folded(_) => Resolution::None,
        }
    }
}

/// All rows of one entry and port.
#[derive(Default)]
struct Together<'a> {
    rows: Vec<&'a Asked>,
    is_wanted: bool,
}

/// The entries that allow what was learnt, and is not allowed already; the most specific wildcard has a host.
pub(super) fn entries(
    asked: &[Asked],
    fold: &[HostPattern],
    min_count: u64,
    present: Option<Present<'_>>,
) -> Vec<Entry> {
    let mut groups: BTreeMap<Host, BTreeMap<u16, Together<'_>>> = BTreeMap::new();
    for one in asked {
        let is_allowed = present.is_some_and(|present| allows(present.proxy, one));
        let is_wanted = !is_allowed && one.seen.count >= min_count;
        if is_allowed || is_wanted {
            let ports = groups.entry(group_of(one, fold, present)).or_default();
            let together = ports.entry(one.target.port()).or_default();
            together.is_wanted |= is_wanted;
            // What is allowed already would not be any more if the port were for something else.
            together.rows.push(one);
        }
    }
    let entries = groups.into_iter().filter_map(|(host, ports)| {
        let wanted = ports.into_iter().filter(|(_, together)| together.is_wanted);
        Entry::new(host, wanted.collect())
    });
    entries.collect()
}

fn group_of(asked: &Asked, fold: &[HostPattern], present: Option<Present<'_>>) -> Host {
    let Host::Name(name) = &asked.host else {
        return asked.host.clone();
    };
    let folding = (fold.iter()).filter(|pattern| pattern.matches(name.as_str()));
    // Patterns sort by how specific they are.
    match folding.min() {
        Some(pattern) if !is_hidden(pattern, asked, present) => Host::Folded(pattern.clone()),
        _ => asked.host.clone(),
    }
}

/// Whether what is present has a more specific pattern for the host, so that another would change nothing.
fn is_hidden(pattern: &HostPattern, asked: &Asked, present: Option<Present<'_>>) -> bool {
    let is_narrower = |host: &str| {
        let host = HostPattern::try_from(host);
        host.is_ok_and(|host| host != *pattern && pattern.covers(&host))
    };
    present.is_some_and(|present| providers(present.proxy, asked).any(is_narrower))
}

impl Entry {
    /// Absent: there is nothing to allow.
    fn new(host: Host, ports: BTreeMap<u16, Together<'_>>) -> Option<Self> {
        let rows: Vec<&Asked> = ports
            .values()
            .flat_map(|port| port.rows.iter().copied())
            .collect();
        let (first, others) = rows.split_first()?;
        let mut seen = first.seen.clone();
        for row in others {
            seen.add(row.seen.clone());
        }
        let denials = rows.iter().filter_map(|row| row.seen.denial);
        // An address that a ServiceEntry names is allowed, even one that no name may stand for.
        let is_address = matches!(host, Host::Address(_));
        let is_beyond = |denial: &Denial| match denial {
            Denial::Address => !is_address,
            Denial::Client | Denial::Itself | Denial::Mismatch => true,
            _ => false,
        };
        let ports = ports
            .iter()
            .map(|(number, port)| (*number, Port::of(&port.rows)));
        Some(Self {
            host,
            ports: ports.collect(),
            names: rows
                .iter()
                .map(|row| row.target.authority().to_owned())
                .collect(),
            seen,
            denials: denials.clone().map(Denial::code).collect(),
            unchanged: denials.filter(is_beyond).map(Denial::code).collect(),
            is_forbidden: false,
        })
    }

    /// Whether it can stand for an entry that is there already, with the ports of that, and does so then.
    pub(super) fn replaces(&mut self, entry: &ServiceEntry) -> bool {
        let host = self.host.spelt();
        let is_like_this = entry.hosts.iter().all(|one| one.value.as_str() == host)
            && entry.resolution == self.host.resolution()
            && entry.location == model::Location::MeshExternal
            && entry.addresses == self.addresses()
            && entry.endpoints.is_empty()
            && entry.workload_selector.is_none()
            && entry.export_to == ExportTo::MeshDefault
            && entry.subject_alt_names.is_empty()
            && entry.ports.iter().all(|port| port.target_port.is_none());
        if !is_like_this {
            return false;
        }
        for port in &entry.ports {
            let own = self.ports.entry(port.number).or_insert(Port {
                protocol: port.protocol,
                counts: BTreeMap::new(),
            });
            own.protocol = protocol(Some(port.protocol), own.counts.keys().copied());
        }
        true
    }

    /// Its virtual addresses.
    pub(super) fn addresses(&self) -> Vec<model::IpNet> {
        match self.host {
            Host::Address(address) => vec![address.into()],
            Host::Name(_) | Host::Folded(_) => Vec::new(),
        }
    }
}

impl Port {
    fn of(rows: &[&Asked]) -> Self {
        let mut counts: BTreeMap<PassageProtocol, u64> = BTreeMap::new();
        for row in rows {
            let count = counts.entry(row.protocol).or_default();
            *count = count.saturating_add(row.seen.count);
        }
        Self {
            protocol: protocol(None, counts.keys().copied()),
            counts,
        }
    }
}

/// The narrowest protocol that takes all that was spoken, and what the port was for before.
fn protocol(
    before: Option<PortProtocol>,
    mut spoken: impl Iterator<Item = PassageProtocol> + Clone,
) -> PortProtocol {
    let takes_all = |protocol: PortProtocol| {
        let allowed = OutboundProtocol::from(protocol);
        spoken.clone().all(|spoken| speaks(allowed, spoken))
    };
    if let Some(before) = before.filter(|before| takes_all(*before)) {
        return before;
    }
    let was_http = before.is_some_and(PortProtocol::is_http);
    let was_tcp = before.is_some_and(|before| !before.is_http() && !before.is_tls());
    let was_tls = before.is_some_and(PortProtocol::is_tls);
    if !was_tcp && !was_tls && takes_all(PortProtocol::Http) {
        return PortProtocol::Http;
    }
    if !was_tcp && !was_http && takes_all(PortProtocol::Tls) {
        return PortProtocol::Tls;
    }
    match was_http || spoken.any(|spoken| spoken == PassageProtocol::Http) {
        true => PortProtocol::Unspecified,
        false => PortProtocol::Tcp,
    }
}
