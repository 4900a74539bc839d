//! TLS settings of servers and clients.

mod check;
mod client;
mod crypto;
mod names;
mod server;

pub(super) use client::client_tls;
pub(super) use names::names_of_servers;
pub(super) use server::{PortSpeaks, server_tls};
