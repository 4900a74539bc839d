//! Finding the first route that matches, and the virtual host that serves a name, without trying all of them.

mod bucket;
mod hosts;
mod routes;
mod trie;

pub use hosts::{HostMap, VirtualHosts};
pub use routes::RouteSet;
