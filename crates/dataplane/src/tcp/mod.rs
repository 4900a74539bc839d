//! Connections whose bytes are forwarded: TCP, TLS that goes through, and what was inside TLS.
//!
//! A connection is sent somewhere by the rules of the moment it came in, and stays there to its end: neither a
//! change of the configuration nor the end of its listener touches it (promise 6). No byte of it is waited for
//! (promise 22), and none is looked at, but for what tells the mesh's TLS from anything else.

mod connect;
mod connection;
mod failure;
mod mesh_tls;
mod observe;
mod tunnel;

#[cfg(test)]
mod tests;

pub(crate) use connection::TcpConnection;
pub(crate) use failure::Failure;
pub(crate) use mesh_tls::MeshTls;
pub(crate) use tunnel::Asking;
