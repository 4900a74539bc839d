//! The arguments of commands that both binaries have.

use clap::{Args, Subcommand, ValueEnum};
use model::HostPattern;
use std::path::PathBuf;

/// Those of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The bootstrap file [default: that of the program in conf/]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How the process tells what it does.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How the process tells what it does.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// The level of the process's own log: error, warn, info, debug, trace, off, or target=level parts
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// How the process's own log is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: Format,
}

/// Those of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The bootstrap file; without one and with PATHs, the defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How diagnostics are printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
    /// Files and folders to check instead of those the bootstrap file names
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Those of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The bootstrap file; without one and with --resources, the defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Files and folders to read instead of those the bootstrap file names
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub resources: Vec<PathBuf>,
    /// The request's method
    #[arg(
        short = 'X',
        long = "request",
        value_name = "METHOD",
        default_value = "GET"
    )]
    pub method: String,
    /// A header of the request
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// How the explanation is printed
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub format: Format,
    /// The request's URL, such as `http://httpbin.example.com/status/200`; for connections that are none of
    /// HTTP, `tls://HOST` or `tcp://HOST`
    #[arg(value_name = "URL", required_unless_present = "resources")]
    pub url: Option<String>,
}

impl ExplainArgs {
    /// The URL, also where it stands last behind `--resources`, which takes several values.
    pub fn take_url(&mut self) -> Option<String> {
        if self.url.is_none() && self.resources.len() > 1 {
            let last = self.resources.pop();
            self.url = last.map(|last| last.to_string_lossy().into_owned());
        }
        self.url.take()
    }
}

/// Those of `egress`.
#[derive(Args, Debug)]
pub struct EgressArgs {
    /// What is wanted.
    #[command(subcommand)]
    pub command: EgressCommand,
}

/// What is wanted of `egress`.
#[derive(Debug, Subcommand)]
pub enum EgressCommand {
    /// Print the ServiceEntries that allow what was learnt with `[forward-proxy] mode = "learn"`
    ///
    /// One for each host, with the ports and protocols that were seen and no others, as YAML on stdout; on stderr, what
    /// was left out and why. What the registry has already is left out; that `outbound-traffic-policy` lets something
    /// through does not count. Exits 0 also when there is nothing to propose, 1 when a file cannot be read.
    Propose(ProposeArgs),
}

/// Those of `egress propose`.
#[derive(Args, Debug)]
pub struct ProposeArgs {
    /// The bootstrap file; without one and with --resources, the defaults hold
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What was learnt [default: the file that `[forward-proxy] learned` names]
    #[arg(long, value_name = "FILE")]
    pub learned: Option<PathBuf>,
    /// Files and folders with the present resources instead of those the bootstrap file names
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub resources: Vec<PathBuf>,
    /// Propose one ServiceEntry for all hosts under a wildcard such as `*.example.org`, which allows them and all others
    /// under it; the most specific one counts [default: none is folded]
    #[arg(long, value_name = "PATTERN", value_parser = wildcard)]
    pub fold: Vec<HostPattern>,
    /// The namespace of the ServiceEntries [default: none is written]
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,
    /// Leave out what was seen less often, by host, port and protocol
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub min_count: u64,
    /// Propose everything that was learnt, as if there were no resources
    #[arg(long)]
    pub all: bool,
}

fn wildcard(text: &str) -> Result<HostPattern, String> {
    let pattern = HostPattern::try_from(text).map_err(|error| error.to_string())?;
    match pattern.suffix() {
        Some(_) => Ok(pattern),
        None => Err("it has to be of the form `*.example.org`".to_owned()),
    }
}

fn namespace(text: &str) -> Result<String, &'static str> {
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match is_lower && model::is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err("a namespace has lower case letters, digits and inner hyphens, 63 at most"),
    }
}

/// How something is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        explain: ExplainArgs,
    }

    fn explain(words: &[&str]) -> ExplainArgs {
        let cli = Cli::try_parse_from(["explain"].iter().chain(words));
        cli.unwrap().explain
    }

    #[test]
    fn the_url_may_stand_behind_several_resources() {
        for words in [
            &["--resources", "a", "b", "http://x/"][..],
            &["http://x/", "--resources", "a", "b"],
            &[
                "--resources",
                "a",
                "--resources",
                "b",
                "--request",
                "GET",
                "http://x/",
            ],
        ] {
            let mut args = explain(words);
            assert_eq!(args.take_url().as_deref(), Some("http://x/"), "{words:?}");
            assert_eq!(
                args.resources,
                [PathBuf::from("a"), PathBuf::from("b")],
                "{words:?}"
            );
        }
        assert_eq!(explain(&["--resources", "a"]).take_url(), None);
    }
}
