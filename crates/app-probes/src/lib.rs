//! Asks the application beside a sidecar: its probes and hooks for the kubelet, its metrics for Prometheus.
//!
//! The kubelet speaks no mutual TLS, so an injected pod has it ask the sidecar, and [`Probers`] asks the application.
//! A pod has one address for metrics, so [`MetricsSource`] has the application's told together with the sidecar's.
//! Both come from where redirect rules let connections through, so the sidecar's own rules are not met.
//!
//! This crate serves no page, reads no environment and counts nothing. It verifies no certificate: as for the kubelet,
//! what it asks is in the same pod. It knows none of the other crates but `health`.

mod application;
mod exchange;
mod failure;
#[cfg(test)]
mod fake_app;
mod metrics;
mod probe;
mod tls;

pub use application::Application;
pub use failure::Failure;
pub use metrics::{InvalidMetricsSource, MetricsSource, ScrapeFailure, Scraped};
pub use probe::{Answer, InvalidProbers, Probers};
