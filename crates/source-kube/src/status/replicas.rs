//! How many proxies have taken up what: each tells for each kind up to which version everything is in force there,
//! whatever the number of objects.

use super::condition::Taken;
use super::seen::Object;
use crate::presence::{Peers, Purpose};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// `Gateway=17,VirtualService=23`, by a Lease of each proxy.
pub(crate) const IN_FORCE: Purpose = Purpose {
    infix: "proxy",
    label: "tidegate.io/proxy",
    annotation: "tidegate.io/in-force",
};

/// Places that a Lease tells of. An annotation has room for some more.
const PLACES: usize = 2000;

/// What a proxy tells.
pub(crate) fn text(places: &BTreeMap<Arc<str>, u64>) -> String {
    let places = places.iter().take(PLACES);
    let places: Vec<_> = places
        .map(|(place, version)| format!("{place}={version}"))
        .collect();
    places.join(",")
}

fn read(text: &str) -> BTreeMap<&str, u64> {
    let places = text.split(',').filter_map(|place| {
        let (place, version) = place.split_once('=')?;
        Some((place, version.parse().ok()?))
    });
    places.take(PLACES).collect()
}

/// The other proxies of the same name.
pub(crate) struct Others {
    peers: Peers,
    /// The name of the Lease that is none of theirs.
    own: String,
    in_force: Vec<InForce>,
}

type InForce = BTreeMap<String, u64>;

impl Others {
    pub(crate) fn new(peers: Peers, own: String) -> Self {
        Self {
            peers,
            own,
            in_force: Vec::new(),
        }
    }

    /// Looks how far they are.
    pub(crate) async fn look(&mut self) -> Result<(), String> {
        let looked = self.peers.look().await;
        let alive = self.peers.alive(Instant::now());
        let others = alive.filter(|(name, _)| *name != self.own);
        self.in_force = others.map(|(_, peer)| owned(&peer.text)).collect();
        looked
    }

    /// How many proxies have taken up an object, this one among them, which has.
    pub(crate) fn taken(&self, object: &Object) -> Taken {
        taken(&self.in_force, object)
    }
}

fn owned(text: &str) -> InForce {
    let places = read(text).into_iter();
    places
        .map(|(place, version)| (place.to_owned(), version))
        .collect()
}

fn taken(others: &[InForce], object: &Object) -> Taken {
    let Some(since) = object.since else {
        return Taken::Unknown;
    };
    let mut taken = 1;
    for in_force in others {
        let up_to = in_force.get(&*object.place).copied();
        // There are more places than it could tell of.
        if up_to.is_none() && in_force.len() >= PLACES {
            return Taken::Unknown;
        }
        taken += usize::from(up_to.is_some_and(|up_to| up_to >= since));
    }
    Taken::By(taken, 1 + others.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(since: Option<u64>) -> Object {
        Object {
            place: "Gateway".into(),
            generation: 1,
            since,
            changed: Instant::now(),
            told: None,
        }
    }

    #[test]
    fn who_has_seen_as_much_of_a_kind_has_taken_an_object_up() {
        assert_eq!(taken(&[], &object(Some(7))), Taken::By(1, 1));
        let others = ["Gateway=7,Sidecar=99", "Gateway=6,Sidecar=99", "Sidecar=99"];
        let others = others.map(owned);
        assert_eq!(taken(&others, &object(Some(7))), Taken::By(2, 4));
        assert_eq!(taken(&others, &object(None)), Taken::Unknown);
    }

    #[test]
    fn what_a_lease_tells_is_read_again() {
        let places = [("Gateway".into(), 7), ("Sidecar/a".into(), 12)].into();
        assert_eq!(
            read(&text(&places)),
            [("Gateway", 7), ("Sidecar/a", 12)].into()
        );
        assert_eq!(read("a,b=,=3,c=x"), [("", 3)].into());
    }
}
