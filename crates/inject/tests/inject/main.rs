//! Files in, files out.

#![expect(
    clippy::unwrap_used,
    reason = "a case that cannot be read must stop the test"
)]

mod command;
mod goldens;
mod properties;
mod render;
mod structure;
mod support;
