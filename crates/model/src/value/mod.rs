//! Checked values that resources are made of.

mod at;
mod export_to;
mod gateway_ref;
mod host;
mod path_template;
mod percent;
mod protocol;
mod re2;
mod string_match;
mod timestamp;
mod value_match;

pub mod duration;

pub use at::*;
pub use export_to::*;
pub use gateway_ref::*;
pub use host::*;
pub use path_template::*;
pub use percent::*;
pub use protocol::*;
pub use re2::with_plain_literals;
pub use string_match::*;
pub use timestamp::*;
pub use value_match::*;

use std::collections::BTreeMap;

/// Labels of a workload, or a selector of such labels: a workload is selected when it has them all.
pub type Labels = BTreeMap<String, String>;

/// Whether `labels` hold every pair of `selector`. An empty selector selects everything.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector
        .iter()
        .all(|(name, value)| labels.get(name) == Some(value))
}
