//! Where this process listens, so that it does not connect to itself.

use rules::EndpointAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock};

/// Of documentation (RFC 5737): no machine has it.
const NOBODYS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Of documentation (RFC 3849): no machine has it.
const NOBODYS_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

/// The ports on which this process listens.
#[derive(Debug, Default)]
pub struct OwnPorts {
    /// With how many listeners each has.
    ports: RwLock<BTreeMap<u16, usize>>,
    /// Those of pages, which are for operators alone.
    pages: RwLock<BTreeSet<u16>>,
    changes: AtomicU64,
}

/// A port counts as this process's own as long as this exists.
#[derive(Debug)]
pub struct OwnPort {
    home: Arc<OwnPorts>,
    port: u16,
}

impl OwnPorts {
    /// Somebody listens on this port.
    pub fn hold(self: &Arc<Self>, port: u16) -> OwnPort {
        self.change(|ports| *ports.entry(port).or_default() += 1);
        OwnPort {
            home: self.clone(),
            port,
        }
    }

    /// Pages for operators are served on this port, from now on.
    pub fn hold_pages(self: &Arc<Self>, port: u16) -> OwnPort {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        pages.insert(port);
        drop(pages);
        self.hold(port)
    }

    /// Another number after each change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }

    /// Whether a connection to this address would be one to this process.
    pub(crate) fn lead_to_itself(&self, address: SocketAddr) -> bool {
        let ports = self.ports.read().unwrap_or_else(PoisonError::into_inner);
        let is_own = ports.contains_key(&address.port());
        drop(ports);
        is_own && is_local(address.ip())
    }

    /// Whether an endpoint is nothing for a client of a forward proxy: the very listener that it came by, which has
    /// this port, or pages for operators. What else this process listens to may be meant: a gateway can be its own
    /// egress gateway.
    pub(crate) fn lead_back(&self, endpoint: &EndpointAddr, port: u16) -> bool {
        let EndpointAddr::Tcp(address) = endpoint else {
            return false;
        };
        let are_pages = || {
            let pages = self.pages.read().unwrap_or_else(PoisonError::into_inner);
            pages.contains(&address.port())
        };
        (address.port() == port || are_pages()) && self.lead_to_itself(*address)
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u16, usize>)) {
        change(&mut self.ports.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.fetch_add(1, SeqCst);
    }
}

impl Drop for OwnPort {
    fn drop(&mut self) {
        self.home.change(|ports| {
            if let Some(listeners) = ports.get_mut(&self.port) {
                *listeners -= 1;
                if *listeners == 0 {
                    ports.remove(&self.port);
                }
            }
        });
    }
}

/// Whether this machine has the address. No packet is sent.
fn is_local(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let nobodys = match address {
        IpAddr::V4(_) => NOBODYS,
        IpAddr::V6(_) => NOBODYS_V6,
    };
    let can_bind = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    // Where `ip_nonlocal_bind` is set, any address can be bound, and who one would be says more.
    can_bind(address) && (!can_bind(nobodys) || is_source_of_itself(address))
}

fn is_source_of_itself(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Any port will do.
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_port_is_own_while_somebody_listens_on_it() {
        let own = Arc::new(OwnPorts::default());
        assert!(!own.lead_to_itself(at("127.0.0.1:80")));
        let first = own.hold(80);
        let second = own.hold(80);
        drop(first);
        assert!(own.lead_to_itself(at("127.0.0.1:80")));
        assert!(!own.lead_to_itself(at("127.0.0.1:81")));
        let before = own.changes();
        drop(second);
        assert!(!own.lead_to_itself(at("127.0.0.1:80")));
        assert_ne!(own.changes(), before);
    }

    #[test]
    fn other_machines_are_not_this_one() {
        for address in ["192.0.2.7", "2001:db8::7"] {
            assert!(!is_local(address.parse().unwrap()), "{address}");
        }
        for address in ["127.0.0.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"] {
            assert!(is_local(address.parse().unwrap()), "{address}");
        }
    }
}
