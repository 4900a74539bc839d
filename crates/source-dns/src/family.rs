//! Which kinds of addresses are asked for, and how the answers go together.

use crate::LookupFamily;
use crate::lookup::{Failure, Family, Found, Lookup};
use model::Hostname;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Any address of the Internet; nothing is sent there.
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

/// Looks a name up within `limit`.
pub(crate) async fn resolve<L: Lookup>(
    lookup: &L,
    name: &Hostname,
    family: LookupFamily,
    limit: Duration,
) -> Result<Found, Failure> {
    let outcome = tokio::time::timeout(limit, look_up(lookup, name, family)).await;
    outcome.unwrap_or(Err(Failure::Timeout))
}

async fn look_up<L: Lookup>(
    lookup: &L,
    name: &Hostname,
    family: LookupFamily,
) -> Result<Found, Failure> {
    match family.settled() {
        LookupFamily::V6Only => lookup.lookup(name, Family::V6).await,
        LookupFamily::V4Preferred => match lookup.lookup(name, Family::V4).await {
            Err(Failure::NoAddress { .. }) => lookup.lookup(name, Family::V6).await,
            other => other,
        },
        LookupFamily::All => {
            let both = tokio::join!(
                lookup.lookup(name, Family::V4),
                lookup.lookup(name, Family::V6)
            );
            together(both.0, both.1)
        }
        LookupFamily::V4Only | LookupFamily::Auto => lookup.lookup(name, Family::V4).await,
    }
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

fn together(v4: Result<Found, Failure>, v6: Result<Found, Failure>) -> Result<Found, Failure> {
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
