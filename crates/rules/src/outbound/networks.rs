//! Things found by an address.

use ahash::HashMap;
use ipnet::IpNet;
use std::net::IpAddr;

/// Values found by an address: the smallest network that has it wins.
///
/// A look-up costs as much as there are lengths of prefixes, not as there are networks.
#[derive(Clone, Debug)]
pub struct NetworkMap<T> {
    by_network: HashMap<IpNet, T>,
    /// The lengths of prefixes that occur, the longest first.
    lengths_v4: Vec<u8>,
    lengths_v6: Vec<u8>,
}

impl<T> Default for NetworkMap<T> {
    fn default() -> Self {
        Self {
            by_network: HashMap::default(),
            lengths_v4: Vec::new(),
            lengths_v6: Vec::new(),
        }
    }
}

impl<T> NetworkMap<T> {
    /// Adds a value. Of two with one network the first counts.
    pub fn add(&mut self, network: IpNet, value: T) {
        let network = network.trunc();
        let lengths = match network {
            IpNet::V4(_) => &mut self.lengths_v4,
            IpNet::V6(_) => &mut self.lengths_v6,
        };
        let length = network.prefix_len();
        if let Err(place) = lengths.binary_search_by(|known| length.cmp(known)) {
            lengths.insert(place, length);
        }
        self.by_network.entry(network).or_insert(value);
    }

    /// The value of the smallest network that has `address`.
    pub fn get(&self, address: IpAddr) -> Option<&T> {
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths_v4,
            IpAddr::V6(_) => &self.lengths_v6,
        };
        lengths.iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.by_network.get(&network)
        })
    }

    /// All networks with their values, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&IpNet, &T)> {
        self.by_network.iter()
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.by_network.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_network.is_empty()
    }
}
