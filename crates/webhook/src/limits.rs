//! What clients may take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What clients may take of the server. API servers are its only clients by intent, which nothing makes sure of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at a time; further ones are closed.
    pub(crate) connections: usize,
    /// Those of one address among them.
    pub(crate) of_one_client: usize,
    /// For TLS to begin.
    pub(crate) handshake: Duration,
    /// For a request's head, on a connection on which no question was answered yet. Whoever only connects keeps nobody from
    /// connecting for long.
    pub(crate) first_head: Duration,
    /// For a request's head, and between requests, on any other: longer than API servers keep a connection that is idle, which is 90 s.
    /// One that was closed just when the next request came would be a failure there.
    pub(crate) head: Duration,
    /// Bytes of a request's head.
    pub(crate) head_bytes: usize,
    /// For a request's body.
    pub(crate) body: Duration,
    /// Bytes of a request's body. It has an object before and after a change, each of which may be 3 MiB.
    pub(crate) body_bytes: usize,
    /// Bytes of all bodies at a time; a request for which there is no room is answered 503.
    pub(crate) all_bodies: usize,
    /// For the answer to be begun with, when others are before it.
    pub(crate) queue: Duration,
    /// For connections to end when the process does.
    pub(crate) end: Duration,
}

pub(crate) const LIMITS: Limits = Limits {
    connections: 512,
    of_one_client: 256,
    handshake: Duration::from_secs(10),
    first_head: Duration::from_secs(10),
    head: Duration::from_secs(120),
    head_bytes: 16 << 10,
    body: Duration::from_secs(10),
    body_bytes: 8 << 20,
    all_bodies: 64 << 20,
    queue: Duration::from_secs(10),
    end: Duration::from_secs(10),
};

/// The connections that there may be. One is in use for as long as somebody holds it.
pub(crate) struct Seats {
    limits: Limits,
    by_client: HashMap<IpAddr, Arc<()>>,
}

impl Seats {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_client: HashMap::new(),
        }
    }

    /// One for a client. Absent: there are none, or it has as many as it may.
    pub(crate) fn take(&mut self, client: IpAddr) -> Option<Arc<()>> {
        self.by_client.retain(|_, seats| in_use(seats) > 0);
        if self.by_client.values().map(in_use).sum::<usize>() >= self.limits.connections {
            return None;
        }
        let seats = self.by_client.entry(client.to_canonical()).or_default();
        (in_use(seats) < self.limits.of_one_client).then(|| seats.clone())
    }
}

/// All but the one that stands for them.
fn in_use(seats: &Arc<()>) -> usize {
    Arc::strong_count(seats) - 1
}
