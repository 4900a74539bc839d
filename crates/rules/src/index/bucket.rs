//! The routes kept under one path key, split by what else tells them apart.

use crate::{HeaderKey, Predicate, RequestHead, Route, TextMatch, matching};
use ahash::{HashMap, HashMapExt};
use http::HeaderName;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::Arc;

/// Lists up to this long are tried one by one.
const SMALL: usize = 8;

/// How often a bucket is split again.
const MAX_DEPTH: usize = 6;

/// Places of routes in document order.
pub(super) type Lists<'i> = SmallVec<[&'i [u32]; 16]>;

/// Routes, by their place in document order, that one path key leads to.
#[derive(Debug)]
pub(super) enum Bucket {
    /// Tried in order.
    List(Box<[u32]>),
    /// Told apart by a value that the request has or has not.
    Split(Box<Split>),
}

/// Routes that ask for exact values in one place, and those that do not look there.
#[derive(Debug)]
pub(super) struct Split {
    place: Place,
    by_value: HashMap<Box<[u8]>, Bucket>,
    rest: Bucket,
}

/// Where in a request a value stands.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Place {
    Method,
    Authority,
    Header(HeaderName),
    Query(String),
}

impl Place {
    fn value<'a>(&self, head: &RequestHead<'a>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Method => Some(Cow::Borrowed(head.method.as_bytes())),
            Self::Authority => Some(Cow::Borrowed(head.authority.as_bytes())),
            Self::Header(name) => matching::joined(head.headers, name),
            Self::Query(name) => {
                let value = matching::first_value(head.query?, name)?;
                Some(Cow::Borrowed(value.as_bytes()))
            }
        }
    }

    /// The exact value that a predicate asks for here.
    fn wanted<'p>(&self, predicate: &'p Predicate) -> Option<&'p str> {
        exact_values(predicate)
            .into_iter()
            .find_map(|(place, text)| (place == *self).then_some(text))
    }
}

impl Bucket {
    /// Splits `ids`, ascending, while that makes lists shorter.
    pub(super) fn build(ids: Vec<u32>, routes: &[Arc<Route>]) -> Self {
        Self::split(ids, routes, MAX_DEPTH)
    }

    fn split(ids: Vec<u32>, routes: &[Arc<Route>], depth: usize) -> Self {
        if ids.len() <= SMALL || depth == 0 {
            return Self::List(ids.into());
        }
        let Some(place) = most_telling(&ids, routes) else {
            return Self::List(ids.into());
        };
        let mut groups: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut rest = Vec::new();
        for id in ids {
            match place.wanted(&routes[id as usize].predicate) {
                Some(value) => groups.entry(value).or_default().push(id),
                None => rest.push(id),
            }
        }
        let by_value = groups
            .into_iter()
            .map(|(value, ids)| (value.as_bytes().into(), Self::split(ids, routes, depth - 1)))
            .collect();
        let rest = Self::split(rest, routes, depth - 1);
        Self::Split(Box::new(Split {
            place,
            by_value,
            rest,
        }))
    }

    /// Adds the lists that can hold a route for the request.
    pub(super) fn lists<'i>(&'i self, head: &RequestHead<'_>, lists: &mut Lists<'i>) {
        match self {
            Self::List(ids) => lists.push(ids),
            Self::Split(split) => {
                split.rest.lists(head, lists);
                let value = split.place.value(head);
                if let Some(bucket) = value.and_then(|value| split.by_value.get(value.as_ref())) {
                    bucket.lists(head, lists);
                }
            }
        }
    }
}

/// The exact values a predicate asks for, each with its place. A place may come twice.
fn exact_values(predicate: &Predicate) -> SmallVec<[(Place, &str); 4]> {
    let mut values = SmallVec::new();
    if let Some(TextMatch::Exact(text)) = &predicate.method {
        values.push((Place::Method, text.as_str()));
    }
    if let Some(TextMatch::Exact(text)) = &predicate.authority {
        values.push((Place::Authority, text.as_str()));
    }
    for header in &predicate.headers {
        if let (HeaderKey::Header(name), TextMatch::Exact(text), matching::Sense::Required) =
            (&header.key, &header.value, header.sense)
        {
            values.push((Place::Header(name.clone()), text.as_str()));
        }
    }
    for query in &predicate.query {
        if let TextMatch::Exact(text) = &query.value {
            values.push((Place::Query(query.name.clone()), text.as_str()));
        }
    }
    values
}

/// The place whose values leave the shortest lists; `None` when no place leaves them much shorter.
fn most_telling(ids: &[u32], routes: &[Arc<Route>]) -> Option<Place> {
    let mut places: HashMap<Place, HashMap<&str, usize>> = HashMap::new();
    for id in ids {
        for (place, text) in exact_values(&routes[*id as usize].predicate) {
            *places.entry(place).or_default().entry(text).or_default() += 1;
        }
    }
    let longest = |values: &HashMap<&str, usize>| {
        let covered: usize = values.values().sum();
        let largest = values.values().max().copied().unwrap_or(0);
        ids.len().saturating_sub(covered) + largest
    };
    let (place, values) = places
        .into_iter()
        .min_by_key(|(_, values)| longest(values))?;
    (longest(&values) < ids.len() - ids.len() / 8).then_some(place)
}
