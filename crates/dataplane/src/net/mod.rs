//! Listeners, accept loops and connections: everything between the kernel and Pingora.

mod bind;
mod io;
mod limits;
mod linger;
mod listener;
mod manager;
mod registry;
mod serve;
mod sniff;
mod state;

pub use bind::Addresses;
pub(crate) use io::DownstreamIo;
pub use limits::Limits;
pub use listener::ConnectionObserver;
pub use manager::{ListenerManager, ListenerStatus, RETRY_EVERY};
pub use registry::{Refused, Registry};
pub use state::{ConnectionState, Phase, RefusedHead};
