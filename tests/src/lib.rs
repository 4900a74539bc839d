//! Starts the real binaries on loopback with its own origins.
//!
//! Everything here blocks and panics with a message: it is a test's hands, not a library. It knows
//! the gateway only from outside: its command line, its files, its ports. It does not link any of
//! the product's crates.
//!
//! Ports are reserved across processes ([`Port`]), everything started is stopped on drop, and
//! whatever is waited for is polled with a deadline ([`eventually`]).

mod async_server;
mod authority;
mod bookinfo;
mod census;
mod client;
mod daemon;
mod dns;
mod downloads;
mod files;
mod gate;
mod gateway;
mod grpc;
mod grpc_health;
mod http2_gate;
mod httpbin;
mod lone_agent;
mod mesh;
mod namespace;
mod openssl;
mod origin;
mod pebble;
mod pod;
mod policies;
mod poll;
mod port;
mod programs;
mod redirection;
mod redis;
mod registry;
mod resources;
mod scrape;
mod secure_origin;
mod setup;
mod sidecar;
mod switch;
mod tcp_origin;
mod tls;
mod traffic;
mod websocket;
mod wire;
mod world;

pub use authority::{Authority, Certificate, put_secret};
pub use bookinfo::Bookinfo;
pub use client::{Connection, Request, Response};
pub use daemon::{Daemon, Home};
pub use dns::{Mood, NameServer, look_up};
pub use downloads::{put_package, put_repository};
pub use gate::Gate;
pub use gateway::Gateway;
pub use grpc::{GrpcOrigin, GrpcReply, call_grpc, call_grpc_at};
pub use grpc_health::GrpcHealth;
pub use http2_gate::Http2Gate;
pub use httpbin::Httpbin;
pub use lone_agent::{LoneAgent, LoneSidecar};
pub use mesh::{Mesh, Outside};
pub use namespace::Namespace;
pub use openssl::{Handshake, s_client};
pub use origin::{After, Exchange, Origin};
pub use pebble::{Pebble, PebbleOptions};
pub use pod::{Pod, PodSetup};
pub use policies::{Place, destination_rule, endpoint_slice, service_at, service_entry};
pub use poll::{PATIENCE, eventually, poll_for};
pub use port::Port;
pub use programs::{Ran, gateway_binary, mesh_agent_binary, peers, run, run_gateway};
pub use redis::Redis;
pub use registry::ServiceSpec;
pub use resources::{
    gateway, gateway_of, https_server, l4_virtual_service, secret, seed, server, service,
    service_of, virtual_service,
};
pub use scrape::Samples;
pub use secure_origin::{SecureOrigin, Visit};
pub use setup::{Ports, Setup};
pub use sidecar::Agent;
pub use switch::Switch;
pub use tcp_origin::TcpOrigin;
pub use tls::{TlsClient, TlsConnection, TlsStream};
pub use traffic::{Load, LoadReport};
pub use websocket::{WebSocket, websocket_echo};
pub use wire::Message;
pub use world::World;
