//! Probes and hooks of the application.

mod ask;
mod invalid;
mod redirect;
mod written;

#[cfg(test)]
mod tests;

pub use ask::{Answer, Probers};
pub use invalid::InvalidProbers;
