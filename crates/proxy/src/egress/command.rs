//! The command `egress`.

use super::Rows;
use super::entries::Asked;
use super::file::{self, Unreadable};
use super::propose::{Proposal, Wish, propose};
use super::registry::{Present, allows, proxy_of};
use crate::Program;
use crate::args::{EgressArgs, EgressCommand, ProposeArgs};
use crate::bootstrap::Bootstrap;
use crate::resources::Loaded;
use anyhow::{Context, anyhow};
use rules::{ForwardProxy, Table};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// How many warnings of a kind are printed.
const MAX_WARNINGS: usize = 20;

/// What proposals are called where they are read again.
const PROPOSED: &str = "what is proposed";

/// Does what is asked for.
pub fn run(program: &Program, args: &EgressArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        EgressCommand::Propose(args) => run_propose(program, args),
    }
}

/// Prints ServiceEntries that allow what was learnt. 0, also when there are none.
fn run_propose(program: &Program, args: &ProposeArgs) -> anyhow::Result<ExitCode> {
    let mut loaded = load(program, args)?;
    let file = args.learned.as_ref();
    let rows = read(file.unwrap_or(&loaded.bootstrap.forward_proxy.learned))?;
    let proposal = {
        let proxy = proxy(&loaded.published.table)?;
        let present = Present {
            proxy,
            resources: &loaded.published.resources,
        };
        propose(
            &rows.rows,
            &wish(args, &loaded.bootstrap),
            (!args.all).then_some(present),
        )
    };
    std::io::stdout()
        .lock()
        .write_all(proposal.yaml.as_bytes())?;
    tell(&proposal, &rows);
    if proposal.replaced.is_empty() {
        warn(&left(&proposal, args.min_count, &mut loaded)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// With a forward proxy, also where none is set up: it is the one of the defaults.
fn load(program: &Program, args: &ProposeArgs) -> anyhow::Result<Loaded> {
    let mut bootstrap = program.load_for_command(args.config.as_deref(), &args.resources)?;
    // It is not opened.
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    bootstrap.listen.forward_proxy.get_or_insert(anywhere);
    let loaded = Loaded::of(bootstrap, &args.resources)?;
    let errors = loaded.published.receipt.errors;
    if errors > 0 {
        eprintln!(
            "warning: {errors} errors in the present resources, see `{} check`",
            program.name
        );
    }
    Ok(loaded)
}

fn read(file: &Path) -> anyhow::Result<Rows> {
    file::read(file).map_err(|unreadable| match unreadable {
        Unreadable::Io(error) => {
            anyhow::Error::from(error).context(format!("{}: cannot be read", file.display()))
        }
        Unreadable::Broken(why) => anyhow!("{}: {why}", file.display()),
    })
}

fn wish(args: &ProposeArgs, bootstrap: &Bootstrap) -> Wish {
    Wish {
        fold: args.fold.clone(),
        namespace: args.namespace.clone(),
        default_namespace: bootstrap.resources.default_namespace.clone(),
        min_count: args.min_count,
        forbidden: bootstrap.dns.forbidden_networks.clone(),
    }
}

fn proxy(table: &Table) -> anyhow::Result<&Arc<ForwardProxy>> {
    proxy_of(table).context("no forward proxy was compiled")
}

fn tell(proposal: &Proposal, rows: &Rows) {
    warn(&proposal.warnings);
    for replaced in &proposal.replaced {
        eprintln!("note: a ServiceEntry with more ports replaces {replaced}: remove that one");
    }
    if rows.left_out > 0 {
        eprintln!(
            "warning: {} requests or connections were not learnt, since there were too many hosts and ports",
            rows.left_out
        );
    }
    let learnt = rows.rows.len();
    match proposal.entries {
        0 => eprintln!("nothing to propose for {learnt} hosts and ports that were learnt"),
        entries => {
            eprintln!("{entries} ServiceEntries for {learnt} hosts and ports that were learnt")
        }
    }
}

/// What is not allowed even with what is proposed: a Sidecar, say, hides it from its clients.
fn left(proposal: &Proposal, min_count: u64, loaded: &mut Loaded) -> anyhow::Result<Vec<String>> {
    loaded.add(PROPOSED, &proposal.yaml);
    let proxy = proxy(&loaded.published.table)?;
    let is_left = |asked: &&Asked| asked.seen.count >= min_count && !allows(proxy, asked);
    let left = proposal.asked.iter().filter(is_left);
    Ok(left
        .map(|asked| {
            format!(
                "{} is not allowed to all of its clients even so",
                asked.target
            )
        })
        .collect())
}

fn warn(warnings: &[String]) {
    for warning in warnings.iter().take(MAX_WARNINGS) {
        eprintln!("warning: {warning}");
    }
    if let Some(more) = warnings
        .len()
        .checked_sub(MAX_WARNINGS)
        .filter(|more| *more > 0)
    {
        eprintln!("warning: and {more} more like this");
    }
}
