//! How many proxies have taken up what: each tells by a Lease of its own how far it has come.
//!
//! A Lease says for each kind up to which version everything is in force there, whatever the number of objects. It is
//! written when that goes on, but not more often than every other second, and every ten seconds otherwise.

use super::condition::Taken;
use super::seen::{Object, Seen};
use crate::refusal::reason;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Whose Leases they are, as a label.
const PROXY: &str = "tidegate.io/proxy";

/// Up to which versions everything is in force, as an annotation: `Gateway=17,VirtualService=23`.
const UP_TO: &str = "tidegate.io/in-force";

/// Places that a Lease tells of. An annotation has room for some more.
const PLACES: usize = 2000;

/// Leases that are counted.
const MOST: u32 = 1000;

/// How long a proxy counts that does not renew its Lease, and how long until that is taken away.
const LASTS: Duration = Duration::from_secs(40);
const FORGOTTEN: Duration = Duration::from_secs(600);

/// How often it is renewed, and how often it is written at most.
const RENEW_EVERY: Duration = Duration::from_secs(10);
const WRITE_EVERY: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(3);

/// This proxy's Lease.
pub(crate) struct Own {
    api: Api<Lease>,
    proxy: String,
    name: String,
    identity: String,
    is_told: bool,
}

impl Own {
    /// The Lease of one that has this identity, which is nobody else's.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        proxy: &str,
        identity: &str,
        random: &str,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            proxy: proxy.to_owned(),
            name: format!("{proxy}-proxy-{random}"),
            identity: identity.to_owned(),
            is_told: false,
        }
    }

    /// Writes it again and again. Never ends; whoever drops this is to [take it away](Self::remove).
    pub(crate) async fn run(&mut self, seen: &Seen) {
        let mut settled = seen.settled();
        let mut written = None;
        loop {
            let in_force = up_to(&seen.in_force());
            let due = Instant::now() + RENEW_EVERY;
            match self.write(&in_force).await {
                Ok(()) => written = Some(in_force),
                Err(problem) => self.note(&problem),
            }
            sleep(WRITE_EVERY).await;
            while Instant::now() < due && written == Some(up_to(&seen.in_force())) {
                let wait = due.saturating_duration_since(Instant::now());
                // Either is a reason to look.
                let _ = timeout(wait, settled.changed()).await;
            }
        }
    }

    fn note(&mut self, problem: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            let lease = &self.name;
            tracing::warn!(
                lease,
                "this proxy cannot tell what it has taken up: {problem}"
            );
        }
    }

    async fn write(&mut self, in_force: &str) -> Result<(), String> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.name,
                "labels": {PROXY: self.proxy},
                "annotations": {UP_TO: in_force},
            },
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": LASTS.as_secs(),
                "renewTime": MicroTime(Timestamp::now()),
            },
        });
        let parameters = PatchParams::apply("tidegate").force();
        let patch = Patch::Apply(lease);
        let written = self.api.patch(&self.name, &parameters, &patch);
        match timeout(PATIENCE, written).await {
            Ok(Ok(_)) => self.is_told = false,
            Ok(Err(error)) => return Err(reason(&error)),
            Err(_) => return Err("the API server does not answer".to_owned()),
        }
        Ok(())
    }

    /// Takes it away: this proxy does not count any more. What fails is of no matter: it runs out.
    pub(crate) async fn remove(&self) {
        let parameters = DeleteParams::default();
        let removed = self.api.delete(&self.name, &parameters);
        let _ = timeout(PATIENCE, removed).await;
    }

    /// Those of the same name.
    pub(crate) fn others(&self) -> Others {
        Others {
            api: self.api.clone(),
            proxy: self.proxy.clone(),
            own: self.name.clone(),
            known: Replicas::default(),
        }
    }
}

/// The other proxies of the same name.
pub(crate) struct Others {
    api: Api<Lease>,
    proxy: String,
    /// The name of the Lease that is none of theirs.
    own: String,
    known: Replicas,
}

impl Others {
    /// Looks how far they are, and takes a Lease away that was not renewed for long.
    pub(crate) async fn look(&mut self) -> Result<(), String> {
        let parameters = ListParams::default()
            .labels(&format!("{PROXY}={}", self.proxy))
            .limit(MOST);
        let listed = timeout(PATIENCE, self.api.list(&parameters)).await;
        let listed = listed.map_err(|_| "the API server does not answer".to_owned())?;
        let leases = listed.map_err(|error| reason(&error))?.items.into_iter();
        let others = leases.filter(|lease| lease.name_any() != self.own);
        let now = Instant::now();
        self.known
            .saw(others.map(|lease| told(&lease)).collect(), now);
        if let Some(name) = self.known.forgotten(now) {
            tracing::debug!(lease = name, "a proxy is gone");
            let parameters = DeleteParams::default();
            let gone = self.api.delete(&name, &parameters);
            let _ = timeout(PATIENCE, gone).await;
        }
        Ok(())
    }

    /// How many proxies have taken up an object, this one among them, which has.
    pub(crate) fn taken(&self, object: &Object, now: Instant) -> Taken {
        self.known.taken(object, now)
    }
}

/// What a Lease tells: its name, its version, and how far its proxy has come.
fn told(lease: &Lease) -> (String, String, BTreeMap<String, u64>) {
    let text = lease.annotations().get(UP_TO).map_or("", String::as_str);
    let places = text.split(',').filter_map(|place| {
        let (place, version) = place.split_once('=')?;
        Some((place.to_owned(), version.parse().ok()?))
    });
    let version = lease.resource_version().unwrap_or_default();
    (lease.name_any(), version, places.take(PLACES).collect())
}

fn up_to(places: &BTreeMap<Arc<str>, u64>) -> String {
    let places = places.iter().take(PLACES);
    let places: Vec<_> = places
        .map(|(place, version)| format!("{place}={version}"))
        .collect();
    places.join(",")
}

/// Proxies, as they are seen by who counts them.
#[derive(Debug, Default)]
struct Replicas(BTreeMap<String, Replica>);

#[derive(Debug)]
struct Replica {
    version: String,
    /// Since when it is seen without a change: clocks of others do not count.
    since: Instant,
    up_to: BTreeMap<String, u64>,
}

impl Replicas {
    fn saw(&mut self, leases: Vec<(String, String, BTreeMap<String, u64>)>, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for (name, version, up_to) in leases {
            let same = before.remove(&name).filter(|one| one.version == version);
            let since = same.map_or(now, |one| one.since);
            let replica = Replica {
                version,
                since,
                up_to,
            };
            self.0.insert(name, replica);
        }
    }

    /// One whose Lease was not renewed for long.
    fn forgotten(&self, now: Instant) -> Option<String> {
        let mut all = self.0.iter();
        let (name, _) = all.find(|(_, one)| now >= one.since + FORGOTTEN)?;
        Some(name.clone())
    }

    /// How many have taken up an object, this one among them, which has.
    fn taken(&self, object: &Object, now: Instant) -> Taken {
        let Some(since) = object.since else {
            return Taken::Unknown;
        };
        let alive = self.0.values().filter(|one| now < one.since + LASTS);
        let (mut taken, mut all) = (1, 1);
        for one in alive {
            all += 1;
            let up_to = one.up_to.get(&*object.place).copied();
            // There are more places than it could tell of.
            if up_to.is_none() && one.up_to.len() >= PLACES {
                return Taken::Unknown;
            }
            taken += usize::from(up_to.is_some_and(|up_to| up_to >= since));
        }
        Taken::By(taken, all)
    }
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

    fn lease(name: &str, version: &str, up_to: u64) -> (String, String, BTreeMap<String, u64>) {
        let places = [("Gateway".to_owned(), up_to), ("Sidecar".to_owned(), 99)];
        (name.to_owned(), version.to_owned(), places.into())
    }

    #[test]
    fn who_has_seen_as_much_of_a_kind_has_taken_an_object_up() {
        let now = Instant::now();
        let mut replicas = Replicas::default();
        assert_eq!(replicas.taken(&object(Some(7)), now), Taken::By(1, 1));
        replicas.saw(vec![lease("a", "1", 7), lease("b", "2", 6)], now);
        assert_eq!(replicas.taken(&object(Some(7)), now), Taken::By(2, 3));
        assert_eq!(replicas.taken(&object(None), now), Taken::Unknown);
    }

    #[test]
    fn who_does_not_renew_its_lease_does_not_count_and_is_forgotten() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut replicas = Replicas::default();
        for (seconds, version, want) in [(0, "1", 2), (39, "1", 2), (40, "1", 1), (50, "2", 2)] {
            replicas.saw(vec![lease("a", version, 7)], at(seconds));
            assert_eq!(
                replicas.taken(&object(Some(7)), at(seconds)),
                Taken::By(want, want)
            );
        }
        assert_eq!(replicas.forgotten(at(649)), None);
        assert_eq!(replicas.forgotten(at(650)).as_deref(), Some("a"));
        replicas.saw(Vec::new(), at(651));
        assert_eq!(replicas.forgotten(at(10_000)), None);
    }

    #[test]
    fn what_a_lease_tells_is_read_again() {
        let places: BTreeMap<Arc<str>, u64> =
            [("Gateway".into(), 7), ("Sidecar/a".into(), 12)].into();
        let mut lease = Lease::default();
        lease.metadata.annotations = Some([(UP_TO.to_owned(), up_to(&places))].into());
        let (_, _, read) = told(&lease);
        assert_eq!(
            read,
            [("Gateway".to_owned(), 7), ("Sidecar/a".to_owned(), 12)].into()
        );
        lease.metadata.annotations = Some([(UP_TO.to_owned(), "a,b=,=3,c=x".to_owned())].into());
        assert_eq!(told(&lease).2, [(String::new(), 3)].into());
    }
}
