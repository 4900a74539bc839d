//! Learning what clients of the forward proxy reach.

mod file;
mod learned;
mod learning;

pub(crate) use learned::{Learned, Row, Rows};
pub(crate) use learning::{Learning, start};
