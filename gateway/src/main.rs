//! The edge gateway: its commands, its demo, and the certificates it orders.

mod acme;
mod args;
mod demo;
mod webhook;

use args::{Cli, Command};
use clap::Parser;
use proxy::Program;
use std::process::ExitCode;

/// Every response allocates a 64 KiB buffer in Pingora, which the system's allocator gives back to the
/// kernel and asks for again. Without huge pages: they made an idle process 11 MiB larger, and nothing faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The gateway as what both binaries share knows it.
const PROGRAM: Program = Program {
    name: "gateway",
    title: "Tidegate gateway",
    version: env!("CARGO_PKG_VERSION"),
    default_config: "conf/gateway.toml",
    parse: |text| toml::from_str(text),
    metrics: proxy::metrics_pages,
    start: acme::start,
    follow_objects: Some(source_kube::start),
    tell_status: Some(source_kube::tell_status),
};

fn main() -> ExitCode {
    PROGRAM.exit(match Cli::parse().command {
        Command::Run(args) => proxy::run(&PROGRAM, &args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => proxy::check(&PROGRAM, &args),
        Command::Explain(args) => {
            let way = args.way();
            proxy::explain(&PROGRAM, args.request, way)
        }
        Command::Egress(args) => proxy::egress(&PROGRAM, &args),
        Command::Webhook(args) => webhook::run(&args),
    })
}
