//! The gateway from outside: real binary, real sockets, real clients.
//!
//! One binary, so that linking is cheap; a module for each thing a user would ask about. "Promise
//! N" in a comment is the numbered list of what Tidegate promises its users.

mod admission;
mod bad_input;
mod commands;
mod faults;
mod forwarding;
mod layers;
mod lifecycle;
mod listeners;
mod memory;
mod mirroring;
mod observing;
mod page;
mod reload;
mod retries;
mod routing;
mod streaming;
mod timeouts;
mod upstreams;

use e2e::{Gateway, Setup, service, virtual_service};

/// The host that most tests serve.
const SHOP: &str = "shop.test";

/// A gateway for `shop.test` with these `http` rules and these services on port 8000.
fn shop(http: &str, services: &[(&str, &[u16])]) -> Setup {
    let setup = Setup::new()
        .file("gateway.yaml", e2e::gateway("edge", &["*"]))
        .file("shop.yaml", virtual_service("shop", SHOP, http));
    services.iter().fold(setup, |setup, (name, endpoints)| {
        setup.file(
            &format!("{name}-service.yaml"),
            service(name, 8000, endpoints),
        )
    })
}

/// `shop.test`, all of it to one service with these endpoints.
fn plain_shop(endpoints: &[u16]) -> Gateway {
    shop(TO_SHOP, &[("shop", endpoints)]).start()
}

/// The rule of [`plain_shop`].
const TO_SHOP: &str = "- route:\n  - destination: {host: shop}\n";
