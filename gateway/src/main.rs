//! The edge gateway: arguments, wiring, exit codes.

mod acme;
mod args;
mod bootstrap;
mod check;
mod demo;
mod egress;
mod explain;
mod health;
mod pages;
mod render;
mod resources;
mod run;
mod serve;
mod signals;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// Every response allocates a 64 KiB buffer in Pingora, which the system's allocator gives back to the
/// kernel and asks for again. Without huge pages: they made an idle process 11 MiB larger, and nothing faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A configuration error, or an error that `check` found. Usage errors are clap's: 2.
const CONFIGURATION_ERROR: u8 = 1;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(args),
        Command::Egress(args) => egress::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(CONFIGURATION_ERROR)
    })
}
