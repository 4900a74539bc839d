//! Which endpoints are nearer than others: Istio's `LocalityLoadBalancerSetting`, compiled for one proxy.

use crate::Endpoint;
use model::Labels;
use std::fmt;
use std::sync::Arc;

/// Where a proxy or an endpoint is. Parts that are not known are empty.
///
/// Source: Istio `WorkloadEntry.locality`, Kubernetes `topology.kubernetes.io/region` and `/zone`.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Locality {
    /// The widest part.
    pub region: Arc<str>,
    /// A part of the region.
    pub zone: Arc<str>,
    /// A part of the zone.
    pub subzone: Arc<str>,
}

impl Locality {
    /// Reads `region/zone/subzone`. What is missing is not known.
    pub fn parse(text: &str) -> Self {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default().into();
        Self {
            region: next(),
            zone: next(),
            subzone: next(),
        }
    }

    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }

    /// How far another one is: 0 the same subzone, 1 the same zone, 2 the same region, 3 elsewhere.
    fn distance(&self, other: &Self) -> u32 {
        if self.region != other.region {
            3
        } else if self.zone != other.zone {
            2
        } else if self.subzone != other.subzone {
            1
        } else {
            0
        }
    }

    /// What a label that Kubernetes or Istio derive from the place of a node would say.
    fn label(&self, name: &str) -> Option<&str> {
        match name {
            "topology.kubernetes.io/region" => Some(&*self.region),
            "topology.kubernetes.io/zone" => Some(&*self.zone),
            "topology.istio.io/subzone" => Some(&*self.subzone),
            _ => None,
        }
        .filter(|part| !part.is_empty())
    }
}

impl fmt::Display for Locality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [&*self.region, &*self.zone, &*self.subzone];
        let known = parts
            .iter()
            .rposition(|part| !part.is_empty())
            .map_or(0, |last| last + 1);
        f.write_str(&parts[..known].join("/"))
    }
}

/// Which endpoints are nearer than others, seen from the proxy.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Localities {
    /// None are.
    #[default]
    Alike,
    /// Places have shares, and endpoints elsewhere get nothing.
    ///
    /// Source: Istio `LocalityLoadBalancerSetting.distribute`.
    Distribute(Vec<LocalityShare>),
    /// The nearest are used as long as enough of them are in rotation, then the next.
    ///
    /// Source: Istio `LocalityLoadBalancerSetting.failover` and `failover_priority`.
    Failover(Failover),
}

/// The share of a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalityShare {
    /// Whose it is.
    pub place: LocalityPattern,
    /// In percent.
    pub percent: u32,
}

/// `region/zone/subzone`, where `*` stands for any rest.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocalityPattern(Vec<Arc<str>>);

impl LocalityPattern {
    /// Reads a pattern. Parts that are missing at the end match anything.
    pub fn parse(text: &str) -> Self {
        let parts = text.split('/').take_while(|part| *part != "*");
        Self(parts.map(Arc::from).collect())
    }

    /// Whether a place is in it.
    pub fn matches(&self, place: &Locality) -> bool {
        let parts = [&place.region, &place.zone, &place.subzone];
        self.0.iter().zip(parts).all(|(own, part)| own == part)
    }

    /// How many parts it names: of two that match, the one with more is meant.
    pub(crate) fn parts(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for LocalityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("anywhere"),
            parts => f.write_str(&parts.join("/")),
        }
    }
}

/// Who is nearer, and where to go when nobody near is left.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Failover {
    /// Labels that have to be equal, or to have a value, the most important first. Empty: the place decides.
    pub labels: Vec<FailoverLabel>,
    /// Whether the place decides among those whose labels agree as far: there are no `labels`, or a `failover` too.
    pub by_place: bool,
    /// Where the proxy is.
    pub proxy: Locality,
    /// The region that comes before all other foreign ones.
    pub to: Option<Arc<str>>,
}

/// A label by which endpoints are nearer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FailoverLabel {
    /// Its name.
    pub name: Arc<str>,
    /// What it has to be: what was written after `=`, else the proxy's own. Absent: the proxy has none, so that
    /// endpoints without it agree.
    pub value: Option<Arc<str>>,
}

impl FailoverLabel {
    /// Reads `name` or `name=value`.
    pub fn parse(text: &str, proxy: &Locality, labels: &Labels) -> Self {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, label(text, labels, proxy)),
        };
        Self {
            name: name.into(),
            value: value.map(Arc::from),
        }
    }
}

/// How near an endpoint is, and what it shares a part of the traffic with.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rank {
    /// 0 is nearest. Numbers may be left out.
    pub priority: u32,
    /// The share of its place by index, and how large it is in percent.
    pub share: Option<(u32, u32)>,
}

impl Localities {
    /// How near an endpoint is. `None`: it gets nothing.
    pub fn rank(&self, endpoint: &Endpoint) -> Option<Rank> {
        match self {
            Self::Alike => Some(Rank::default()),
            Self::Distribute(shares) => share_of(shares, &Locality::parse(&endpoint.locality)),
            Self::Failover(failover) => Some(Rank {
                priority: failover.priority(endpoint),
                share: None,
            }),
        }
    }
}

fn share_of(shares: &[LocalityShare], place: &Locality) -> Option<Rank> {
    let index = shares.iter().position(|share| share.place.matches(place))?;
    Some(Rank {
        priority: 0,
        share: Some((u32::try_from(index).ok()?, shares[index].percent)),
    })
}

impl Failover {
    /// Labels come before places: the first label that differs decides.
    fn priority(&self, endpoint: &Endpoint) -> u32 {
        let place = Locality::parse(&endpoint.locality);
        let agreeing = self.labels.iter().take_while(|wanted| {
            label(&wanted.name, endpoint.labels(), &place) == wanted.value.as_deref()
        });
        let differing = self.labels.len() - agreeing.count();
        let differing = u32::try_from(differing).unwrap_or(u32::MAX);
        match self.by_place {
            true => differing
                .saturating_mul(PLACES)
                .saturating_add(self.distance(&place)),
            false => differing,
        }
    }

    /// As [`Locality::distance`]; a foreign region that is not the one to fail over to is further still.
    fn distance(&self, place: &Locality) -> u32 {
        let distance = self.proxy.distance(place);
        match &self.to {
            Some(to) if distance == 3 && *to != place.region => 4,
            _ => distance,
        }
    }
}

/// Distances there are.
const PLACES: u32 = 5;

/// A workload's label, or what its place says where it has none.
fn label<'l>(name: &str, labels: &'l Labels, place: &'l Locality) -> Option<&'l str> {
    labels
        .get(name)
        .map(String::as_str)
        .or_else(|| place.label(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EndpointAddr, Workload};

    fn endpoint(locality: &str, labels: &[(&str, &str)]) -> Endpoint {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let workload = Workload {
            labels: Arc::new(labels.collect()),
            ..Workload::default()
        };
        Endpoint {
            workload: Some(Arc::new(workload)),
            locality: locality.into(),
            ..Endpoint::at(EndpointAddr::Unix("/socket".into()))
        }
    }

    #[track_caller]
    fn check(localities: &Localities, cases: &[(&str, Option<u32>)]) {
        for (place, want) in cases {
            let rank = localities.rank(&endpoint(place, &[]));
            assert_eq!(rank.map(|rank| rank.priority), *want, "{place}");
        }
    }

    fn failover(to: Option<&str>) -> Localities {
        Localities::Failover(Failover {
            by_place: true,
            proxy: Locality::parse("eu/a/1"),
            to: to.map(Arc::from),
            ..Failover::default()
        })
    }

    #[test]
    fn nearer_places_come_first() {
        check(
            &failover(None),
            &[
                ("eu/a/1", Some(0)),
                ("eu/a/2", Some(1)),
                ("eu/a", Some(1)),
                ("eu/b/1", Some(2)),
                ("us/a/1", Some(3)),
                ("", Some(3)),
            ],
        );
    }

    #[test]
    fn a_region_to_fail_over_to_comes_before_the_others() {
        check(
            &failover(Some("us")),
            &[("eu/b", Some(2)), ("us/x", Some(3)), ("ap/x", Some(4))],
        );
    }

    #[test]
    fn shares_are_of_places_and_others_get_nothing() {
        let share = |place: &str, percent| LocalityShare {
            place: LocalityPattern::parse(place),
            percent,
        };
        let localities = Localities::Distribute(vec![share("eu/a/*", 80), share("eu/*", 20)]);
        let of = |place: &str| localities.rank(&endpoint(place, &[]));
        assert_eq!(of("eu/a/1").and_then(|rank| rank.share), Some((0, 80)));
        assert_eq!(of("eu/b").and_then(|rank| rank.share), Some((1, 20)));
        assert_eq!(of("us/a"), None);
    }

    #[test]
    fn the_first_label_that_differs_decides() {
        let proxy = Locality::parse("eu/a");
        let own = Labels::from([("version".to_owned(), "v1".to_owned())]);
        let label = |text| FailoverLabel::parse(text, &proxy, &own);
        let localities = Localities::Failover(Failover {
            labels: vec![
                label("topology.kubernetes.io/region"),
                label("version"),
                label("tier=gold"),
            ],
            proxy: proxy.clone(),
            ..Failover::default()
        });
        let priority = |place: &str, labels: &[(&str, &str)]| {
            localities.rank(&endpoint(place, labels)).unwrap().priority
        };
        assert_eq!(priority("eu/b", &[("version", "v1"), ("tier", "gold")]), 0);
        assert_eq!(priority("eu/b", &[("version", "v1")]), 1);
        assert_eq!(priority("eu/b", &[("version", "v2"), ("tier", "gold")]), 2);
        assert_eq!(priority("us/b", &[("version", "v1"), ("tier", "gold")]), 3);
    }

    #[test]
    fn a_locality_is_written_as_it_was_read() {
        for text in ["eu/a/1", "eu/a", "eu", "", "/a"] {
            assert_eq!(Locality::parse(text).to_string(), text);
        }
    }
}
