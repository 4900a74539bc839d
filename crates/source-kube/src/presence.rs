//! Which replicas there are: each tells something by a Lease of its own, which runs out with it.
//!
//! A Lease is written when what it tells changes, but not more often than every other second, and every ten seconds
//! otherwise.

use crate::refusal::reason;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Leases that are counted.
const MOST: u32 = 1000;

/// How long a replica counts that does not renew its Lease, and how long until that is taken away.
const LASTS: Duration = Duration::from_secs(40);
const FORGOTTEN: Duration = Duration::from_secs(600);

/// How often it is renewed, and how often it is written at most.
const RENEW_EVERY: Duration = Duration::from_secs(10);
const WRITE_EVERY: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(3);

/// What Leases are for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purpose {
    /// What stands in their names between the proxy's and a random part.
    pub(crate) infix: &'static str,
    /// The label with the proxy's name, which tells them from others.
    pub(crate) label: &'static str,
    /// The annotation that tells something.
    pub(crate) annotation: &'static str,
}

/// This replica's Lease.
pub(crate) struct Presence {
    api: Api<Lease>,
    purpose: Purpose,
    proxy: String,
    name: String,
    identity: String,
    is_told: bool,
}

impl Presence {
    /// The Lease of one that has this identity, which is nobody else's.
    pub(crate) fn new(
        client: Client,
        purpose: Purpose,
        (namespace, proxy): (&str, &str),
        (identity, random): (&str, &str),
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            purpose,
            proxy: proxy.to_owned(),
            name: format!("{proxy}-{}-{random}", purpose.infix),
            identity: identity.to_owned(),
            is_told: false,
        }
    }

    /// Tells this, again and again, until the end; then it is to be [taken away](Self::remove).
    pub(crate) async fn run(
        &mut self,
        mut text: watch::Receiver<String>,
        mut ending: watch::Receiver<bool>,
    ) {
        loop {
            let due = Instant::now() + RENEW_EVERY;
            let now = text.borrow_and_update().clone();
            let written = self.write(&now).await;
            if let Err(problem) = &written {
                self.note(problem);
            }
            tokio::select! {
                () = wait(due, written.is_ok(), &mut text) => {}
                // Fails when nobody will say so any more, which is the end as well.
                _ = ending.wait_for(|ends| *ends) => return,
            }
        }
    }

    fn note(&mut self, problem: &str) {
        if !std::mem::replace(&mut self.is_told, true) {
            let lease = &self.name;
            tracing::warn!(lease, "other replicas cannot be told: {problem}");
        }
    }

    async fn write(&mut self, text: &str) -> Result<(), String> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": self.name,
                "labels": {self.purpose.label: self.proxy},
                "annotations": {self.purpose.annotation: text},
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

    /// Takes it away: this replica does not count any more. What fails is of no matter: it runs out.
    pub(crate) async fn remove(&self) {
        let parameters = DeleteParams::default();
        let removed = self.api.delete(&self.name, &parameters);
        let _ = timeout(PATIENCE, removed).await;
    }

    /// The name of the Lease.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Waits until it is to be written again: soon if it failed, or what it tells is another.
async fn wait(due: Instant, is_written: bool, text: &mut watch::Receiver<String>) {
    sleep(WRITE_EVERY).await;
    if is_written {
        let left = due.saturating_duration_since(Instant::now());
        // Either is a reason to write.
        let _ = timeout(left, text.changed()).await;
    }
}

/// All replicas, as they are seen by who looks.
pub(crate) struct Peers {
    api: Api<Lease>,
    purpose: Purpose,
    proxy: String,
    known: BTreeMap<String, Peer>,
}

/// A replica.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    version: String,
    /// Since when its Lease is seen without a change: clocks of others do not count.
    since: Instant,
    /// What it tells.
    pub(crate) text: String,
}

impl Peers {
    pub(crate) fn new(client: Client, purpose: Purpose, (namespace, proxy): (&str, &str)) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            purpose,
            proxy: proxy.to_owned(),
            known: BTreeMap::new(),
        }
    }

    /// Looks what they tell, and takes a Lease away that was not renewed for long.
    pub(crate) async fn look(&mut self) -> Result<(), String> {
        let parameters = ListParams::default()
            .labels(&format!("{}={}", self.purpose.label, self.proxy))
            .limit(MOST);
        let listed = timeout(PATIENCE, self.api.list(&parameters)).await;
        let listed = listed.map_err(|_| "the API server does not answer".to_owned())?;
        let leases = listed.map_err(|error| reason(&error))?.items;
        let now = Instant::now();
        let annotation = self.purpose.annotation;
        let told = leases.iter().map(|lease| told(lease, annotation));
        saw(&mut self.known, told, now);
        if let Some(name) = forgotten(&self.known, now) {
            tracing::debug!(lease = name, "a replica is gone");
            let parameters = DeleteParams::default();
            let gone = self.api.delete(&name, &parameters);
            let _ = timeout(PATIENCE, gone).await;
        }
        Ok(())
    }

    /// Those whose Lease has not run out, by its name.
    pub(crate) fn alive(&self, now: Instant) -> impl Iterator<Item = (&str, &Peer)> {
        alive(&self.known, now)
    }
}

/// What a Lease is: its name, its version, and what it tells.
fn told(lease: &Lease, annotation: &str) -> (String, String, String) {
    let text = lease.annotations().get(annotation).cloned();
    let version = lease.resource_version().unwrap_or_default();
    (lease.name_any(), version, text.unwrap_or_default())
}

fn saw(
    known: &mut BTreeMap<String, Peer>,
    leases: impl Iterator<Item = (String, String, String)>,
    now: Instant,
) {
    let mut before = std::mem::take(known);
    for (name, version, text) in leases {
        let same = before.remove(&name).filter(|one| one.version == version);
        let peer = Peer {
            version,
            since: same.map_or(now, |one| one.since),
            text,
        };
        known.insert(name, peer);
    }
}

fn alive(known: &BTreeMap<String, Peer>, now: Instant) -> impl Iterator<Item = (&str, &Peer)> {
    let all = known.iter().map(|(name, peer)| (name.as_str(), peer));
    all.filter(move |(_, peer)| now < peer.since + LASTS)
}

/// One whose Lease was not renewed for long.
fn forgotten(known: &BTreeMap<String, Peer>, now: Instant) -> Option<String> {
    let mut all = known.iter();
    let (name, _) = all.find(|(_, peer)| now >= peer.since + FORGOTTEN)?;
    Some(name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_renew_its_lease_does_not_count_and_is_forgotten() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut known = BTreeMap::new();
        for (seconds, version, want) in [(0, "1", 1), (39, "1", 1), (40, "1", 0), (50, "2", 1)] {
            let lease = ("a".to_owned(), version.to_owned(), String::new());
            saw(&mut known, std::iter::once(lease), at(seconds));
            assert_eq!(alive(&known, at(seconds)).count(), want, "{seconds}");
        }
        assert_eq!(forgotten(&known, at(649)), None);
        assert_eq!(forgotten(&known, at(650)).as_deref(), Some("a"));
        saw(&mut known, std::iter::empty(), at(651));
        assert_eq!(forgotten(&known, at(10_000)), None);
    }
}
