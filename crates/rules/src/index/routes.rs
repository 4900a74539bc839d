//! The ordered routes of a virtual host.

use super::bucket::{Bucket, Lists};
use super::trie::{Case, PathTrie};
use crate::{PathMatch, RequestHead, Route};
use std::sync::Arc;

/// Routes in the order in which they are tried, with an index that finds the first that matches
/// without trying those before it.
#[derive(Debug)]
pub struct RouteSet {
    routes: Vec<Arc<Route>>,
    /// Absent: a single route is tried without one.
    index: Option<Box<RouteIndex>>,
}

impl RouteSet {
    /// Indexes `routes`, the first to be tried first.
    pub fn new(routes: Vec<Arc<Route>>) -> Self {
        let index = (routes.len() > 1).then(|| Box::new(RouteIndex::new(&routes)));
        Self { routes, index }
    }

    /// The routes in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The place of the first route that matches.
    pub fn position(&self, head: &RequestHead<'_>) -> Option<usize> {
        let matches = |id: usize| self.routes[id].predicate.matches(head);
        let Some(index) = &self.index else {
            return (0..self.routes.len()).find(|id| matches(*id));
        };
        let mut lists = Lists::new();
        index.candidates(head, &mut lists);
        first(&mut lists, matches)
    }
}

/// Goes through ascending lists as if they were one, until an id is accepted.
fn first(lists: &mut Lists<'_>, mut accept: impl FnMut(usize) -> bool) -> Option<usize> {
    loop {
        let next = lists
            .iter_mut()
            .filter(|list| !list.is_empty())
            .min_by_key(|list| list[0])?;
        let (id, rest) = next.split_first()?;
        *next = rest;
        let id = *id as usize;
        if accept(id) {
            return Some(id);
        }
    }
}

/// For each path the routes that can match it.
#[derive(Debug)]
struct RouteIndex {
    by_path: PathTrie<Bucket>,
    by_path_ignoring_case: PathTrie<Bucket>,
}

impl RouteIndex {
    fn new(routes: &[Arc<Route>]) -> Self {
        let mut by_path = PathTrie::new(Case::Counts);
        let mut by_path_ignoring_case = PathTrie::new(Case::Ignored);
        for (id, route) in (0u32..).zip(routes) {
            match &route.predicate.uri {
                None => keep(by_path.prefix(b""), id),
                Some(PathMatch::Exact(path)) => keep(by_path.exact(path.as_bytes()), id),
                Some(PathMatch::Prefix(path)) => keep(by_path.prefix(path.as_bytes()), id),
                Some(PathMatch::ExactIgnoreCase(path)) => {
                    keep(by_path_ignoring_case.exact(path.as_bytes()), id);
                }
                Some(PathMatch::PrefixIgnoreCase(path)) => {
                    keep(by_path_ignoring_case.prefix(path.as_bytes()), id);
                }
                Some(PathMatch::Regex(pattern)) if pattern.beginnings().is_empty() => {
                    keep(by_path.prefix(b""), id);
                }
                Some(PathMatch::Regex(pattern)) => {
                    for beginning in pattern.beginnings() {
                        keep(by_path.prefix(beginning), id);
                    }
                }
            }
        }
        let bucket = |ids| Bucket::build(ids, routes);
        Self {
            by_path: by_path.map(bucket),
            by_path_ignoring_case: by_path_ignoring_case.map(bucket),
        }
    }

    fn candidates<'i>(&'i self, head: &RequestHead<'_>, lists: &mut Lists<'i>) {
        self.by_path
            .visit(head.path, |bucket| bucket.lists(head, lists));
        self.by_path_ignoring_case
            .visit(head.path, |bucket| bucket.lists(head, lists));
    }
}

fn keep(place: &mut Option<Vec<u32>>, id: u32) {
    place.get_or_insert_default().push(id);
}

#[cfg(test)]
mod tests;
