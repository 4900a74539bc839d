//! What the names of the registry stand for, for who asks for their addresses.
//!
//! Nothing is resolved here, and nothing encoded: a server of DNS asks the table, and whoever else knows for what is
//! not in it.

mod virtual_addresses;

pub use virtual_addresses::AutoAllocate;
pub(crate) use virtual_addresses::{Claim, VirtualAddresses};

use crate::{Endpoint, EndpointAddr, Endpoints, HostMap, ServicePort};
use ahash::{HashMap, HashSet};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// What the names of the registry stand for, as one workload sees it.
///
/// A look-up costs as many steps as the name has labels, not as there are names. An exact name beats a wildcard, and a
/// longer wildcard a shorter one, as everywhere.
#[derive(Debug, Default)]
pub struct NameTable {
    names: HostMap<NameMeaning>,
    /// The first of the names that have an address as their own.
    by_address: HashMap<IpAddr, Arc<str>>,
}

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NameMeaning {
    /// These addresses: the service's own, or virtual ones.
    Addresses(Vec<IpAddr>),
    /// The addresses of the endpoints of a service port. Those that have a name of their own are found by it, as one
    /// label before the service's.
    Endpoints(ServicePort),
    /// Another name, lower case.
    Alias(Arc<str>),
    /// The registry has it, but no addresses of it: whoever else knows the name is right, and no wildcard.
    Elsewhere,
}

/// What is found for a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FoundName {
    /// Its addresses, of both kinds, each once. Empty: it is known, and stands for nothing at present.
    Addresses(Vec<IpAddr>),
    /// Another name, lower case, which may be in the table or not.
    Alias(Arc<str>),
}

impl NameTable {
    /// Adds a name: exact or `*.suffix`. Of two meanings of one name the first counts.
    pub fn add(&mut self, name: &str, meaning: Arc<NameMeaning>) {
        self.names.add(name, meaning);
    }

    /// Says whose an address is. Of two with one address the first counts.
    pub fn add_address(&mut self, address: IpAddr, name: &Arc<str>) {
        self.by_address
            .entry(address)
            .or_insert_with(|| name.clone());
    }

    /// What a name stands for, in any case, with a trailing dot or not. Absent: it is not the registry's.
    ///
    /// `endpoints` are those that are published beside the table.
    pub fn find(&self, name: &str, endpoints: &Endpoints) -> Option<FoundName> {
        let name = normal(name)?;
        if let Some(meaning) = self.names.exact(&name) {
            return meaning.found(endpoints);
        }
        let member = self.member(&name, endpoints);
        member.or_else(|| self.names.lookup(&name)?.found(endpoints))
    }

    /// The name of an address. Absent: it is no name's own.
    pub fn name_of(&self, address: IpAddr) -> Option<&Arc<str>> {
        self.by_address.get(&address.to_canonical())
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All names with what they stand for, in no particular order.
    pub fn entries(&self) -> impl Iterator<Item = (Cow<'_, str>, &Arc<NameMeaning>)> {
        self.names.entries()
    }

    /// One endpoint of a service.
    fn member(&self, name: &str, endpoints: &Endpoints) -> Option<FoundName> {
        let (member, service) = name.split_once('.')?;
        let NameMeaning::Endpoints(port) = &**self.names.exact(service)? else {
            return None;
        };
        let addresses = endpoints.members.get(port)?.get(member)?;
        Some(FoundName::Addresses(addresses.clone()))
    }
}

impl NameMeaning {
    fn found(&self, endpoints: &Endpoints) -> Option<FoundName> {
        match self {
            Self::Addresses(addresses) => Some(FoundName::Addresses(addresses.clone())),
            Self::Endpoints(port) => {
                let of_port = endpoints.services.get(port).map_or(&[][..], |list| list);
                Some(FoundName::Addresses(addresses(of_port)))
            }
            Self::Alias(name) => Some(FoundName::Alias(name.clone())),
            Self::Elsewhere => None,
        }
    }
}

/// Each address once. What a name stands for and must not is not handed out either.
fn addresses(endpoints: &[Endpoint]) -> Vec<IpAddr> {
    let mut seen = HashSet::default();
    let addresses = endpoints.iter().filter_map(|one| match &one.address {
        EndpointAddr::Tcp(address) if !one.forbidden => Some(address.ip()),
        _ => None,
    });
    addresses.filter(|address| seen.insert(*address)).collect()
}

/// Lower case, without a trailing dot. Absent: no name of the registry is spelt so.
fn normal(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_of_names) {
        return None;
    }
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Some(Cow::Owned(name.to_ascii_lowercase())),
        false => Some(Cow::Borrowed(name)),
    }
}
