//! `mesh-agent iptables`.

use capture::IptablesArgs;
use std::io;
use std::process::ExitCode;

/// Values that cannot be, as clap has it for those that it knows.
const USAGE_ERROR: u8 = 2;

/// Installs, prints or removes the redirect rules.
pub(crate) fn run(args: &IptablesArgs) -> anyhow::Result<ExitCode> {
    match args.run(&mut io::stdout().lock()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is_usage() => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::from(USAGE_ERROR))
        }
        Err(error) => Err(error.into()),
    }
}
