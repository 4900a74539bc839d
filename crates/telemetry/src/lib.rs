//! What Tidegate tells about itself: metrics under Istio's names, the access log, its own log, the
//! receipts of configuration changes, and the small HTTP servers for admin, status and metrics.
//!
//! This crate knows none of the others: they hand in plain values and register pages. It does not
//! know routes, Pingora or configuration files, and it takes no metric label from a request.

pub mod access_log;
pub mod logging;
pub mod metrics;
pub mod receipts;
pub mod server;

mod readiness;

pub use access_log::{AccessLog, AccessRecord, Address, Format, ResponseFlags};
pub use metrics::Metrics;
pub use readiness::{Readiness, ReadinessState};
pub use receipts::{Receipt, Receipts};
