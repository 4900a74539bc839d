//! Listeners, HTTP on Pingora, upstreams: the only crate that knows Pingora.
//!
//! [`net`] accepts connections, `http` serves the requests on them after the rules of a [`Snapshot`], `upstream`
//! keeps what outlives one: the state of clusters and endpoints. This crate reads no file and no
//! resource; a compiled table and the endpoints beside it are handed to [`Shared::publish`].

mod authorization;
mod challenges;
mod connection;
mod forward_proxy;
mod health;
mod http;
mod labels;
pub mod net;
mod passages;
mod resolve;
mod settings;
mod shared;
mod tcp;
mod tls;
pub mod upstream;

pub use challenges::{ChallengeGuard, Challenges};
pub use connection::{ConnectionInfo, Side};
pub use health::{NotedHealth, Spoken};
pub use http::GatewayApp;
pub use labels::workload_labels;
pub use passages::{Passage, PassageProtocol, Passages};
pub use resolve::{Resolve, Resolving, Unresolved};
pub use settings::{ForwardClientCert, Misdirected, Settings};
pub use shared::{Outside, Shared};
pub use tls::{ClientCertificate, TlsFacts};
pub use upstream::Snapshot;
