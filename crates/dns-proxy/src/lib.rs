//! Answers a workload's DNS, over UDP and TCP: names that a table knows from there, all others as the nameservers of
//! the machine do.
//!
//! [`Server::bind`] takes its addresses, [`Server::run`] answers until it is dropped. What names stand for is asked of
//! [`Names`], which are published in a `watch` channel and may change at any time; one query asks one of them from
//! start to end.
//!
//! This crate knows no service, keeps no answer of a nameserver, follows no alias of one, and validates no DNSSEC: what
//! is asked on comes back as it is.

mod chain;
mod errand;
mod message;
mod names;
mod query;
mod reply;
mod resolv;
mod server;
mod settings;
mod stats;
mod tcp;
mod udp;
mod upstream;
mod work;

#[cfg(test)]
mod tests;

pub use names::{Found, Names, PublishedNames};
pub use server::{BindError, Server};
pub use settings::{BeforeNames, Settings};
pub use stats::{Stats, StatsHandle};
