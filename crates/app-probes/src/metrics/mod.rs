//! The application's metrics, as they can be told together with others.

mod open_metrics;
mod sample;
mod source;
mod text;

#[cfg(test)]
mod tests;

pub use source::{InvalidMetricsSource, MetricsSource, ScrapeFailure, Scraped};
