//! Rules that are never reached, because earlier ones take all their requests.

use crate::{PathMatch, Predicate, Route};
use ahash::{HashMap, HashSet};
use model::Origin;
use std::fmt::Write;
use std::sync::Arc;

/// The matches so far, by what they ask for beside the path.
///
/// A match is covered by an earlier one that asks for nothing or the same beside the path, and whose path takes
/// all of its paths. Finding out does not depend on how many there are.
#[derive(Debug, Default)]
pub(crate) struct Shadows {
    by_conditions: HashMap<String, Paths>,
    catch_all: Option<Arc<Origin>>,
}

/// Paths taken, and by whom.
#[derive(Debug, Default)]
struct Paths {
    any: Option<Arc<Origin>>,
    exact: HashMap<String, Arc<Origin>>,
    prefixes: HashMap<String, Arc<Origin>>,
    lower_prefixes: HashMap<String, Arc<Origin>>,
    lower_exact: HashMap<String, Arc<Origin>>,
    regexes: HashMap<String, Arc<Origin>>,
    lengths: HashSet<usize>,
}

impl Shadows {
    /// Adds a match; the earlier one that takes all its requests, if there is one.
    pub(crate) fn add(&mut self, route: &Route) -> Option<Arc<Origin>> {
        let conditions = conditions(&route.predicate);
        let covering = self.covering(&route.predicate, &conditions);
        if covering.is_none() {
            if route.predicate.is_catch_all() {
                self.catch_all = Some(route.origin.clone());
            }
            let paths = self.by_conditions.entry(conditions).or_default();
            paths.add(route.predicate.uri.as_ref(), &route.origin);
        }
        covering
    }

    /// The match that takes every request.
    pub(crate) fn catch_all(&self) -> Option<&Arc<Origin>> {
        self.catch_all.as_ref()
    }

    fn covering(&self, predicate: &Predicate, conditions: &str) -> Option<Arc<Origin>> {
        if let Some(origin) = &self.catch_all {
            return Some(origin.clone());
        }
        let without = self.by_conditions.get("");
        let same = self.by_conditions.get(conditions);
        without
            .into_iter()
            .chain(same)
            .find_map(|paths| paths.covering(predicate.uri.as_ref()))
            .cloned()
    }
}

/// What a match asks for beside the path, as text that is equal for equal conditions.
fn conditions(predicate: &Predicate) -> String {
    let mut text = String::new();
    let Predicate {
        uri: _,
        scheme,
        method,
        authority,
        headers,
        query,
    } = predicate;
    for (name, value) in [
        ("scheme", scheme),
        ("method", method),
        ("authority", authority),
    ] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = write!(text, "{name} {value:?};");
        }
    }
    for header in headers {
        let _ = write!(text, "{header:?};");
    }
    for query in query {
        let _ = write!(text, "{query:?};");
    }
    text
}

impl Paths {
    fn add(&mut self, uri: Option<&PathMatch>, origin: &Arc<Origin>) {
        let (paths, text) = match uri {
            None => {
                self.any = Some(origin.clone());
                return;
            }
            Some(PathMatch::Exact(text)) => (&mut self.exact, text.clone()),
            Some(PathMatch::ExactIgnoreCase(text)) => {
                (&mut self.lower_exact, text.to_ascii_lowercase())
            }
            Some(PathMatch::Prefix(text)) => {
                self.lengths.insert(text.len());
                (&mut self.prefixes, text.clone())
            }
            Some(PathMatch::PrefixIgnoreCase(text)) => {
                self.lengths.insert(text.len());
                (&mut self.lower_prefixes, text.to_ascii_lowercase())
            }
            Some(PathMatch::Regex(pattern)) => (&mut self.regexes, pattern.source().to_owned()),
        };
        paths.entry(text).or_insert_with(|| origin.clone());
    }

    fn covering(&self, uri: Option<&PathMatch>) -> Option<&Arc<Origin>> {
        let narrower = match uri {
            None => None,
            Some(PathMatch::Exact(text)) => {
                let same = self
                    .exact
                    .get(text)
                    .or_else(|| self.lower_exact.get(&text.to_ascii_lowercase()));
                same.or_else(|| self.prefix_of(text))
                    .or_else(|| self.lower_prefix_of(text))
            }
            Some(PathMatch::ExactIgnoreCase(text)) => self
                .lower_exact
                .get(&text.to_ascii_lowercase())
                .or_else(|| self.lower_prefix_of(text)),
            Some(PathMatch::Prefix(text)) => {
                self.prefix_of(text).or_else(|| self.lower_prefix_of(text))
            }
            Some(PathMatch::PrefixIgnoreCase(text)) => self.lower_prefix_of(text),
            Some(PathMatch::Regex(pattern)) => self.regexes.get(pattern.source()),
        };
        // Every path begins with a slash, so `prefix: /` takes them all.
        let every = self
            .any
            .as_ref()
            .or_else(|| self.prefixes.get("/"))
            .or_else(|| self.prefixes.get(""));
        narrower.or(every)
    }

    fn prefix_of(&self, text: &str) -> Option<&Arc<Origin>> {
        self.beginnings(text)
            .find_map(|beginning| self.prefixes.get(beginning))
    }

    fn lower_prefix_of(&self, text: &str) -> Option<&Arc<Origin>> {
        let lower = text.to_ascii_lowercase();
        self.beginnings(&lower)
            .find_map(|beginning| self.lower_prefixes.get(beginning))
    }

    fn beginnings<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        self.lengths
            .iter()
            .filter_map(move |length| text.get(..*length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::route;
    use crate::{HeaderKey, HeaderMatch, Pattern, TextMatch};

    fn uri(path: PathMatch) -> Predicate {
        Predicate {
            uri: Some(path),
            ..Predicate::default()
        }
    }

    fn prefix(path: &str) -> Predicate {
        uri(PathMatch::Prefix(path.into()))
    }

    fn with_header(predicate: Predicate, value: &str) -> Predicate {
        let key = HeaderKey::parse("x-user").unwrap();
        let header = HeaderMatch::required(key, TextMatch::Exact(value.into()));
        Predicate {
            headers: vec![header],
            ..predicate
        }
    }

    #[track_caller]
    fn check(earlier: Predicate, later: Predicate, want: bool) {
        let mut shadows = Shadows::default();
        assert!(shadows.add(&route(earlier.clone())).is_none());
        assert_eq!(
            shadows.add(&route(later.clone())).is_some(),
            want,
            "{earlier:?} before {later:?}"
        );
    }

    #[test]
    fn a_prefix_covers_longer_ones_and_exact_paths() {
        check(prefix("/a"), prefix("/a/b"), true);
        check(prefix("/a"), prefix("/a"), true);
        check(prefix("/a"), uri(PathMatch::Exact("/ab".into())), true);
        check(prefix("/a/b"), prefix("/a"), false);
        check(prefix("/a"), prefix("/b"), false);
        check(
            prefix("/a"),
            uri(PathMatch::PrefixIgnoreCase("/a/b".into())),
            false,
        );
        check(
            uri(PathMatch::PrefixIgnoreCase("/A".into())),
            prefix("/a/b"),
            true,
        );
    }

    #[test]
    fn a_catch_all_covers_everything() {
        check(Predicate::default(), with_header(prefix("/a"), "x"), true);
        check(
            prefix("/"),
            uri(PathMatch::Regex(Pattern::parse("/x.*").unwrap())),
            true,
        );
    }

    #[test]
    fn other_conditions_have_to_be_the_same_or_none() {
        check(prefix("/a"), with_header(prefix("/a/b"), "x"), true);
        check(
            with_header(prefix("/a"), "x"),
            with_header(prefix("/a/b"), "x"),
            true,
        );
        check(
            with_header(prefix("/a"), "x"),
            with_header(prefix("/a/b"), "y"),
            false,
        );
        check(with_header(prefix("/a"), "x"), prefix("/a/b"), false);
    }

    #[test]
    fn an_expression_covers_only_itself() {
        let regex = |text| uri(PathMatch::Regex(Pattern::parse(text).unwrap()));
        check(regex("/a.*"), regex("/a.*"), true);
        check(regex("/a.*"), uri(PathMatch::Exact("/ab".into())), false);
    }
}
