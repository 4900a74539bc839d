//! Istio resources compiled to an immutable [`Table`]: a request head in, a [`Decision`] out, with its reasons.
//!
//! This crate does no I/O, knows no clock and throws no dice of its own: sources hand in resources,
//! the caller of [`VirtualHosts::decide`] hands in the [`Dice`]. It does not know Pingora, endpoints' health,
//! or how a connection is made.

pub mod action;
pub mod actions;
pub mod affinity;
pub mod alpn;
pub mod balancing;
pub mod cluster;
pub mod compile;
mod decide;
pub mod decision;
mod endpoints;
mod expected_names;
pub mod explain;
pub mod headers;
pub mod inbound;
pub mod index;
pub mod locality;
pub mod matching;
pub mod names;
pub mod on_demand;
pub mod outbound;
pub mod path;
pub mod pool;
pub mod request;
pub mod sidecar;
pub mod table;
pub mod tcp;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod upstream_tls;
pub mod workload;

pub use action::*;
pub use actions::*;
pub use affinity::*;
pub use balancing::*;
pub use cluster::*;
pub use compile::*;
pub use decide::*;
pub use decision::*;
pub use endpoints::{ENDPOINT_KINDS, NameAnswer, NameAnswers};
pub use expected_names::ExpectedNames;
pub use explain::*;
pub use headers::*;
pub use inbound::*;
pub use index::*;
pub use locality::*;
pub use matching::*;
pub use names::*;
pub use on_demand::*;
pub use outbound::*;
pub use path::*;
pub use pool::*;
pub use request::*;
pub use sidecar::*;
pub use table::*;
pub use tcp::*;
pub use tls::*;
pub use upstream_tls::*;
pub use workload::*;
