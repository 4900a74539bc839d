//! What is captured, whoever says so.

use crate::values::{self, Interface, InvalidValue, Owner, joined};
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;
use std::str::FromStr;

/// The port at which Istio's agent listens for DNS.
pub(crate) const DNS_PORT: u16 = 15053;

/// What of a pod's or a machine's traffic goes through the agent.
///
/// The default is what a pod without annotations has: everything but the agent's own ports and traffic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaptureOptions {
    /// Where outbound connections go, and inbound ones as well with [`Layout::SinglePort`]. Default: 15001.
    ///
    /// Source: Istio `--envoy-port`.
    pub outbound_port: u16,
    /// The users whose connections are the agent's own. Default: 1337. None: nobody, which makes the agent capture
    /// itself.
    ///
    /// Source: Istio `--proxy-uid`.
    pub proxy_users: Vec<Owner>,
    /// The groups whose connections are the agent's own. Default: the same numbers as of users.
    ///
    /// Source: Istio `--proxy-gid`.
    pub proxy_groups: Vec<Owner>,
    /// Whether anything is captured at all. Default: it is.
    ///
    /// Source: Istio `sidecar.istio.io/interceptionMode`.
    pub interception: Interception,
    /// The ports at which connections from outside are captured. Default: all. An empty list: none.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/includeInboundPorts`.
    pub inbound_ports: Selection<u16>,
    /// The ports at which they are not, where [`CaptureOptions::inbound_ports`] is all. Default: 15090, 15021, 15020.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/excludeInboundPorts`.
    pub excluded_inbound_ports: Vec<u16>,
    /// The networks to which connections are captured. Default: all. An empty list: none.
    ///
    /// One of them within loopback has an application's connections to the machine itself captured as well.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/includeOutboundIPRanges`.
    pub outbound_networks: Selection<IpNet>,
    /// The networks to which they are not, whatever else is said. Default: none.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/excludeOutboundIPRanges`.
    pub excluded_outbound_networks: Vec<IpNet>,
    /// The ports to which connections are captured wherever they go, but for excluded networks. Default: none.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/includeOutboundPorts`.
    pub included_outbound_ports: Vec<u16>,
    /// The ports to which nothing is captured, whatever else is said. Default: none.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/excludeOutboundPorts`.
    pub excluded_outbound_ports: Vec<u16>,
    /// The devices whose traffic is left alone in both directions. Default: none.
    ///
    /// Source: Istio `traffic.sidecar.istio.io/excludeInterfaces`.
    pub excluded_interfaces: Vec<Interface>,
    /// The devices behind which a virtual machine is: what comes in there is captured as outbound. Default: none.
    ///
    /// Source: Istio `istio.io/reroute-virtual-interfaces`.
    pub rerouted_interfaces: Vec<Interface>,
    /// The groups whose outbound connections are captured. Default: all.
    pub owner_groups: OwnerGroups,
    /// Whether packets that belong to no connection are dropped, rather than answered with a reset. Default: no.
    ///
    /// Source: Istio `--drop-invalid`.
    pub drop_invalid: bool,
    /// Whether IPv6 is captured as IPv4 is. Default: where the machine has it.
    pub ipv6: Ipv6,
    /// The IPv4 addresses that never leave the machine. Default: 127.0.0.1/32.
    ///
    /// Source: Istio `ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR`.
    pub loopback: Ipv4Net,
    /// Which chains there are, and what only they can do. Default: Istio's of today.
    pub layout: Layout,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self {
            outbound_port: 15001,
            proxy_users: vec![Owner::Id(1337)],
            proxy_groups: vec![Owner::Id(1337)],
            interception: Interception::Redirect,
            inbound_ports: Selection::All,
            excluded_inbound_ports: vec![15090, 15021, 15020],
            outbound_networks: Selection::All,
            excluded_outbound_networks: Vec::new(),
            included_outbound_ports: Vec::new(),
            excluded_outbound_ports: Vec::new(),
            excluded_interfaces: Vec::new(),
            rerouted_interfaces: Vec::new(),
            owner_groups: OwnerGroups::AllBut(Vec::new()),
            drop_invalid: false,
            ipv6: Ipv6::Auto,
            loopback: Ipv4Net::from(Ipv4Addr::LOCALHOST),
            layout: Layout::default(),
        }
    }
}

impl CaptureOptions {
    /// The arguments of `mesh-agent iptables` that say the same, without `iptables` itself.
    pub fn to_args(&self) -> Vec<String> {
        let mut args = Arguments(Vec::new());
        args.value("-p", self.outbound_port);
        args.layout(self.layout);
        args.value("-u", joined(&self.proxy_users));
        args.value("-g", joined(&self.proxy_groups));
        args.value("-m", self.interception.as_str());
        args.value("-i", self.outbound_networks.to_text());
        args.value("-x", joined(&self.excluded_outbound_networks));
        args.value("-b", self.inbound_ports.to_text());
        args.value("-d", joined(&self.excluded_inbound_ports));
        args.list("-q", &self.included_outbound_ports);
        args.list("-o", &self.excluded_outbound_ports);
        args.list("-c", &self.excluded_interfaces);
        args.list("-k", &self.rerouted_interfaces);
        args.owner_groups(&self.owner_groups);
        args.flag("--drop-invalid", self.drop_invalid);
        if self.ipv6 != Ipv6::Auto {
            args.value("--ipv6", self.ipv6.as_str());
        }
        if self.loopback != Self::default().loopback {
            args.value("--outbound-ipv4-loopback-cidr", self.loopback);
        }
        args.0
    }

    /// Whether connections from outside are captured.
    pub(crate) fn captures_inbound(&self) -> bool {
        !self.inbound_ports.is_none()
    }

    /// Whether an application's connections to the machine itself are to be captured.
    pub(crate) fn captures_loopback(&self) -> bool {
        match &self.outbound_networks {
            Selection::All => false,
            Selection::These(networks) => {
                networks.iter().any(|network| network.addr().is_loopback())
            }
        }
    }

    /// What is said of DNS.
    pub(crate) fn dns(&self) -> DnsCapture {
        match self.layout {
            Layout::Istio { dns, .. } => dns,
            Layout::SinglePort => DnsCapture::Off,
        }
    }
}

/// Arguments being written.
struct Arguments(Vec<String>);

impl Arguments {
    fn value(&mut self, flag: &str, value: impl ToString) {
        self.0.extend([flag.to_owned(), value.to_string()]);
    }

    fn flag(&mut self, flag: &str, is_set: bool) {
        if is_set {
            self.0.push(flag.to_owned());
        }
    }

    fn list<T: std::fmt::Display>(&mut self, flag: &str, values: &[T]) {
        if !values.is_empty() {
            self.value(flag, joined(values));
        }
    }

    fn layout(&mut self, layout: Layout) {
        let Layout::Istio {
            inbound_port,
            tunnel_port,
            dns,
        } = layout
        else {
            return self.flag("--legacy", true);
        };
        self.value("-z", inbound_port);
        self.value("-e", tunnel_port);
        self.flag("--redirect-dns", dns != DnsCapture::Off);
        self.flag("--capture-all-dns", dns == DnsCapture::All);
    }

    fn owner_groups(&mut self, groups: &OwnerGroups) {
        match groups {
            OwnerGroups::AllBut(groups) => self.list("--outbound-owner-groups-exclude", groups),
            OwnerGroups::Only(groups) => self.value("--outbound-owner-groups", joined(groups)),
        }
    }
}

/// Everything, or what is listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Selection<T> {
    /// Everything: `*`.
    All,
    /// These alone; an empty list is nothing.
    These(Vec<T>),
}

impl<T> Selection<T> {
    fn is_none(&self) -> bool {
        matches!(self, Self::These(values) if values.is_empty())
    }
}

impl<T: std::fmt::Display> Selection<T> {
    fn to_text(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::These(values) => joined(values),
        }
    }
}

/// How connections reach the agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interception {
    /// They are redirected to its ports.
    Redirect,
    /// They do not: no rule is installed.
    None,
}

impl Interception {
    /// As Istio writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Redirect => "REDIRECT",
            Self::None => "NONE",
        }
    }
}

impl FromStr for Interception {
    type Err = InvalidValue;

    /// As Istio writes it. Empty: redirected.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        values::interception(text)
    }
}

/// Which chains there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// Those that Istio makes today, with a port for each direction.
    Istio {
        /// Where inbound connections go. Default: 15006.
        ///
        /// Source: Istio `--inbound-capture-port`.
        inbound_port: u16,
        /// The port of tunnels, which is never captured. Default: 15008.
        ///
        /// Source: Istio `--inbound-tunnel-port`.
        tunnel_port: u16,
        /// Which DNS queries are captured. Default: none.
        dns: DnsCapture,
    },
    /// Those that Istio made at first: both directions meet at one port, and the agent's own calls to its machine are
    /// captured as any other.
    SinglePort,
}

impl Default for Layout {
    fn default() -> Self {
        Self::Istio {
            inbound_port: 15006,
            tunnel_port: 15008,
            dns: DnsCapture::Off,
        }
    }
}

/// Which DNS queries go to the agent, at port 15053.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DnsCapture {
    /// None.
    Off,
    /// Those to the machine's own name servers.
    ///
    /// Source: Istio `--redirect-dns`.
    NameServers,
    /// All to port 53.
    ///
    /// Source: Istio `--capture-all-dns`.
    All,
}

/// Whose outbound connections are captured, by the group of the process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OwnerGroups {
    /// Everybody's but theirs.
    ///
    /// Source: Istio `ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE`.
    AllBut(Vec<Owner>),
    /// Theirs alone; an empty list is nobody's. At most 64: they are one rule.
    ///
    /// Source: Istio `ISTIO_OUTBOUND_OWNER_GROUPS`.
    Only(Vec<Owner>),
}

/// Whether IPv6 is captured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ipv6 {
    /// Where the machine has it; one that has no address beyond itself may lack the rules.
    Auto,
    /// It is, and it is an error if it cannot be.
    On,
    /// It is not, and what goes over it passes by the agent.
    Off,
}

impl Ipv6 {
    fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}
