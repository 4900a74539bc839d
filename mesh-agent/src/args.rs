//! The command line.

use capture::IptablesArgs;
use clap::{ArgGroup, Args, Parser, Subcommand};
use inject::InjectArgs;
use proxy::args::{CheckArgs, ExplainArgs, RunArgs};
use proxy::{Client, Way};
use std::net::IpAddr;
use std::time::Duration;

/// A sidecar that obeys Istio's traffic API inside of pods, and beside any process, from files.
#[derive(Debug, Parser)]
#[command(name = "mesh-agent", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve as the sidecar of a workload
    Run(RunArgs),
    /// Install, print or remove the rules that redirect a pod's connections to the sidecar
    Iptables(Box<IptablesArgs>),
    /// Read Kubernetes YAML, and write it with the sidecar added
    Inject(Box<InjectArgs>),
    /// Wait until the sidecar is ready, so that the application can start
    Wait(WaitArgs),
    /// Ask a page of the sidecar that runs beside, such as `POST drain` of port 15020
    Request(RequestArgs),
    /// Parse, validate and compile resources, and print what is wrong with them
    Check(CheckArgs),
    /// Tell which virtual host, rule and destination a request meets, and why the others do not match
    Explain(AgentExplainArgs),
}

#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// Where the sidecar tells whether it is ready
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:15021/healthz/ready"
    )]
    pub(crate) url: String,
    /// How long to wait, as `60s`; after that the exit code is 1
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// How often to ask, as `500ms`
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    pub(crate) period: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct RequestArgs {
    /// The port of the page: 15000 for operators, 15020 for the application
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    pub(crate) debug_port: u16,
    /// The request's method
    #[arg(value_name = "METHOD", value_parser = ["GET", "POST"])]
    pub(crate) method: String,
    /// The path, with its query
    #[arg(value_name = "PATH")]
    pub(crate) path: String,
}

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("way").args(["outbound", "inbound", "forward_proxy"]))]
pub(crate) struct AgentExplainArgs {
    #[command(flatten)]
    pub(crate) request: ExplainArgs,
    /// What becomes of it as one that the workload sends; the default. The URL's host may be a service or an address
    #[arg(long)]
    outbound: bool,
    /// What becomes of it as one that the workload receives, on the port of the URL
    #[arg(long)]
    inbound: bool,
    /// What becomes of it through the forward proxy; the URL is the one asked for
    #[arg(long)]
    forward_proxy: bool,
    /// The address of the client that the workload receives it from
    #[arg(long, value_name = "ADDRESS", requires = "inbound")]
    client: Option<IpAddr>,
    /// The identity in that client's certificate, such as `spiffe://cluster.local/ns/shop/sa/web` [default: it shows none]
    #[arg(long, value_name = "NAME", requires = "inbound")]
    client_name: Option<String>,
}

impl AgentExplainArgs {
    /// Which way the request comes.
    pub(crate) fn way(&self) -> Way {
        match (self.inbound, self.forward_proxy) {
            (true, _) => Way::Inbound(Client {
                address: self.client,
                names: self.client_name.iter().cloned().collect(),
            }),
            (_, true) => Way::ForwardProxy(Client::default()),
            _ => Way::Outbound,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    model::duration::parse(text).map_err(|error| format!("{error}; write `60s` or `500ms`"))
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
