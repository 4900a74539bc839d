//! Listeners, accept loops and connections: everything between the kernel and Pingora.

mod bind;
mod both_ways;
mod either;
mod in_use;
mod io;
mod limits;
mod linger;
mod listener;
mod manager;
mod own_ports;
mod proxy_protocol;
mod read_ahead;
mod registry;
mod serve;
mod sidecar;
mod sniff;
mod state;
mod transport;
mod write_buffer;

pub use bind::Addresses;
pub(crate) use both_ways::{BothWays, End, Side, Silence};
pub(crate) use either::Either;
pub use in_use::{InUse, Using};
pub(crate) use io::DownstreamIo;
pub use limits::Limits;
pub(crate) use linger::linger;
pub use listener::ConnectionObserver;
pub use manager::{Application, ListenerManager, ListenerStatus, RETRY_EVERY};
pub use own_ports::{OwnPort, OwnPorts};
pub(crate) use read_ahead::ReadAhead;
pub use registry::{Refused, Registry};
pub use state::{ConnectionState, Phase, RefusedHead};
pub(crate) use transport::{Encrypted, Transport};
pub(crate) use write_buffer::WriteBuffer;
