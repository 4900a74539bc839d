//! The Lease itself: read, made, renewed, taken and given back.

use super::{Election, Record, Step, Terms};
use crate::refusal::reason;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// One of several that want to hold a Lease.
pub(crate) struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
    election: Election,
    turn: watch::Sender<Option<Instant>>,
    dice: SmallRng,
    /// What was told of why it cannot be held.
    told: Option<String>,
}

/// Whether it is this one's turn to act.
#[derive(Clone, Debug)]
pub struct Turn(watch::Receiver<Option<Instant>>);

impl Turn {
    /// A turn that is nobody's yet, and who says whose it is.
    pub(crate) fn new() -> (Self, watch::Sender<Option<Instant>>) {
        let (sender, receiver) = watch::channel(None);
        (Self(receiver), sender)
    }

    /// Waits until it is one's own.
    pub async fn begins(&mut self) {
        while !self.is_ours() {
            self.changed().await;
        }
    }

    /// Waits until it is another's, or may be.
    pub async fn ends(&mut self) {
        while self.is_ours() {
            let until = (*self.0.borrow_and_update()).unwrap_or_else(Instant::now);
            tokio::select! {
                () = self.changed() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }

    /// Whether it is now. What is begun has to end within [`Terms::patience`].
    pub(crate) fn is_ours(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it may be another's turn, or the own one is longer. For ever, if nothing runs any more.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Elector {
    /// One for a Lease of this name, which does nothing yet. The identity is nobody else's.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: String,
        identity: String,
        terms: Terms,
        turn: watch::Sender<Option<Instant>>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name,
            election: Election::new(identity.clone(), terms),
            identity,
            terms,
            turn,
            dice: SmallRng::from_os_rng(),
            told: None,
        }
    }

    /// Tries to hold it, and to keep it, until the end; then it is to be [given back](Self::release).
    pub(crate) async fn run(&mut self, mut ending: watch::Receiver<bool>) {
        loop {
            let acted = self.election.acts(Instant::now());
            self.round().await;
            let acts = self.election.acts(Instant::now());
            if acts != acted {
                tracing::info!(lease = self.name, acts, "the turn to act changed");
            }
            // Part of it is chance, so that not all come at once.
            let jitter = self.dice.random_range(0.0..0.2);
            tokio::select! {
                () = sleep(self.terms.retry.mul_f64(1.0 + jitter)) => {}
                // Fails when nobody will say so any more, which is the end as well.
                _ = ending.wait_for(|ends| *ends) => return,
            }
        }
    }

    async fn round(&mut self) {
        let outcome = self.advance().await;
        match outcome {
            Ok(()) => self.told = None,
            Err(problem) => self.note(problem),
        }
        let until = self.election.acts_until();
        self.turn
            .send_if_modified(|known| std::mem::replace(known, until) != until);
    }

    /// Once told, for as long as it is so for the same reason: it is tried again every other second.
    fn note(&mut self, problem: String) {
        if self.told.as_ref() != Some(&problem) {
            tracing::warn!(lease = self.name, "the Lease cannot be had: {problem}");
            self.told = Some(problem);
        }
    }

    async fn advance(&mut self) -> Result<(), String> {
        if let Some(record) = self.election.own() {
            return self.write(Step::Renew(record)).await;
        }
        let read = timeout(self.terms.patience, self.api.get_opt(&self.name)).await;
        let lease = read.map_err(|_| unanswered())?;
        let lease = lease.map_err(|error| reason(&error))?;
        let lease = lease.as_ref().map(record);
        // Without one nothing could be written on condition that it is still the same.
        if lease.as_ref().is_some_and(|lease| lease.version.is_empty()) {
            return Err("it has no version".to_owned());
        }
        let now = Instant::now();
        self.election.saw(lease, now);
        self.write(self.election.step(now)).await
    }

    async fn write(&mut self, step: Step) -> Result<(), String> {
        let sent = Instant::now();
        let written = async {
            match step {
                Step::Wait => Ok(None),
                Step::Make => self.make().await.map(Some),
                Step::Take(before) => {
                    let transitions = before.transitions.saturating_add(1);
                    let taken = json!({"acquireTime": now(), "leaseTransitions": transitions});
                    self.patch(&before, taken).await.map(Some)
                }
                Step::Renew(before) => self.patch(&before, json!({})).await.map(Some),
            }
        };
        match timeout(self.terms.patience, written).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(lease))) => {
                self.election.wrote(record(&lease), sent, Instant::now());
                Ok(())
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                self.election.failed();
                Ok(())
            }
            Ok(Err(error)) => {
                self.election.failed();
                Err(reason(&error))
            }
            Err(_) => {
                self.election.failed();
                Err(unanswered())
            }
        }
    }

    async fn make(&self) -> kube::Result<Lease> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: Some(self.seconds()),
                lease_transitions: Some(0),
                acquire_time: Some(now()),
                renew_time: Some(now()),
                ..LeaseSpec::default()
            }),
        };
        self.api.create(&PostParams::default(), &lease).await
    }

    fn seconds(&self) -> i32 {
        self.terms.lasts.as_secs().try_into().unwrap_or(i32::MAX)
    }

    /// Makes this version of it one's own, or fails with a conflict.
    async fn patch(&self, before: &Record, more: serde_json::Value) -> kube::Result<Lease> {
        let mut spec = more;
        spec["holderIdentity"] = json!(self.identity);
        spec["leaseDurationSeconds"] = json!(self.seconds());
        spec["renewTime"] = json!(now());
        self.patch_spec(before, spec).await
    }

    async fn patch_spec(&self, before: &Record, spec: serde_json::Value) -> kube::Result<Lease> {
        let patch = json!({"metadata": {"resourceVersion": before.version}, "spec": spec});
        let parameters = PatchParams::default();
        let patch = Patch::Merge(patch);
        self.api.patch(&self.name, &parameters, &patch).await
    }

    /// Acts no more, and lets another have it at once. What fails is of no matter: it runs out.
    pub(crate) async fn release(&mut self) {
        let own = self.election.give_up();
        self.turn.send_replace(None);
        let Some(record) = own else {
            return;
        };
        let given_back =
            json!({"holderIdentity": null, "leaseDurationSeconds": 1, "renewTime": now()});
        let released = self.patch_spec(&record, given_back);
        match timeout(self.terms.patience, released).await {
            Ok(Ok(_)) => tracing::debug!(lease = self.name, "the Lease was given back"),
            _ => tracing::debug!(lease = self.name, "the Lease is left to run out"),
        }
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

fn unanswered() -> String {
    "the API server does not answer".to_owned()
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let holder = spec.and_then(|spec| spec.holder_identity.clone());
    Record {
        holder: holder.filter(|holder| !holder.is_empty()),
        lasts: Duration::from_secs(seconds.unwrap_or_default().max(0).unsigned_abs().into()),
        transitions: spec
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
    }
}
