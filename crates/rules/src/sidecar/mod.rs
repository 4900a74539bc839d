//! A sidecar: what its workload reaches, and how its workload is reached.

mod inbound;
mod outbound;

pub use inbound::{Inbound, InboundPort};
pub use outbound::{OutboundListener, OutboundTo};
