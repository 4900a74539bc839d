//! Events about objects with errors, for `kubectl describe` and whoever collects them.
//!
//! kube's own recorder takes two events of one object and reason for the same and keeps the text of the first, which would
//! be the wrong one as soon as the error is another. Here the text counts as well.

use super::bucket::Bucket;
use crate::refusal::{code, reason};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// Events a second, and at once. Those beyond are left out: the object's condition says the same.
const PER_SECOND: f64 = 1.0;
const AT_ONCE: f64 = 25.0;

/// How long the same is counted on, after the last time.
const SAME: Duration = Duration::from_secs(6 * 60);

/// Events that may be counted on.
const MOST: usize = 1000;

const PATIENCE: Duration = Duration::from_secs(3);

/// Who tells of errors by events.
pub(crate) struct Events {
    client: Client,
    controller: String,
    instance: String,
    bucket: Bucket,
    recent: HashMap<(String, String), Recent>,
    is_told: bool,
}

/// An event that may be counted on.
#[derive(Clone)]
struct Recent {
    name: String,
    count: i32,
    last: Instant,
}

/// An error of an object.
pub(crate) struct Problem {
    pub(crate) about: ObjectReference,
    /// In one word, `CamelCase`.
    pub(crate) reason: String,
    pub(crate) note: String,
}

impl Events {
    /// Told by this proxy, of which this is an instance.
    pub(crate) fn new(client: Client, controller: &str, instance: &str) -> Self {
        Self {
            client,
            controller: controller.to_owned(),
            instance: bounded(instance, 128),
            bucket: Bucket::new(PER_SECOND, AT_ONCE, Instant::now()),
            recent: HashMap::new(),
            is_told: false,
        }
    }

    /// Tells of an error, if there is room. What fails is logged once.
    pub(crate) async fn tell(&mut self, problem: Problem) {
        let now = Instant::now();
        if self.bucket.take(now).is_err() {
            return;
        }
        self.recent.retain(|_, recent| now < recent.last + SAME);
        match self.write(problem, now).await {
            Ok(()) => self.is_told = false,
            Err(problem) if self.is_told => tracing::debug!("no event can be written: {problem}"),
            Err(problem) => {
                self.is_told = true;
                tracing::warn!("no event can be written: {problem}");
            }
        }
    }

    async fn write(&mut self, problem: Problem, now: Instant) -> Result<(), String> {
        let uid = problem.about.uid.clone().unwrap_or_default();
        let key = (uid, problem.note.clone());
        let namespace = problem.about.namespace.clone().unwrap_or_default();
        let events = Api::<Event>::namespaced(self.client.clone(), &namespace);
        if let Some(recent) = self.recent.get_mut(&key) {
            recent.count = recent.count.saturating_add(1);
            recent.last = now;
            let series = EventSeries {
                count: recent.count,
                last_observed_time: MicroTime(Timestamp::now()),
            };
            let patch = Patch::Merge(json!({"series": series}));
            let parameters = PatchParams::default();
            let counted = events.patch(&recent.name, &parameters, &patch);
            match timeout(PATIENCE, counted).await {
                Ok(Ok(_)) => return Ok(()),
                // Events are forgotten after an hour.
                Ok(Err(error)) if code(&error) == Some(404) => {}
                Ok(Err(error)) => return Err(reason(&error)),
                Err(_) => return Err("the API server does not answer".to_owned()),
            }
        }
        let event = self.event(problem);
        let name = event.metadata.name.clone().unwrap_or_default();
        let parameters = PostParams::default();
        let created = events.create(&parameters, &event);
        match timeout(PATIENCE, created).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(reason(&error)),
            Err(_) => return Err("the API server does not answer".to_owned()),
        }
        self.remember(key, name, now);
        Ok(())
    }

    fn remember(&mut self, key: (String, String), name: String, now: Instant) {
        if self.recent.len() >= MOST {
            let oldest = self.recent.iter().min_by_key(|(_, recent)| recent.last);
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.map(|key| self.recent.remove(&key));
        }
        let recent = Recent {
            name,
            count: 1,
            last: now,
        };
        self.recent.insert(key, recent);
    }

    fn event(&self, problem: Problem) -> Event {
        let now = Timestamp::now();
        let object = problem.about.name.as_deref().unwrap_or_default();
        // An object's name may be as long as an event's.
        let name = format!("{}.{:x}", bounded(object, 200), now.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: problem.about.namespace.clone(),
                ..ObjectMeta::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(bounded(&problem.reason, 128)),
            action: Some("Compile".to_owned()),
            note: Some(bounded(&problem.note, 1023)),
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            regarding: Some(problem.about),
            ..Event::default()
        }
    }
}

fn bounded(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

/// `unknown_field` as `UnknownField`.
pub(crate) fn camel_case(code: &str) -> String {
    let words = code.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_reasons() {
        assert_eq!(camel_case("unknown_field"), "UnknownField");
        assert_eq!(camel_case("x"), "X");
        assert_eq!(camel_case(""), "");
    }
}
