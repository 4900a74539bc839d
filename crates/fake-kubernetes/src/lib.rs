//! A Kubernetes API server for tests: objects of any kind in memory, with lists, watches, bookmarks, writes that conflict,
//! and whatever goes wrong with a real one when a test says so.
//!
//! It knows kinds by their plural names alone, checks no schema and no permission, and forgets nothing that happened until
//! it is [told](ApiServer::forget).

mod asked;
mod server;
mod store;
mod watching;

pub use asked::{Asked, Fault};
pub use server::{ApiServer, Backup, Stopped};
