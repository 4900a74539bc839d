//! What both binaries do: the bootstrap file, wiring, commands and pages.

pub mod args;
pub mod bootstrap;
mod check;
mod egress;
mod explain;
mod health;
mod pages;
mod program;
mod render;
mod resources;
mod run;
mod serve;
mod servers;
mod signals;
mod sources;
mod supervisor;

pub use check::run as check;
pub use egress::run as egress;
pub use explain::{Client, Way, run as explain};
pub use pages::Control;
pub use program::{FollowObjects, Program, TellStatus, metrics_pages};
pub use resources::{Loaded, settings};
pub use run::{run, runtime, start_log};
pub use serve::Serving;
pub use signals::{Signals, Wish};
