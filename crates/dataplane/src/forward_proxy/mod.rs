//! Connections to a forward proxy: who their clients are, what they may reach, and tunnels that were asked for.
//!
//! Requests take the way of all requests, and the bytes of tunnels that of all connections. What is here is only what
//! a listener for one's own services has not.

mod permission;
mod refused;
mod tunnel;

#[cfg(test)]
mod tests;

pub(crate) use permission::{Permission, permission};
pub(crate) use refused::Refused;
pub(crate) use tunnel::{Content, Tls, Tunnel};

use rules::Target;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// What a connection to a forward proxy is used for.
#[derive(Default)]
pub(crate) struct Proxied {
    /// What the tunnel was opened for that this is the inside of. Absent: this is the connection itself.
    within: Option<Target>,
    /// The tunnel that the connection becomes, from the request for it to its beginning.
    next: Mutex<Option<Box<Tunnel>>>,
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxied").field(&self.within).finish()
    }
}

impl Proxied {
    /// The inside of a tunnel.
    pub(crate) fn within(target: Target) -> Self {
        Self {
            within: Some(target),
            next: Mutex::default(),
        }
    }

    /// What the tunnel was opened for that this is the inside of.
    pub(crate) fn tunnel_to(&self) -> Option<&Target> {
        self.within.as_ref()
    }

    /// Whether it may become a tunnel. There is none within another.
    pub(crate) fn makes_tunnels(&self) -> bool {
        self.within.is_none()
    }

    /// Has the connection become a tunnel once the request for it is over.
    pub(crate) fn become_tunnel(&self, tunnel: Tunnel) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tunnel));
    }

    /// What the connection becomes, if it was asked to become anything.
    pub(crate) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        next.take()
    }
}
