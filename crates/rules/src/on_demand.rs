//! Endpoints that are found when a client asks for them, and addresses that no name may stand for.

use ipnet::{IpNet, Ipv4Net};
use model::HostPattern;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// How a cluster finds the endpoint that a client asks for, beside those that are published.
#[derive(Clone, Debug, PartialEq)]
pub struct OnDemand {
    /// The names that may be resolved. Absent: none may.
    pub names: Option<HostPattern>,
    /// The addresses that may be asked for as such, and that names may stand for although they are forbidden.
    pub addresses: Vec<IpNet>,
    /// Whether any other address may be asked for, unless it is forbidden.
    pub any_address: bool,
    /// The port that is dialled. Absent: the one that was asked for.
    pub port: Option<u16>,
    /// Addresses that are not dialled, unless `addresses` has them.
    pub forbidden: ForbiddenNetworks,
}

impl OnDemand {
    /// Whether this name may be resolved.
    pub fn resolves(&self, name: &str) -> bool {
        self.names.as_ref().is_some_and(|names| names.matches(name))
    }

    /// Whether a client may ask for this address as such.
    pub fn has(&self, address: IpAddr) -> bool {
        self.lists(address) && self.admits(address)
    }

    /// Whether this address is among those of the cluster, if only as one of a wide network that is forbidden.
    pub fn lists(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        self.any_address || self.addresses.iter().any(|net| net.contains(&canonical))
    }

    /// Whether a name may stand for this address.
    pub fn admits(&self, address: IpAddr) -> bool {
        !self.forbidden.forbid_unless(address, &self.addresses)
    }
}

/// Addresses that no name may stand for, so that whoever answers for a name cannot send the proxy to itself, to its
/// neighbours, or to where machines keep their secrets. Cheap to clone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ForbiddenNetworks(Arc<[IpNet]>);

impl ForbiddenNetworks {
    /// Loopback, link-local, unspecified, multicast and reserved addresses, and where clouds serve metadata.
    pub const DEFAULT: [&str; 18] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        // Metadata of Alibaba's, Oracle's and Azure's machines; of all others it is link-local.
        "100.100.100.200/32",
        "192.0.0.0/24",
        "168.63.129.16/32",
        "::/128",
        "::1/128",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
        // Metadata of Amazon's and Google's machines.
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        // IPv4 in IPv6, as nothing but a trick: what is meant to be translated is looked at below.
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
    ];

    /// Just these.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether no name may stand for this address. An IPv4 address inside of an IPv6 address counts as well.
    pub fn forbid(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let inner = match address {
            IpAddr::V6(address) => carried(address),
            IpAddr::V4(_) => None,
        };
        let is_in = |address: IpAddr| self.0.iter().any(|net| net.contains(&address));
        is_in(address) || inner.is_some_and(|inner| is_in(inner.into()))
    }

    /// Whether no name may stand for this address although an object has these networks. One that is meant is a
    /// forbidden one, a part of it, or the address itself: `0.0.0.0/0` is not meant to be the machine.
    pub fn forbid_unless(&self, address: IpAddr, named: &[IpNet]) -> bool {
        let canonical = address.to_canonical();
        let is_meant = |network: &IpNet| {
            network.prefix_len() == network.max_prefix_len()
                || self.0.iter().any(|forbidden| forbidden.contains(network))
        };
        let mut named = named.iter();
        self.forbid(address) && !named.any(|one| one.contains(&canonical) && is_meant(one))
    }

    /// The networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

impl Default for ForbiddenNetworks {
    fn default() -> Self {
        let networks = Self::DEFAULT.iter();
        Self::new(networks.filter_map(|text| text.parse().ok()))
    }
}

/// The IPv4 address that NAT64 (RFC 6052) or 6to4 (RFC 3056) makes of an IPv6 address.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let at = match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => 12,
        [0x2002, ..] => 2,
        _ => return None,
    };
    let four: [u8; 4] = octets.get(at..at + 4)?.try_into().ok()?;
    Some(four.into())
}

/// A network of IPv4 addresses in IPv6's clothes as what it is: addresses are looked at without those, too.
pub(crate) fn without_clothes(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let inner = v6.addr().to_ipv4_mapped();
    let length = v6.prefix_len().checked_sub(96);
    let v4 = inner
        .zip(length)
        .map(|(inner, length)| Ipv4Net::new(inner, length));
    v4.and_then(Result::ok).map_or(network, IpNet::V4)
}
