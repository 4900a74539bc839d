//! Rules as data: tables, chains, conditions and what follows from them.

mod dns;
mod inbound;
mod outbound;

#[cfg(test)]
mod tests;

use crate::options::{CaptureOptions, DnsCapture, Interception, Layout};
use crate::values::{Interface, Owner};
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where the agent's connections to the application come from, so that they are told from the application's own.
///
/// Source: Istio, `127.0.0.6` and `::6`.
pub const OWN_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// As [`OWN_SOURCE_V4`]. Unlike that one it must be given to the loopback device.
pub const OWN_SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// The two kinds of addresses, each of which has tables of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// The rules for one family of addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ruleset {
    pub(crate) family: Family,
    /// In the order in which they are installed: redirection, which needs the others, is last.
    pub(crate) tables: Vec<Table>,
}

impl Ruleset {
    /// What these options mean, with these name servers. Nothing when they say that nothing is captured.
    pub fn new(options: &CaptureOptions, family: Family, name_servers: &[IpAddr]) -> Self {
        let tables = match options.interception {
            Interception::None => Vec::new(),
            Interception::Redirect => Scope::new(options, family, name_servers).tables(),
        };
        Self { family, tables }
    }

    /// Whether the agent's source address has to be given to the loopback device.
    pub(crate) fn needs_own_source(&self, options: &CaptureOptions) -> bool {
        let has_rule = matches!(options.layout, Layout::Istio { .. }) && !self.tables.is_empty();
        has_rule && self.family == Family::V6
    }
}

/// One table of the kernel, as far as it is ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Table {
    pub(crate) kind: TableKind,
    /// The rules by which the kernel's chains come to ours. They are the only ones outside of our chains.
    pub(crate) jumps: Vec<(Hook, Rule)>,
    /// Our chains, each with its rules in order.
    pub(crate) chains: Vec<(Chain, Vec<Rule>)>,
}

/// The tables in which we have something, in the order in which they are installed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TableKind {
    Raw,
    Mangle,
    Nat,
}

impl TableKind {
    pub(crate) const ALL: [Self; 3] = [Self::Raw, Self::Mangle, Self::Nat];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
        }
    }
}

/// The kernel's chains from which we are reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hook {
    Prerouting,
    Output,
}

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "PREROUTING",
            Self::Output => "OUTPUT",
        }
    }
}

/// Our chains, by the names that Istio gives them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Chain {
    Inbound,
    InRedirect,
    Output,
    OutputDns,
    Redirect,
    Drop,
}

impl Chain {
    /// Our chain of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        use Chain::{Drop, InRedirect, Inbound, Output, OutputDns, Redirect};
        let all = [Inbound, InRedirect, Output, OutputDns, Redirect, Drop];
        all.into_iter().find(|chain| chain.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inbound => "ISTIO_INBOUND",
            Self::InRedirect => "ISTIO_IN_REDIRECT",
            Self::Output => "ISTIO_OUTPUT",
            Self::OutputDns => "ISTIO_OUTPUT_DNS",
            Self::Redirect => "ISTIO_REDIRECT",
            Self::Drop => "ISTIO_DROP",
        }
    }
}

/// What happens to a packet that meets all conditions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Rule {
    /// In the order in which `iptables-save` prints them, so that what is there can be compared.
    pub(crate) conditions: Vec<Condition>,
    pub(crate) verdict: Verdict,
}

impl Rule {
    fn new(conditions: impl Into<Vec<Condition>>, verdict: Verdict) -> Self {
        Self {
            conditions: conditions.into(),
            verdict,
        }
    }
}

/// Something, or anything but that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Test<T> {
    Is(T),
    Not(T),
}

/// What a packet is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Condition {
    Source(IpNet),
    Destination(Test<IpNet>),
    In(Interface),
    Out(Interface),
    Protocol(Protocol),
    SourcePort(Protocol, u16),
    DestinationPort(Protocol, Test<u16>),
    /// At least two, and none of them.
    NoDestinationPort(Protocol, Vec<u16>),
    User(Test<Owner>),
    Group(Test<Owner>),
    /// It belongs to no connection that the kernel knows.
    Invalid,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// Back to the chain from which this one was reached.
    Return,
    Drop,
    Jump(Chain),
    /// To this port of the machine itself.
    Redirect(u16),
    /// The connection is tracked apart from those of other zones.
    Zone(u16),
}

/// What rules are made of.
struct Scope<'a> {
    options: &'a CaptureOptions,
    family: Family,
    /// Those of the family.
    name_servers: Vec<IpNet>,
    /// Whether queries of any family are captured, which the rules about the agent's own traffic heed in both.
    redirects_dns: bool,
}

impl<'a> Scope<'a> {
    fn new(options: &'a CaptureOptions, family: Family, name_servers: &[IpAddr]) -> Self {
        let servers = name_servers
            .iter()
            .copied()
            .filter(|address| family.has(*address));
        let redirects_dns = match options.dns() {
            DnsCapture::Off => false,
            DnsCapture::NameServers => !name_servers.is_empty(),
            DnsCapture::All => true,
        };
        Self {
            options,
            family,
            name_servers: servers.map(IpNet::from).collect(),
            redirects_dns,
        }
    }

    fn tables(&self) -> Vec<Table> {
        let tables = [self.raw(), self.mangle(), Some(self.nat())];
        tables.into_iter().flatten().collect()
    }

    fn mangle(&self) -> Option<Table> {
        self.options.drop_invalid.then(|| Table {
            kind: TableKind::Mangle,
            jumps: vec![(
                Hook::Prerouting,
                Rule::new([Condition::Invalid], Verdict::Jump(Chain::Drop)),
            )],
            chains: vec![(Chain::Drop, vec![Rule::new([], Verdict::Drop)])],
        })
    }

    fn nat(&self) -> Table {
        let inbound_port = match self.options.layout {
            Layout::Istio { inbound_port, .. } => inbound_port,
            Layout::SinglePort => self.options.outbound_port,
        };
        let mut chains = vec![
            (Chain::Inbound, self.inbound()),
            (Chain::InRedirect, vec![redirect(inbound_port)]),
            (Chain::Output, self.outbound()),
        ];
        if self.captures_dns() {
            chains.push((Chain::OutputDns, self.dns_redirects()));
        }
        chains.push((Chain::Redirect, vec![redirect(self.options.outbound_port)]));
        Table {
            kind: TableKind::Nat,
            jumps: self.nat_jumps(),
            chains,
        }
    }

    fn nat_jumps(&self) -> Vec<(Hook, Rule)> {
        let tcp = || Condition::Protocol(Protocol::Tcp);
        let mut jumps = Vec::new();
        if self.options.captures_inbound() || !self.options.rerouted_interfaces.is_empty() {
            let rule = Rule::new([tcp()], Verdict::Jump(Chain::Inbound));
            jumps.push((Hook::Prerouting, rule));
        }
        let conditions = match self.options.layout {
            // UDP as well: DNS is looked at behind it.
            Layout::Istio { .. } => vec![],
            Layout::SinglePort => vec![tcp()],
        };
        let rule = Rule::new(conditions, Verdict::Jump(Chain::Output));
        jumps.push((Hook::Output, rule));
        jumps
    }

    /// What never leaves the machine.
    fn loopback(&self) -> IpNet {
        match self.family {
            Family::V4 => IpNet::V4(self.options.loopback),
            Family::V6 => IpNet::V6(Ipv6Net::from(Ipv6Addr::LOCALHOST)),
        }
    }

    fn own_source(&self) -> IpNet {
        match self.family {
            Family::V4 => IpNet::from(IpAddr::V4(OWN_SOURCE_V4)),
            Family::V6 => IpNet::from(IpAddr::V6(OWN_SOURCE_V6)),
        }
    }

    /// Those of these networks that are of the family.
    fn of_family<'n>(&self, networks: &'n [IpNet]) -> impl Iterator<Item = IpNet> + use<'n> {
        let family = self.family;
        let networks = networks.iter().copied();
        networks.filter(move |network| family.has(network.addr()))
    }
}

fn redirect(port: u16) -> Rule {
    Rule::new(
        [Condition::Protocol(Protocol::Tcp)],
        Verdict::Redirect(port),
    )
}

fn to_port(port: u16) -> Condition {
    Condition::DestinationPort(Protocol::Tcp, Test::Is(port))
}

fn to_network(network: IpNet) -> Condition {
    Condition::Destination(Test::Is(network))
}
