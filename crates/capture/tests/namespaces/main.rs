//! Rules in real kernels' tables: each test has network namespaces of its own, which needs root, iproute2, iptables and
//! nftables.

mod machines;
mod rules;
mod traffic;
mod world;
