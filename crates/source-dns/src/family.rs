//! Which kinds of addresses are asked for, and how the answers go together.

use crate::LookupFamily;
use crate::lookup::{Failure, Family, Found, Lookup};
use model::Hostname;
use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// How long a request waits for the other kind of addresses once there are some of the one.
///
/// Source: RFC 8305, section 3, "Resolution Delay".
pub(crate) const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// Any address of the Internet; nothing is sent there.
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

type Outcome = Result<Found, Failure>;

/// Looks a name up within `limit`. When there are addresses of one kind and the other is late, `early` is told of them
/// meanwhile.
pub(crate) async fn resolve<L: Lookup>(
    lookup: &L,
    name: &Hostname,
    family: LookupFamily,
    limit: Duration,
    early: impl FnOnce(Found),
) -> Outcome {
    let one = |family| within(limit, lookup.lookup(name, family));
    match family.settled() {
        LookupFamily::V6Only => one(Family::V6).await,
        LookupFamily::V4Preferred => within(limit, preferred(lookup, name)).await,
        LookupFamily::All => both(one(Family::V4), one(Family::V6), early).await,
        LookupFamily::V4Only | LookupFamily::Auto => one(Family::V4).await,
    }
}

async fn within(limit: Duration, outcome: impl Future<Output = Outcome>) -> Outcome {
    let outcome = timeout(limit, outcome).await;
    outcome.unwrap_or(Err(Failure::Timeout))
}

async fn preferred<L: Lookup>(lookup: &L, name: &Hostname) -> Outcome {
    match lookup.lookup(name, Family::V4).await {
        Err(Failure::NoAddress { .. }) => lookup.lookup(name, Family::V6).await,
        other => other,
    }
}

/// Each has its own limit: one that nobody answers must not take the other with it.
async fn both(
    v4: impl Future<Output = Outcome>,
    v6: impl Future<Output = Outcome>,
    early: impl FnOnce(Found),
) -> Outcome {
    let (mut v4, mut v6) = (pin!(v4), pin!(v6));
    tokio::select! {
        v4 = &mut v4 => {
            let v6 = after(&v4, v6, Family::V6, early).await;
            together(v4, v6)
        }
        v6 = &mut v6 => {
            let v4 = after(&v6, v4, Family::V4, early).await;
            together(v4, v6)
        }
    }
}

/// What the later kind comes to. Only addresses are worth being told before it.
async fn after(
    first: &Outcome,
    mut later: impl Future<Output = Outcome> + Unpin,
    family: Family,
    early: impl FnOnce(Found),
) -> Outcome {
    let Ok(found) = first else {
        return later.await;
    };
    if let Ok(in_time) = timeout(RESOLUTION_DELAY, &mut later).await {
        return in_time;
    }
    early(found.clone().without(family, &Failure::Timeout));
    later.await
}

impl LookupFamily {
    /// The same, where that depends on the machine, for the moment.
    fn settled(self) -> Self {
        if self != Self::Auto {
            return self;
        }
        let v4 = has_route((SOMEWHERE_V4, 9).into(), (Ipv4Addr::UNSPECIFIED, 0).into());
        let v6 = has_route((SOMEWHERE_V6, 9).into(), (Ipv6Addr::UNSPECIFIED, 0).into());
        match (v4, v6) {
            (true, true) => Self::All,
            (false, true) => Self::V6Only,
            (_, false) => Self::V4Only,
        }
    }
}

/// The kernel looks for a route when a datagram socket is connected.
fn has_route(to: SocketAddr, from: SocketAddr) -> bool {
    UdpSocket::bind(from).is_ok_and(|socket| socket.connect(to).is_ok())
}

fn together(v4: Outcome, v6: Outcome) -> Outcome {
    match (v4, v6) {
        (Ok(mut v4), Ok(v6)) => {
            v4.addresses.extend(v6.addresses);
            v4.ttl = v4.ttl.min(v6.ttl);
            Ok(v4)
        }
        (Ok(found), Err(failure)) => Ok(found.without(Family::V6, &failure)),
        (Err(failure), Ok(found)) => Ok(found.without(Family::V4, &failure)),
        (Err(failure), Err(_)) if failure.is_temporary() => Err(failure),
        (Err(_), Err(failure)) => Err(failure),
    }
}

impl Found {
    fn without(mut self, family: Family, failure: &Failure) -> Self {
        self.unknown = failure.is_temporary().then_some(family);
        self
    }
}
