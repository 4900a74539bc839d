//! What becomes of resources as users write them.

mod fields;
mod files;
mod help;
mod kinds;
mod kubernetes;
mod legacy;
mod never_panics;
mod problems;
mod seed;
mod support;
