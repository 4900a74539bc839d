//! The resources that the gateway and the sidecar obey, in Istio's words.
//!
//! Field names are Istio's, in snake case. Legacy forms do not exist here: they are translated while
//! they are read.

mod destination_rule;
mod gateway;
mod kubernetes;
mod meta;
mod service_entry;
mod set;
mod sidecar;
mod tls;
mod virtual_service;
mod workload_entry;

pub use destination_rule::*;
pub use gateway::*;
pub use kubernetes::*;
pub use meta::*;
pub use service_entry::*;
pub use set::*;
pub use sidecar::*;
pub use tls::*;
pub use virtual_service::*;
pub use workload_entry::*;
