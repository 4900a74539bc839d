//! YAML that is changed where it stands.
//!
//! A document is read into a tree whose nodes know their bytes. The tree is changed, and [`written`] turns what was
//! changed into edits of the text, so that comments, order and spelling of all the rest stay.

mod changes;
mod documents;
mod edit;
mod lines;
mod node;
mod reader;
mod scalar;
mod write;

pub(crate) use documents::{Document, documents};
pub(crate) use edit::{Written, written};
pub(crate) use lines::place;
pub(crate) use node::{Node, list, map, null, number, text};
pub(crate) use reader::{Unreadable, read};
pub(crate) use write::json;

#[cfg(test)]
mod tests;
