//! Follows what names stand for, and pushes changes.
//!
//! [`start`] runs everything on a thread of its own. The returned [`Follower`] is told which names are wanted; each
//! is looked up, again when the answer's time to live is over, and every change is sent as
//! [`config::Message::Names`]. Nothing here is fatal to the process: a look-up that fails is told, changes no
//! address, and is repeated with growing pauses.
//!
//! A [`Resolver`] is for names that nobody wished before a request came with them: it looks them up while the request
//! waits, and remembers what it found, within bounds.
//!
//! This crate knows no service, no endpoint and no route, and refuses no address.

mod addresses;
mod demand;
mod entry;
mod family;
mod follower;
mod lookup;
mod resolver;
mod runner;
mod settings;
mod stats;
mod system;
mod unresolved;

#[cfg(test)]
mod tests;

pub use follower::{Follower, start};
pub use resolver::Resolver;
pub use settings::{LookupFamily, Settings};
pub use stats::Stats;
pub use unresolved::Unresolved;
