//! The resources that the gateway and the sidecar obey, in Istio's words.
//!
//! Field names are Istio's, in snake case. Legacy forms do not exist here: they are translated while
//! they are read.

mod authorization_policy;
mod destination_rule;
mod gateway;
mod kubernetes;
mod meta;
mod peer_authentication;
mod service_entry;
mod set;
mod sidecar;
mod tls;
mod virtual_service;
mod workload_entry;

pub use authorization_policy::*;
pub use destination_rule::*;
pub use gateway::*;
pub use kubernetes::*;
pub use meta::*;
pub use peer_authentication::*;
pub use service_entry::*;
pub use set::*;
pub use sidecar::*;
pub use tls::*;
pub use virtual_service::*;
pub use workload_entry::*;
