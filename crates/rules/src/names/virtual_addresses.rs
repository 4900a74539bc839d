//! Addresses for services that have none, so that connections to them can be told apart.

use ahash::{HashMap, HashSet};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// Which virtual addresses services get that have no address of their own.
///
/// They come from `240.240.0.0/16` and `2001:2::/48`, and mean something to the proxy that gives them only.
///
/// Source: Istio's automatic allocation, `PILOT_ENABLE_IP_AUTOALLOCATE`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum AutoAllocate {
    /// None.
    #[default]
    Off,
    /// One of IPv4.
    V4,
    /// One of IPv6.
    V6,
    /// One of each kind.
    Both,
}

/// The virtual addresses of one view, by host.
#[derive(Debug, Default)]
pub(crate) struct VirtualAddresses {
    kinds: AutoAllocate,
    places: HashMap<Arc<str>, Place>,
}

/// A host that wants an address, and the namespace of who provides it.
pub(crate) struct Claim<'c> {
    pub(crate) namespace: &'c str,
    pub(crate) host: &'c Arc<str>,
}

/// The last 16 bits of an address of each kind.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Place(u16);

/// How many places are tried for a host. Until most of them are in use it is hardly ever more than two.
const MAX_TRIES: u64 = 64;

impl VirtualAddresses {
    /// Gives each claim a place, and returns the hosts for which none was left.
    ///
    /// Where a host is found depends on its name, and on those before it where they are in its way: who claims last
    /// moves nobody. `taken` are addresses that are in use.
    pub(crate) fn allocate<'c>(
        kinds: AutoAllocate,
        taken: impl Iterator<Item = IpAddr>,
        claims: impl Iterator<Item = Claim<'c>>,
    ) -> (Self, Vec<Arc<str>>) {
        let mut taken: HashSet<Place> = taken.filter_map(Place::of).collect();
        let mut places = HashMap::default();
        let mut left_out = Vec::new();
        for claim in claims {
            match claim.places().find(|place| taken.insert(*place)) {
                Some(place) => drop(places.insert(claim.host.clone(), place)),
                None => left_out.push(claim.host.clone()),
            }
        }
        (Self { kinds, places }, left_out)
    }

    /// The addresses of a host. None where it has no place.
    pub(crate) fn of(&self, host: &str) -> impl Iterator<Item = IpAddr> {
        let place = self.places.get(host);
        place
            .into_iter()
            .flat_map(|place| place.addresses(self.kinds))
    }

    /// The same as networks.
    pub(crate) fn networks(&self, host: &str) -> impl Iterator<Item = IpNet> {
        self.of(host).map(IpNet::from)
    }
}

impl Claim<'_> {
    /// Where it would be put, the best place first: the same for everybody who has the claim, at any time.
    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let key = format!("{}/{}", self.namespace, self.host);
        (0..MAX_TRIES).map(move |attempt| Place::at(xxh64(key.as_bytes(), attempt)))
    }
}

impl Place {
    /// Neither the first nor the last of the network, which may look like the network itself and its broadcast.
    fn at(hash: u64) -> Self {
        const PLACES: u64 = u16::MAX as u64 - 1;
        Self((1 + hash % PLACES) as u16)
    }

    /// That of an address. Absent: it is none that is given.
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => match address.octets() {
                [240, 240, high, low] => Some(Self(u16::from_be_bytes([high, low]))),
                _ => None,
            },
            IpAddr::V6(address) => match address.segments() {
                [0x2001, 2, 0, 0, 0, 0, 0, place] => Some(Self(place)),
                _ => None,
            },
        }
    }

    fn addresses(self, kinds: AutoAllocate) -> impl Iterator<Item = IpAddr> {
        let [high, low] = self.0.to_be_bytes();
        let v4 = Ipv4Addr::new(240, 240, high, low);
        let v6 = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, self.0);
        let (has_v4, has_v6) = match kinds {
            AutoAllocate::Off => (false, false),
            AutoAllocate::V4 => (true, false),
            AutoAllocate::V6 => (false, true),
            AutoAllocate::Both => (true, true),
        };
        let v4 = has_v4.then_some(IpAddr::V4(v4));
        let v6 = has_v6.then_some(IpAddr::V6(v6));
        v4.into_iter().chain(v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(count: usize) -> Vec<Arc<str>> {
        (0..count)
            .map(|at| format!("host-{at}.test").into())
            .collect()
    }

    fn given(hosts: &[Arc<str>], taken: &[IpAddr]) -> VirtualAddresses {
        let claims = hosts.iter().map(|host| Claim {
            namespace: "default",
            host,
        });
        let taken = taken.iter().copied();
        let (given, left_out) = VirtualAddresses::allocate(AutoAllocate::Both, taken, claims);
        assert!(left_out.is_empty(), "{left_out:?}");
        given
    }

    fn of(given: &VirtualAddresses, host: &str) -> Vec<String> {
        given.of(host).map(|one| one.to_string()).collect()
    }

    /// Clients remember addresses: another release must not give others.
    #[test]
    fn a_host_has_the_same_addresses_everywhere() {
        let given = given(&["db.example.com".into()], &[]);
        let want = ["240.240.178.28", "2001:2::b21c"];
        assert_eq!(of(&given, "db.example.com"), want);
        assert!(of(&given, "other.example.com").is_empty());
    }

    #[test]
    fn only_the_wanted_kinds_are_given() {
        let host: Arc<str> = "a.test".into();
        for (kinds, want) in [
            (AutoAllocate::Off, &[][..]),
            (AutoAllocate::V4, &[true]),
            (AutoAllocate::V6, &[false]),
            (AutoAllocate::Both, &[true, false]),
        ] {
            let claim = Claim {
                namespace: "default",
                host: &host,
            };
            let (given, _) =
                VirtualAddresses::allocate(kinds, std::iter::empty(), std::iter::once(claim));
            let found: Vec<_> = given.of(&host).map(|one| one.is_ipv4()).collect();
            assert_eq!(found, want, "{kinds:?}");
        }
    }

    #[test]
    fn what_is_in_use_is_not_given_again() {
        let hosts = hosts(1);
        let before: Vec<_> = given(&hosts, &[]).of(&hosts[0]).collect();
        for taken in &before {
            let after: Vec<_> = given(&hosts, &[*taken]).of(&hosts[0]).collect();
            assert!(!after.contains(taken) && after.len() == 2, "{after:?}");
        }
    }

    #[test]
    fn one_host_more_moves_hardly_anybody() {
        let all = hosts(1050);
        let (known, new) = all.split_at(1000);
        let before = given(known, &[]);
        let moved = |given: &VirtualAddresses| {
            let is_moved = |host: &&Arc<str>| of(given, host) != of(&before, host);
            known.iter().filter(is_moved).count()
        };
        let mut moved_in_all = 0;
        for host in new {
            let new = std::slice::from_ref(host);
            let last = [known, new].concat();
            assert_eq!(moved(&given(&last, &[])), 0);
            let first = [new, known].concat();
            moved_in_all += moved(&given(&first, &[]));
        }
        // Fifty times one in sixty-five.
        assert!(moved_in_all <= 4, "{moved_in_all}");
    }

    #[test]
    fn when_all_places_are_taken_it_is_said() {
        let hosts = hosts(80_000);
        let claims = hosts.iter().map(|host| Claim {
            namespace: "default",
            host,
        });
        let (given, left_out) =
            VirtualAddresses::allocate(AutoAllocate::V4, std::iter::empty(), claims);
        assert_eq!(given.places.len() + left_out.len(), hosts.len());
        assert!(given.places.len() > 60_000, "{}", given.places.len());
    }

    proptest! {
        #[test]
        fn no_two_hosts_share_an_address(hosts in proptest::collection::btree_set("[a-z]{1,3}", 0..100)) {
            let hosts: Vec<Arc<str>> = hosts.iter().map(|host| host.as_str().into()).collect();
            let given = given(&hosts, &[]);
            let all: Vec<_> = hosts.iter().flat_map(|host| given.of(host)).collect();
            let distinct: HashSet<_> = all.iter().collect();
            prop_assert_eq!(distinct.len(), 2 * hosts.len());
            let networks: Vec<IpNet> = vec!["240.240.0.0/16".parse().unwrap(), "2001:2::/48".parse().unwrap()];
            for address in all {
                prop_assert!(networks.iter().any(|one| one.contains(&address)));
                prop_assert!(Place::of(address).is_some());
            }
        }
    }
}
