//! The command line.

use clap::{Args, Parser, Subcommand};
use proxy::args::{CheckArgs, EgressArgs, ExplainArgs, RunArgs};

/// An edge gateway that obeys Istio's traffic API: Gateway, VirtualService and their companions, from files.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve what the bootstrap file and the resources say
    Run(RunArgs),
    /// Serve the bundled httpbin example with embedded upstreams on loopback: needs no file, root or network
    Demo(DemoArgs),
    /// Parse, validate and compile resources, and print what is wrong with them
    Check(CheckArgs),
    /// Tell which listener, virtual host, rule and destination a request meets, and why the others do not match
    Explain(ExplainArgs),
    /// What clients of the forward proxy reach: propose what would allow it
    Egress(EgressArgs),
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// The port to listen on; when it is taken, the next free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
