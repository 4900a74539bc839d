//! What of the objects that are followed their status needs, as far as it is in force here.

use super::condition::Told;
use crate::kinds::Kind;
use crate::raw_object::RawObject;
use config::{Mark, Message};
use kube::{Resource, ResourceExt};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Publications that a place's versions wait for. Of more, those in between are not told of on their own.
const AHEAD: usize = 64;

/// What of the objects that are followed their status needs, as far as it is in force here. A few hundred bytes an object.
#[derive(Clone)]
pub struct Seen(Arc<Shared>);

struct Shared {
    /// The type of one's own condition.
    condition: String,
    state: Mutex<State>,
    /// Goes on whenever something was judged.
    judged: watch::Sender<u64>,
    /// Goes on whenever something came into force.
    settled: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Judged, by a publication of this number, which need not be in force yet. None: it is gone.
    ahead: BTreeMap<Arc<str>, (u64, Option<Sight>)>,
    objects: BTreeMap<Arc<str>, Object>,
    places: BTreeMap<Arc<str>, Place>,
}

/// One version of an object.
#[derive(Clone, Debug)]
struct Sight {
    place: Arc<str>,
    generation: i64,
    version: Option<u64>,
    told: Option<Told>,
}

/// An object in force here, or refused.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Where it is followed: its kind, or its kind in its namespace.
    pub(crate) place: Arc<str>,
    /// Its generation.
    pub(crate) generation: i64,
    /// The version at which that generation was seen first: who has seen as much of its place has seen it. Absent: the
    /// API server's versions are no numbers.
    pub(crate) since: Option<u64>,
    /// When it was.
    pub(crate) changed: Instant,
    /// What is there of one's own condition.
    pub(crate) told: Option<Told>,
}

/// Objects that are followed together, in the order of their versions.
#[derive(Clone, Debug)]
struct Place {
    kind: Kind,
    api_version: &'static str,
    /// Which version is in force with which publication.
    ahead: VecDeque<(u64, u64)>,
    /// The highest that is.
    in_force: u64,
}

impl Seen {
    /// Nothing yet. Its own condition is of this type.
    pub(crate) fn new(condition: String) -> Self {
        Self(Arc::new(Shared {
            condition,
            state: Mutex::default(),
            judged: watch::Sender::new(0),
            settled: watch::Sender::new(0),
        }))
    }

    /// The type of one's own condition.
    pub(crate) fn condition(&self) -> &str {
        &self.0.condition
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on whenever something was judged.
    pub(crate) fn judged(&self) -> watch::Receiver<u64> {
        self.0.judged.subscribe()
    }

    /// Goes on whenever something came into force.
    pub(crate) fn settled(&self) -> watch::Receiver<u64> {
        self.0.settled.subscribe()
    }

    /// The publication of this number is in force.
    pub(crate) fn settle(&self, number: u64, now: Instant) {
        self.state().settle(number, now);
        self.0.settled.send_modify(|count| *count += 1);
    }

    /// Up to which version of each place everything is in force.
    pub(crate) fn in_force(&self) -> BTreeMap<Arc<str>, u64> {
        let state = self.state();
        let places = state.places.iter();
        places
            .map(|(place, known)| (place.clone(), known.in_force))
            .collect()
    }

    /// All objects.
    pub(crate) fn objects(&self) -> Vec<(Arc<str>, Object)> {
        let state = self.state();
        let objects = state.objects.iter();
        objects
            .map(|(file, object)| (file.clone(), object.clone()))
            .collect()
    }

    pub(crate) fn object(&self, file: &str) -> Option<Object> {
        self.state().objects.get(file).cloned()
    }

    /// Which kind a place's objects are of, and the version of their API that is asked for.
    pub(crate) fn kind(&self, place: &str) -> Option<(Kind, &'static str)> {
        let state = self.state();
        let place = state.places.get(place)?;
        Some((place.kind, place.api_version))
    }

    /// What is there of one's own condition.
    pub(crate) fn note_told(&self, file: &str, told: Told) {
        if let Some(object) = self.state().objects.get_mut(file) {
            object.told = Some(told);
        }
    }

    fn reached(&self, number: u64, batch: &Batch) {
        self.state().reached(number, batch);
        self.0.judged.send_modify(|count| *count += 1);
    }
}

impl State {
    fn reached(&mut self, number: u64, batch: &Batch) {
        for (file, sight) in &batch.sights {
            self.ahead.insert(file.clone(), (number, sight.clone()));
        }
        let place = self.places.entry(batch.place.clone());
        let place = place.or_insert_with(|| Place {
            kind: batch.kind,
            api_version: batch.api_version,
            ahead: VecDeque::new(),
            in_force: 0,
        });
        place.api_version = batch.api_version;
        if place.ahead.len() >= AHEAD {
            place.ahead.pop_back();
        }
        place.ahead.push_back((number, batch.version));
    }

    fn settle(&mut self, number: u64, now: Instant) {
        let waiting = std::mem::take(&mut self.ahead);
        for (file, (judged, sight)) in waiting {
            if judged > number {
                self.ahead.insert(file, (judged, sight));
                continue;
            }
            match sight {
                Some(sight) => self.put(file, sight, now),
                None => drop(self.objects.remove(&file)),
            }
        }
        for place in self.places.values_mut() {
            while let Some((judged, version)) = place.ahead.front().copied()
                && judged <= number
            {
                place.in_force = version;
                place.ahead.pop_front();
            }
        }
    }

    fn put(&mut self, file: Arc<str>, sight: Sight, now: Instant) {
        let Sight {
            place,
            generation,
            version,
            told,
        } = sight;
        // A status that is written makes another version of the same generation.
        let before = self.objects.get(&file);
        let before = before.filter(|before| before.generation == generation);
        let object = Object {
            place,
            generation,
            // It comes with an earlier one where the API server was put back to a former state.
            since: match before.and_then(|before| before.since) {
                Some(since) => version.map(|version| version.min(since)).or(Some(since)),
                None => version,
            },
            changed: before.map_or(now, |before| before.changed),
            told,
        };
        self.objects.insert(file, object);
    }
}

/// What one who follows a kind saw since it was told last.
pub(crate) struct Tap {
    seen: Seen,
    batch: Batch,
}

#[derive(Clone)]
struct Batch {
    place: Arc<str>,
    kind: Kind,
    api_version: &'static str,
    sights: Vec<(Arc<str>, Option<Sight>)>,
    /// The highest one seen.
    version: u64,
    is_news: bool,
}

impl Tap {
    /// What is seen of a kind, in one namespace or in all. `None`: nothing is written of it.
    pub(crate) fn new(seen: Option<&Seen>, kind: Kind, namespace: Option<&str>) -> Option<Self> {
        let seen = seen.filter(|_| kind.has_status())?.clone();
        let place = match namespace {
            Some(namespace) => format!("{}/{namespace}", kind.name),
            None => kind.name.to_owned(),
        };
        let batch = Batch {
            place: place.into(),
            kind,
            api_version: "",
            sights: Vec::new(),
            version: 0,
            is_news: false,
        };
        Some(Self { seen, batch })
    }

    /// Everything is listed again.
    pub(crate) fn begin(&mut self) {
        self.batch.sights.clear();
        self.batch.version = 0;
    }

    /// All of it was told, even if there is nothing.
    pub(crate) fn listed(&mut self) {
        self.batch.is_news = true;
    }

    /// An object is there, and was read in this version of its API.
    pub(crate) fn sees(&mut self, file: &Arc<str>, object: &RawObject, version: &'static str) {
        let sight = Sight {
            place: self.batch.place.clone(),
            generation: object.meta().generation.unwrap_or_default(),
            version: number(object),
            told: (object.status().ok())
                .and_then(|status| Told::of(&status, self.seen.condition())),
        };
        self.batch.api_version = version;
        self.batch.version = self.batch.version.max(sight.version.unwrap_or_default());
        self.batch.sights.push((file.clone(), Some(sight)));
        self.batch.is_news = true;
    }

    /// An object is gone, of which this was the last version, if it is known.
    pub(crate) fn loses(&mut self, file: &Arc<str>, object: Option<&RawObject>) {
        let version = object.and_then(number).unwrap_or_default();
        self.batch.version = self.batch.version.max(version);
        self.batch.sights.push((file.clone(), None));
        self.batch.is_news = true;
    }

    /// What is to be sent behind what was told of it. Absent: nothing was seen.
    pub(crate) fn mark(&mut self) -> Option<Message> {
        if !std::mem::take(&mut self.batch.is_news) {
            return None;
        }
        let seen = self.seen.clone();
        let sights = std::mem::take(&mut self.batch.sights);
        let batch = Batch {
            sights,
            ..self.batch.clone()
        };
        let mark = Mark::new(move |number| seen.reached(number, &batch));
        Some(Message::Mark(mark))
    }
}

/// An object's version. Those of one kind can be compared, as numbers.
///
/// Source: Kubernetes API concepts, "Resource versions"; KEP-5504 promises it from 1.35 on, etcd and all API servers on it
/// keep to it before.
fn number(object: &RawObject) -> Option<u64> {
    object.resource_version()?.parse().ok()
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seen")
    }
}

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Seen {}
