//! The sidecar's command line from outside, and its process from its start to its end.

mod agent;
mod app;
mod commands;
mod ending;
mod pages;
mod starting;
mod units;
