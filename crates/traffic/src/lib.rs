//! State machines of traffic: which endpoint takes a request, who is ejected, and what limits let through.
//!
//! Everything here is pure. There is no clock, socket or random source: the time comes in as `now`, chance as `dice`,
//! a function that returns a number in `0..sides`. Endpoints carry whatever the caller needs to reach them; this crate
//! does not know addresses, protocols or requests. Weights and members are immutable; what changes while requests run
//! (requests in flight, ejections, the turn of a round, what limits have left) lives in [`EndpointState`], [`Turn`],
//! [`Outlier`] and [`Limits`], which the caller keeps when it replaces an [`EndpointSet`] by the next.
//!
//! Semantics are Envoy's as Istio configures it.

mod balancer;
mod endpoint;
mod hash;
mod layout;
mod limits;
mod maglev;
mod member;
mod outlier;
mod priority;
mod ring;
mod rotation;
mod set;
mod shares;
mod table;
mod warmup;

#[cfg(test)]
mod tests;

pub use balancer::{Algorithm, Balancing, Choice, Turn};
pub use endpoint::{ActiveRequest, EndpointState};
pub use hash::hash;
pub use limits::{
    Entry, Limits, LimitsPolicy, RequestPermit, RetryBudget, RetryPermit, Slot, UNLIMITED, Waiting,
};
pub use member::{LocalityShare, Member, Place};
pub use outlier::{Cause, Ejection, Observed, Outlier, OutlierPolicy, Returned};
pub use set::EndpointSet;
pub use warmup::Warmup;
