//! Who writes conditions, while it is its turn: what is not as it should be, the oldest first, at a bounded rate.

use super::bucket::Bucket;
use super::condition::{Told, Verdict, conditions};
use super::events::{Events, Problem, camel_case};
use super::judge::{Judge, reference};
use super::replicas::Others;
use super::seen::{Object, Seen};
use crate::election::driver::Turn;
use crate::raw_object::RawObject;
use crate::refusal::{code, reason};
use config::Published;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Conditions a second, and at once. Each is two requests.
const PER_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 50.0;

/// Conditions that are written until it is looked again which are to be.
const IN_A_ROW: usize = 20;

/// How long all of a kind are left alone that must not be written, and one that is not taken.
const AFTER_REFUSAL: Duration = Duration::from_secs(300);

/// How long one is left alone that somebody else has written at the same time.
const AFTER_CONFLICT: Duration = Duration::from_secs(1);

/// How long nothing is written that could not be, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Failures in a row that are not told of.
const UNTOLD_FAILURES: u32 = 2;

/// How long a proxy that has not taken up a generation is waited for, before the condition says so.
const SETTLE: Duration = Duration::from_secs(5);

/// How often it is looked which conditions are to be written, at most; how often other proxies are, while one is waited
/// for; and how often both are in any case.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const COUNT_EVERY: Duration = Duration::from_secs(2);
const LOOK_ANYWAY: Duration = Duration::from_secs(10);

/// How long a request may take: what was begun ends before it is another's turn.
const PATIENCE: Duration = Duration::from_millis(1400);

/// Who writes conditions.
pub(crate) struct Teller {
    pub(crate) client: Client,
    pub(crate) seen: Seen,
    pub(crate) in_force: watch::Receiver<Option<Arc<Published>>>,
    pub(crate) turn: Turn,
    pub(crate) others: Others,
    pub(crate) events: Events,
    pub(crate) state: State,
}

/// What is remembered from one look to the next.
pub(crate) struct State {
    counted: Option<Instant>,
    /// Whether an object is waited for that has not reached every proxy.
    is_waiting: bool,
    bucket: Bucket,
    /// Until when an object is left alone. As many as there are objects, at most.
    later: BTreeMap<Arc<str>, Instant>,
    /// Until when a kind is.
    refused: BTreeMap<&'static str, Instant>,
    /// Kinds of which that was told.
    told: BTreeSet<&'static str>,
    failures: u32,
    paused_until: Option<Instant>,
    judge: Option<Judge>,
}

impl State {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            counted: None,
            is_waiting: false,
            bucket: Bucket::new(PER_SECOND, AT_ONCE, now),
            later: BTreeMap::new(),
            refused: BTreeMap::new(),
            told: BTreeSet::new(),
            failures: 0,
            paused_until: None,
            judge: None,
        }
    }
}

/// What is left to be done after a look.
struct Look {
    /// The objects whose condition is to be written, the oldest first.
    due: Vec<Arc<str>>,
    /// Whether one is waited for that has not reached every proxy.
    is_waiting: bool,
    /// When one is to be that is left alone until then.
    next: Instant,
}

/// What became of writing one.
enum Outcome {
    /// It is as it should be.
    Done,
    /// The object is another by now, or gone: the watch tells.
    Changed,
    /// The kind must not be written, or has no status.
    Refused(String),
    /// This one is not taken.
    Invalid(String),
    /// The API server cannot be asked.
    Failed(String),
}

impl Teller {
    /// Never ends.
    pub(crate) async fn run(mut self) {
        let mut settled = self.seen.settled();
        loop {
            let is_ours = self.turn.is_ours();
            let wait = match is_ours {
                true => self.act().await,
                false => LOOK_ANYWAY,
            };
            sleep(LOOK_EVERY).await;
            tokio::select! {
                _ = settled.changed() => {}
                () = self.turn.changed(), if !is_ours => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Writes some of what is to be written. Returns how long there is nothing to be done, if nothing changes.
    async fn act(&mut self) -> Duration {
        self.count().await;
        let look = self.look();
        self.state.is_waiting = look.is_waiting;
        let now = Instant::now();
        if let Some(until) = self.state.paused_until.filter(|until| now < *until) {
            return until.saturating_duration_since(now);
        }
        for file in look.due.iter().take(IN_A_ROW) {
            while let Err(wait) = self.state.bucket.take(Instant::now()) {
                sleep(wait).await;
            }
            if !self.turn.is_ours() || !self.write_one(file).await {
                return Duration::ZERO;
            }
        }
        let counts = match look.is_waiting {
            true => self.state.counted.map(|counted| counted + COUNT_EVERY),
            false => None,
        };
        let next = counts.map_or(look.next, |counts| look.next.min(counts));
        match look.due.is_empty() {
            true => next.saturating_duration_since(Instant::now()),
            false => Duration::ZERO,
        }
    }

    /// Whether other proxies were counted at this time or later.
    fn counted_since(&self, time: Instant) -> bool {
        self.state.counted.is_some_and(|counted| counted >= time)
    }

    /// Looks how far other proxies are, if that matters.
    async fn count(&mut self) {
        let every = match self.state.is_waiting {
            true => COUNT_EVERY,
            false => LOOK_ANYWAY,
        };
        let now = Instant::now();
        if self.counted_since(now.checked_sub(every).unwrap_or(now)) {
            return;
        }
        self.state.counted = Some(now);
        if let Err(problem) = self.others.look().await {
            tracing::debug!("other proxies cannot be counted: {problem}");
        }
    }

    /// The publication that is in force, by object.
    fn judge(&mut self) -> Option<&Judge> {
        let published = self.in_force.borrow().clone()?;
        let is_same = |judge: &Judge| judge.number() == published.number;
        if !self.state.judge.as_ref().is_some_and(is_same) {
            self.state.judge = Some(Judge::of(published));
        }
        self.state.judge.as_ref()
    }

    fn look(&mut self) -> Look {
        let now = Instant::now();
        let mut look = Look {
            due: Vec::new(),
            is_waiting: false,
            next: now + LOOK_ANYWAY,
        };
        self.state.later.retain(|_, until| now < *until);
        self.state.refused.retain(|_, until| now < *until);
        if self.judge().is_none() {
            return look;
        }
        let mut due = Vec::new();
        for (file, object) in self.seen.objects() {
            let Some((verdict, wanted)) = self.wanted(&file, &object) else {
                continue;
            };
            let told = object.told.filter(|told| told.is_as(&wanted));
            let is_over = told.is_some_and(|told| told.is_complete());
            look.is_waiting |= !verdict.is_complete() && !is_over;
            if told.is_some() {
                continue;
            }
            if verdict.is_complete() && !self.counted_since(object.changed) {
                // One that has come meanwhile counts as well.
                look.is_waiting = true;
                continue;
            }
            match self.left_alone_until(&file, &object, &verdict) {
                Some(until) if now < until => look.next = look.next.min(until),
                _ => due.push((object.changed, file)),
            }
        }
        due.sort();
        look.due = due.into_iter().map(|(_, file)| file).collect();
        look
    }

    /// Until when the condition of an object is not written.
    fn left_alone_until(
        &self,
        file: &Arc<str>,
        object: &Object,
        verdict: &Verdict,
    ) -> Option<Instant> {
        let kind = reference(file).map(|reference| reference.kind);
        let refused = kind.and_then(|kind| self.state.refused.get(&*kind).copied());
        let later = self.state.later.get(file).copied();
        let settled = (!verdict.is_complete()).then(|| object.changed + SETTLE);
        refused.max(later).max(settled)
    }

    /// What an object's condition should be.
    fn wanted(&self, file: &str, object: &Object) -> Option<(Verdict, Told)> {
        let taken = self.others.taken(object);
        let verdict = self.state.judge.as_ref()?.verdict(file, taken);
        let wanted = verdict.told(object.generation);
        Some((verdict, wanted))
    }

    /// Writes the condition of one, as it should be by now. Returns whether others are to be written.
    async fn write_one(&mut self, file: &Arc<str>) -> bool {
        let (Some(object), Some(_)) = (self.seen.object(file), self.judge()) else {
            return true;
        };
        let Some((verdict, wanted)) = self.wanted(file, &object) else {
            return true;
        };
        if object.told.is_some_and(|told| told.is_as(&wanted)) {
            return true;
        }
        let Some((kind, version)) = self.seen.kind(&object.place) else {
            return true;
        };
        let resource = kind.resource(version);
        let written = self.write(&resource, file, &object, &verdict, wanted);
        let outcome = written.await;
        self.conclude(file, kind.name, outcome)
    }

    fn conclude(&mut self, file: &Arc<str>, kind: &'static str, outcome: Outcome) -> bool {
        let now = Instant::now();
        if !matches!(outcome, Outcome::Failed(_)) {
            self.state.failures = 0;
        }
        match outcome {
            Outcome::Done => {
                self.state.told.remove(kind);
            }
            Outcome::Changed => drop(self.state.later.insert(file.clone(), now + AFTER_CONFLICT)),
            Outcome::Refused(problem) => {
                self.state.refused.insert(kind, now + AFTER_REFUSAL);
                if self.state.told.insert(kind) {
                    tracing::warn!(kind, "no status can be written: {problem}");
                }
                return false;
            }
            Outcome::Invalid(problem) => {
                self.state.later.insert(file.clone(), now + AFTER_REFUSAL);
                tracing::warn!(object = &**file, "its status is not taken: {problem}");
            }
            Outcome::Failed(problem) => {
                self.state.failures = self.state.failures.saturating_add(1);
                let doubled = 2_u32.saturating_pow(self.state.failures.min(10) - 1);
                let pause = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
                self.state.paused_until = Some(now + pause);
                match self.state.failures == UNTOLD_FAILURES + 1 {
                    true => tracing::warn!("no status can be written: {problem}"),
                    false => tracing::debug!("no status can be written: {problem}"),
                }
                return false;
            }
        }
        true
    }

    async fn write(
        &mut self,
        resource: &ApiResource,
        file: &str,
        object: &Object,
        verdict: &Verdict,
        wanted: Told,
    ) -> Outcome {
        let Some(of) = reference(file) else {
            return Outcome::Changed;
        };
        let client = self.client.clone();
        let api: Api<RawObject> = Api::namespaced_with(client, &of.namespace, resource);
        let there = match timeout(PATIENCE, api.get(&of.name)).await {
            Ok(Ok(there)) => there,
            Ok(Err(error)) if code(&error) == Some(404) => return Outcome::Changed,
            Ok(Err(error)) => return refusal(&error),
            Err(_) => return silence(),
        };
        if there.meta().generation.unwrap_or_default() != object.generation {
            return Outcome::Changed;
        }
        let status = match there.status() {
            Ok(status) => status,
            // With one's own alone the conditions of others would be lost.
            Err(error) => return Outcome::Invalid(format!("its status cannot be read: {error}")),
        };
        if Told::of(&status, self.seen.condition()).is_some_and(|told| told.is_as(&wanted)) {
            self.seen.note_told(file, wanted);
            return Outcome::Done;
        }
        let conditions = conditions(
            &status,
            self.seen.condition(),
            object.generation,
            verdict,
            &now(),
        );
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": there.resource_version()},
            "status": {"conditions": conditions},
        }));
        let parameters = PatchParams::default();
        match timeout(PATIENCE, api.patch_status(&of.name, &parameters, &patch)).await {
            Ok(Ok(_)) => {
                self.seen.note_told(file, wanted);
                self.tell_event(file, &there, resource, verdict).await;
                Outcome::Done
            }
            Ok(Err(error)) if code(&error) == Some(409) => Outcome::Changed,
            Ok(Err(error)) if code(&error) == Some(404) && !is_still(&api, &there).await => {
                Outcome::Changed
            }
            Ok(Err(error)) => refusal(&error),
            Err(_) => silence(),
        }
    }

    async fn tell_event(
        &mut self,
        file: &str,
        object: &RawObject,
        resource: &ApiResource,
        verdict: &Verdict,
    ) {
        if verdict.is_accepted() {
            return;
        }
        let code = self.state.judge.as_ref().and_then(|judge| judge.code(file));
        let meta = object.meta().clone();
        let problem = Problem {
            reason: code.map_or_else(|| verdict.reason().to_owned(), camel_case),
            note: verdict.detail.clone(),
            about: ObjectReference {
                api_version: Some(resource.api_version.clone()),
                kind: Some(resource.kind.clone()),
                name: meta.name,
                namespace: meta.namespace,
                uid: meta.uid,
                resource_version: meta.resource_version,
                ..ObjectReference::default()
            },
        };
        self.events.tell(problem).await;
    }
}

/// Whether an object is the one that it was: what is gone, or made anew, says nothing about its kind.
async fn is_still(api: &Api<RawObject>, before: &RawObject) -> bool {
    let now = timeout(PATIENCE, api.get(&before.name_any())).await;
    now.is_ok_and(|now| now.is_ok_and(|now| now.uid() == before.uid()))
}

/// As conditions have times: without fractions of a second.
fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn silence() -> Outcome {
    Outcome::Failed("the API server does not answer".to_owned())
}

fn refusal(error: &kube::Error) -> Outcome {
    let problem = reason(error);
    match code(error) {
        // 404: it is there, and has no status.
        Some(401 | 403 | 404 | 405) => Outcome::Refused(problem),
        Some(400 | 413 | 422) => Outcome::Invalid(problem),
        _ => Outcome::Failed(problem),
    }
}
