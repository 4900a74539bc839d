//! Listeners for what a workload sends.

use crate::{Outbound, Target};
use std::net::SocketAddr;
use std::sync::Arc;

/// A listener that the connections of a workload come to.
#[derive(Debug)]
pub struct OutboundListener {
    /// What the workload reaches.
    pub outbound: Arc<Outbound>,
    /// Where the connections go.
    pub to: OutboundTo,
}

/// Where connections of a workload go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OutboundTo {
    /// Where they were going when they were redirected.
    OriginalDestination,
    /// To this port of whatever service their requests name. The workload has connected on purpose.
    ///
    /// Source: Istio `Sidecar.egress` with `captureMode: NONE`.
    Port(u16),
    /// To a service, whatever their requests name. The workload has connected on purpose.
    Service(Target),
}

impl OutboundListener {
    /// What a connection that arrived at `local` is for, as far as the connection itself tells. `local` is where a
    /// redirected one was going. Absent: only its requests tell.
    pub fn target(&self, local: SocketAddr) -> Option<Target> {
        match &self.to {
            OutboundTo::OriginalDestination => Some(Target::of_address(local.ip(), local.port())),
            OutboundTo::Port(_) => None,
            OutboundTo::Service(target) => Some(target.clone()),
        }
    }

    /// The port that requests on such a connection are for.
    pub fn port(&self, local: SocketAddr) -> u16 {
        match &self.to {
            OutboundTo::OriginalDestination => local.port(),
            OutboundTo::Port(port) => *port,
            OutboundTo::Service(target) => target.port(),
        }
    }
}
