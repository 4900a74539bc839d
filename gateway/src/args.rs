//! The command line.

use crate::webhook::WebhookArgs;
use clap::{Args, Parser, Subcommand};
use proxy::args::{CheckArgs, EgressArgs, ExplainArgs, RunArgs};
use proxy::{Client, Way};
use std::net::IpAddr;

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
    Explain(GatewayExplainArgs),
    /// What clients of the forward proxy reach: propose what would allow it
    Egress(EgressArgs),
    /// Check Istio's resources and add sidecars to pods before a Kubernetes API server stores them
    Webhook(WebhookArgs),
}

#[derive(Args, Debug)]
pub(crate) struct GatewayExplainArgs {
    #[command(flatten)]
    pub(crate) request: ExplainArgs,
    /// The Gateway server's port that the request arrives at, or the port bound for it [default: the URL's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What becomes of it through the forward proxy, rather than on a Gateway's port; the URL is the one asked for
    #[arg(long, conflicts_with = "port")]
    forward_proxy: bool,
    /// The address of the forward proxy's client [default: one of those that are not told apart]
    #[arg(long, value_name = "ADDRESS", requires = "forward_proxy")]
    client: Option<IpAddr>,
    /// A name in the certificate of the forward proxy's client, such as its SPIFFE identity
    #[arg(long, value_name = "NAME", requires = "forward_proxy")]
    client_name: Vec<String>,
}

impl GatewayExplainArgs {
    /// Which way the request comes.
    pub(crate) fn way(&self) -> Way {
        match self.forward_proxy {
            true => Way::ForwardProxy(Client {
                address: self.client,
                names: self.client_name.clone(),
            }),
            false => Way::Gateway(self.port),
        }
    }
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
