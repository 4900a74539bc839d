//! When a route applies: Istio's `HTTPMatchRequest`, compiled.
//!
//! Everything is normalised on construction, so that matching compares and nothing else.

mod header;
mod path;
mod pattern;
mod predicate;
mod query;
mod text;

pub(crate) use header::joined;
pub use header::{HeaderKey, HeaderMatch, InvalidHeaderKey, Sense};
pub use path::PathMatch;
pub(crate) use pattern::refusal;
pub use pattern::{InvalidPattern, MAX_PATTERN_BYTES, Pattern};
pub(crate) use predicate::shortened;
pub use predicate::{Criterion, Predicate};
pub use query::QueryMatch;
pub(crate) use query::first_value;
pub use text::TextMatch;
