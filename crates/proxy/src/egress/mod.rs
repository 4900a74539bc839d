//! Learning what clients of the forward proxy reach, and proposing the ServiceEntries that allow it.

mod command;
mod entries;
mod file;
mod learned;
mod learning;
mod propose;
mod registry;
mod yaml;

#[cfg(test)]
mod tests;

pub use command::run;
pub(crate) use learned::{Learned, Row, Rows};
pub(crate) use learning::{Learning, start};
