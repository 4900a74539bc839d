//! Istio's `Headers.HeaderOperations`, and the host that hides in them.

use crate::{HeaderOps, HeaderTemplate, InvalidTemplate};
use http::header::InvalidHeaderName;
use http::{HeaderName, HeaderValue};
use model::HeaderOperations;
use std::collections::BTreeMap;

/// An operation that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidOperation {
    /// Its value.
    #[error("{name}: {source}")]
    Value {
        /// The header.
        name: String,
        /// What is wrong.
        source: InvalidTemplate,
    },
    /// Its name.
    #[error("{name:?} is not a header name")]
    Name {
        /// The header.
        name: String,
        /// What is wrong.
        source: InvalidHeaderName,
    },
}

/// Operations on a response.
pub(crate) fn response_operations(
    operations: &HeaderOperations,
) -> Result<HeaderOps, InvalidOperation> {
    Ok(HeaderOps {
        remove: operations
            .remove
            .iter()
            .map(|one| name(one))
            .collect::<Result<_, _>>()?,
        set: entries(&operations.set, |_| true)?,
        add: entries(&operations.add, |_| true)?,
    })
}

/// Operations on a request, and the new host if they set one: `set` beats `add`. An empty one sets none.
pub(crate) fn request_operations(
    operations: &HeaderOperations,
) -> Result<(HeaderOps, Option<HeaderValue>), InvalidOperation> {
    let ordinary = |name: &str| !is_authority(name);
    let removed = operations.remove.iter().filter(|one| ordinary(one));
    let ops = HeaderOps {
        remove: removed.map(|one| name(one)).collect::<Result<_, _>>()?,
        set: entries(&operations.set, ordinary)?,
        add: entries(&operations.add, ordinary)?,
    };
    let authority = authority(&operations.set).or_else(|| authority(&operations.add));
    Ok((ops, authority))
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

fn authority(values: &BTreeMap<String, String>) -> Option<HeaderValue> {
    let (_, value) = values.iter().find(|(name, _)| is_authority(name))?;
    HeaderValue::from_str(value)
        .ok()
        .filter(|value| !value.is_empty())
}

fn entries(
    values: &BTreeMap<String, String>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<(HeaderName, HeaderTemplate)>, InvalidOperation> {
    let values = values.iter().filter(|(name, _)| wanted(name));
    values
        .map(|(header, value)| {
            let template = HeaderTemplate::parse(value);
            let value = template.map_err(|source| InvalidOperation::Value {
                name: header.clone(),
                source,
            })?;
            Ok((name(header)?, value))
        })
        .collect()
}

fn name(name: &str) -> Result<HeaderName, InvalidOperation> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|source| InvalidOperation::Name {
        name: name.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operations(set: &[(&str, &str)], add: &[(&str, &str)]) -> HeaderOperations {
        let map = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect()
        };
        HeaderOperations {
            set: map(set),
            add: map(add),
            remove: vec!["X-Old".into(), "Host".into()],
        }
    }

    #[test]
    fn a_host_that_is_set_is_a_rewrite_and_beats_one_that_is_added() {
        for (set, add, want) in [
            (&[("Host", "a.test")][..], &[][..], Some("a.test")),
            (&[], &[(":authority", "b.test")], Some("b.test")),
            (
                &[("x-a", "1"), (":authority", "a.test")],
                &[("host", "b.test")],
                Some("a.test"),
            ),
            (&[("x-a", "1")], &[], None),
            (&[("Host", "")], &[], None),
        ] {
            let (ops, authority) = request_operations(&operations(set, add)).unwrap();
            assert_eq!(
                authority.as_ref().map(|value| value.to_str().unwrap()),
                want
            );
            assert!(ops.set.iter().all(|(name, _)| name == "x-a"), "{ops:?}");
            assert_eq!(ops.remove, ["x-old"]);
            assert!(ops.add.is_empty());
        }
    }

    #[test]
    fn a_response_may_set_any_header() {
        let ops = response_operations(&operations(&[("Host", "a")], &[])).unwrap();
        assert_eq!(ops.set[0].0, "host");
    }
}
