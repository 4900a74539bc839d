//! Applying header operations.

use crate::{Facts, HeaderOps, HeaderTarget, HeaderTemplate, Operator, RequestHead, matching};
use http::{HeaderName, HeaderValue};
use std::borrow::Cow;

impl HeaderOps {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Removes, then sets, then adds.
    ///
    /// A value that turns out empty is neither set nor added, as in Envoy: use `remove` to get rid of a header.
    pub fn apply(&self, target: &mut impl HeaderTarget, facts: &impl Facts) {
        self.apply_removals(target);
        self.apply_sets(target, facts);
        self.apply_adds(target, facts);
    }

    pub(super) fn apply_removals(&self, target: &mut impl HeaderTarget) {
        for name in &self.remove {
            target.remove(name);
        }
    }

    pub(super) fn apply_sets(&self, target: &mut impl HeaderTarget, facts: &impl Facts) {
        for (name, value) in values(&self.set, facts) {
            target.set(name, value);
        }
    }

    pub(super) fn apply_adds(&self, target: &mut impl HeaderTarget, facts: &impl Facts) {
        for (name, value) in values(&self.add, facts) {
            target.append(name, value);
        }
    }
}

fn values<'o>(
    entries: &'o [(HeaderName, HeaderTemplate)],
    facts: &impl Facts,
) -> impl Iterator<Item = (&'o HeaderName, HeaderValue)> {
    let values = entries
        .iter()
        .map(|(name, template)| (name, template.value(facts)));
    values.filter(|(_, value)| !value.is_empty())
}

/// The headers of an answer, changed by operations.
pub(crate) fn answer_headers(
    mut headers: Vec<(HeaderName, HeaderValue)>,
    operations: &HeaderOps,
    facts: &impl Facts,
) -> Vec<(HeaderName, HeaderValue)> {
    operations.apply(&mut headers, facts);
    headers
}

impl HeaderTarget for Vec<(HeaderName, HeaderValue)> {
    fn set(&mut self, name: &HeaderName, value: HeaderValue) {
        HeaderTarget::remove(self, name);
        self.push((name.clone(), value));
    }

    fn append(&mut self, name: &HeaderName, value: HeaderValue) {
        self.push((name.clone(), value));
    }

    fn remove(&mut self, name: &HeaderName) {
        self.retain(|(present, _)| present != name);
    }
}

/// The facts that a request's head alone tells: `REQ`. Everything else is unknown here.
#[derive(Clone, Copy, Debug)]
pub struct HeadFacts<'a>(pub &'a RequestHead<'a>);

impl HeadFacts<'_> {
    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let head = self.0;
        Some(match name {
            ":method" => Cow::Borrowed(head.method),
            ":scheme" => Cow::Borrowed(head.scheme),
            ":authority" | "host" => Cow::Borrowed(head.authority),
            ":path" => match head.query {
                Some(query) => Cow::Owned(format!("{}?{query}", head.path)),
                None => Cow::Borrowed(head.path),
            },
            name => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                match matching::joined(head.headers, &name)? {
                    Cow::Borrowed(value) => String::from_utf8_lossy(value),
                    Cow::Owned(value) => Cow::Owned(String::from_utf8_lossy(&value).into_owned()),
                }
            }
        })
    }
}

impl Facts for HeadFacts<'_> {
    fn value(&self, operator: &Operator) -> Option<Cow<'_, str>> {
        match operator.name.as_str() {
            "REQ" => operator.header_names().find_map(|name| self.header(name)),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::testing::request;

    fn entries(pairs: &[(&str, &str)]) -> Vec<(HeaderName, HeaderTemplate)> {
        let entry = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderTemplate::parse(value).unwrap())
        };
        pairs.iter().map(entry).collect()
    }

    pub(crate) fn ops(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderOps {
        HeaderOps {
            remove: remove
                .iter()
                .map(|name| HeaderName::from_bytes(name.as_bytes()).unwrap())
                .collect(),
            set: entries(set),
            add: entries(add),
        }
    }

    pub(crate) type Lines = Vec<(HeaderName, HeaderValue)>;

    pub(crate) fn lines(pairs: &[(&str, &str)]) -> Lines {
        let line = |(name, value): &(&str, &str)| {
            (
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        pairs.iter().map(line).collect()
    }

    #[track_caller]
    fn check(operations: &HeaderOps, before: &[(&str, &str)], after: &[(&str, &str)]) {
        let mut target = lines(before);
        operations.apply(&mut target, &HeadFacts(&request()));
        assert_eq!(target, lines(after), "{operations:?}");
    }

    #[test]
    fn set_overwrites_or_creates_and_add_appends() {
        check(
            &ops(&[], &[("a", "2")], &[]),
            &[("a", "1"), ("a", "1")],
            &[("a", "2")],
        );
        check(&ops(&[], &[("a", "2")], &[]), &[], &[("a", "2")]);
        check(
            &ops(&[], &[], &[("a", "2")]),
            &[("a", "1")],
            &[("a", "1"), ("a", "2")],
        );
        check(&ops(&[], &[], &[("a", "2")]), &[], &[("a", "2")]);
    }

    #[test]
    fn remove_takes_every_value_and_comes_first() {
        check(
            &ops(&["a"], &[], &[]),
            &[("a", "1"), ("b", "1"), ("a", "2")],
            &[("b", "1")],
        );
        check(
            &ops(&["a"], &[], &[("a", "2")]),
            &[("a", "1")],
            &[("a", "2")],
        );
    }

    #[test]
    fn set_comes_before_add() {
        check(
            &ops(&[], &[("a", "1")], &[("a", "2")]),
            &[("a", "0")],
            &[("a", "1"), ("a", "2")],
        );
    }

    #[test]
    fn an_empty_value_changes_nothing() {
        check(
            &ops(&[], &[("a", "")], &[("b", "%REQ(x-none)%")]),
            &[("a", "1")],
            &[("a", "1")],
        );
    }

    #[test]
    fn values_may_hold_facts() {
        check(
            &ops(&[], &[("a", "%REQ(:authority)%")], &[]),
            &[],
            &[("a", "shop.test")],
        );
    }
}
