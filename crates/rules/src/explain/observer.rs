//! Collecting why rules did not match.

use super::{Place, TriedRule};
use crate::{Criterion, Observer, RequestHead, Route};
use model::Origin;
use std::sync::Arc;

/// How many rules are told at most, the first ones.
const MAX_TRIED: usize = 1000;

/// The rules that did not match.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) rules: Vec<TriedRule>,
}

impl Observer for Tried {
    fn passed_over(
        &mut self,
        route: &Arc<Route>,
        criterion: Criterion<'_>,
        head: &RequestHead<'_>,
    ) {
        if self.rules.len() >= MAX_TRIED {
            return;
        }
        let place = Place::from(&*route.origin);
        self.rules.push(TriedRule {
            rule: if route.name.is_empty() {
                place.path.clone()
            } else {
                route.name.to_string()
            },
            place,
            failed: criterion.explain(head),
        });
    }
}

impl From<&Origin> for Place {
    fn from(origin: &Origin) -> Self {
        Self {
            resource: origin.resource.to_string(),
            path: origin.path.clone(),
            file: origin
                .position
                .as_ref()
                .map(|position| position.file.to_string()),
            line: origin.position.as_ref().map(|position| position.line),
        }
    }
}
