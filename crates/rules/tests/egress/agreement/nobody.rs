//! Who hears nothing of routes that were passed over.

use rules::{Criterion, Observer, RequestHead, Route};
use std::sync::Arc;

/// Hears nothing.
pub(crate) struct Nobody;

impl Observer for Nobody {
    const LISTENS: bool = false;

    fn passed_over(&mut self, _: &Arc<Route>, _: Criterion<'_>, _: &RequestHead<'_>) {}
}
