//! Requests through the real application on loopback, with upstreams made for the case.

mod answers;
pub(crate) mod client;
mod destinations;
mod ending;
mod forbidden;
mod forwarding;
pub(crate) mod gateway;
mod http2;
mod identities;
mod mesh;
mod mirrors;
pub(crate) mod names;
mod on_demand;
pub(crate) mod origin;
mod retries;
mod sharing;
mod timeouts;
mod tunnels;

use std::time::{Duration, Instant};

/// Waits until something holds that happens by itself; a failure when it never does.
#[track_caller]
pub(crate) fn eventually(what: &'static str, holds: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !holds() {
            assert!(Instant::now() < deadline, "{caller}: never: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
