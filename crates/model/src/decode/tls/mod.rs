//! TLS settings of servers and clients.

mod check;
mod client;
mod crypto;
mod server;

pub(super) use client::client_tls;
pub(super) use server::{PortSpeaks, server_tls};
