//! The sidecar: its commands, its bootstrap file, and the pages for its pod.

mod args;
mod bootstrap;
mod client;
mod dns;
mod downward;
mod iptables;
mod metrics;
mod pages;
mod request;
mod wait;

use args::{Cli, Command};
use clap::Parser;
use inject::InjectArgs;
use proxy::bootstrap::Bootstrap;
use proxy::{Program, Serving};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

/// As in the gateway, and for the same reasons.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The sidecar as what both binaries share knows it.
const PROGRAM: Program = Program {
    name: "mesh-agent",
    title: "Tidegate mesh-agent",
    version: env!("CARGO_PKG_VERSION"),
    default_config: "conf/mesh-agent.toml",
    parse: bootstrap::parse,
    metrics: pages::all,
    start,
    follow_objects: Some(source_kube::start),
    tell_status: None,
};

/// What a gateway has not: its pod, and that pod's DNS.
fn start(bootstrap: &Bootstrap, serving: &Arc<Serving>) -> anyhow::Result<()> {
    downward::tell_unread();
    dns::start(bootstrap, serving)
}

/// Everything of a file is written, or nothing.
fn inject(args: &InjectArgs) -> anyhow::Result<ExitCode> {
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    args.run(&mut stdin, &mut stdout, &mut stderr)?;
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    PROGRAM.exit(match Cli::parse().command {
        Command::Run(args) => proxy::run(&PROGRAM, &args),
        Command::Iptables(args) => iptables::run(&args),
        Command::Inject(args) => inject(&args),
        Command::Wait(args) => wait::run(&args),
        Command::Request(args) => request::run(&args),
        Command::Check(args) => proxy::check(&PROGRAM, &args),
        Command::Explain(args) => {
            let way = args.way();
            proxy::explain(&PROGRAM, args.request, way)
        }
    })
}
