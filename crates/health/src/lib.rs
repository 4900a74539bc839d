//! Asks endpoints whether they are well, and tells when that changes.
//!
//! A [`Prober`] is handed targets, each with its [`Check`]: over HTTP, gRPC, or by connecting alone. Every target is
//! asked again and again, and what [`Checker`] concludes from the answers is reported when it flips. [`ask_once`] is for
//! those who keep a schedule of their own.
//!
//! This crate takes no endpoint out of rotation, resolves no name, speaks no TLS and reads no configuration: it
//! reports to a closure, and dials by [`Connect`]. It knows none of the other crates.

mod check;
mod checker;
mod connect;
mod failure;
mod hosts;
mod probe;
mod prober;
mod scheduler;
mod target;

pub use check::{Ask, Check, InvalidStatuses, Statuses};
pub use checker::{Checker, DRAWS, Health};
pub use connect::{Connect, Stream, TcpConnect};
pub use failure::Failure;
pub use hosts::Counts;
pub use probe::ask_once;
pub use prober::{Prober, Targets};
pub use scheduler::CONCURRENT_PROBES;
pub use target::{Address, TargetKey};
