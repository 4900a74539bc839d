//! Follows what names stand for, and pushes changes.
//!
//! [`start`] runs everything on a thread of its own. The returned [`Follower`] is told which names are wanted; each
//! is looked up, again when the answer's time to live is over, and every change is sent as
//! [`config::Message::Names`]. Nothing here is fatal to the process: a look-up that fails is told, changes no
//! address, and is repeated with growing pauses.
//!
//! This crate knows no service, no endpoint and no route, and refuses no address.

mod addresses;
mod entry;
mod family;
mod follower;
mod lookup;
mod runner;
mod settings;
mod system;

#[cfg(test)]
mod tests;

pub use follower::{Follower, start};
pub use settings::{LookupFamily, Settings};
