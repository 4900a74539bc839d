//! The endpoints of a cluster, as they are handed in.

use crate::EndpointState;
use std::sync::Arc;

/// One endpoint: what the caller needs to reach it, its share and its counters.
#[derive(Clone, Debug)]
pub struct Member<T> {
    /// How it is reached. Never looked at here.
    pub value: T,
    /// Relative share. 0: never selected.
    pub weight: u32,
    /// Its name in consistent hashing: `10.0.0.1:80`. The same name, the same clients.
    pub key: Arc<str>,
    /// How near it is.
    pub place: Place,
    /// Its counters, shared with the sets before and after this one.
    pub state: Arc<EndpointState>,
}

/// How near an endpoint is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// 0 is nearest. Numbers may be left out.
    pub priority: u32,
    /// Whom it shares a part of the traffic with. Absent: with all others of its priority.
    pub locality: Option<LocalityShare>,
}

/// A part of a priority's traffic that goes to one place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalityShare {
    /// The place. All its endpoints say the same `weight`.
    pub id: u32,
    /// Relative share. 0: it gets nothing.
    pub weight: u32,
}
