//! State machines of traffic: which endpoint takes a request, and how many it has.
//!
//! Everything here is pure. There is no clock, socket or random source: chance comes in as `dice`, a function
//! that returns a number in `0..sides`. Endpoints carry whatever the caller needs to reach them; this crate does
//! not know addresses, protocols or requests. Weights and members are immutable; what changes while requests run
//! (requests in flight, the turn of a round) lives in [`EndpointState`] and [`Turn`], which the caller keeps when
//! it replaces an [`EndpointSet`] by the next.

mod balancer;
mod endpoint;
mod set;

#[cfg(test)]
mod tests;

pub use balancer::{Balancer, Turn};
pub use endpoint::{ActiveRequest, EndpointState};
pub use set::{EndpointSet, Member};
