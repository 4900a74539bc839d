//! YAML text to trees of located nodes.

mod documents;
mod node;
mod reader;
mod scalar;

pub(crate) use documents::{Document, documents};
pub(crate) use node::{Entry, Node, Value};
pub(crate) use reader::read;
