//! Prints, installs and removes, and says what it did.

#[cfg(test)]
mod tests;

use crate::backend::{Backend, Nft};
use crate::error::Error;
use crate::hint::Cause;
use crate::iptables::{Installed, Iptables, Reason, Variant, choose, family_name};
use crate::machine::{Ipv6State, name_servers};
use crate::options::{CaptureOptions, DnsCapture, Interception, Ipv6};
use crate::process::{ToolError, Toolbox};
use crate::ruleset::{Family, OWN_SOURCE_V6, Ruleset};
use crate::saved::Saved;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) action: Action,
    pub(crate) options: CaptureOptions,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) backend: Backend,
    /// Whether rules are installed even if they are there.
    pub(crate) is_forced: bool,
    /// What the user should know about the options.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    Print,
    Install,
    Clean,
}

/// The machine, as far as it is asked and changed.
#[derive(Debug)]
pub(crate) struct Session {
    toolbox: Toolbox,
    ipv6: Ipv6State,
}

/// What is to be installed.
struct Wanted {
    rulesets: Vec<Ruleset>,
    /// Whether the agent's IPv6 address is missing.
    lacks_own_source: bool,
    /// Whether nothing is lost when the rules for IPv6 cannot be installed.
    is_ipv6_optional: bool,
    notes: Vec<String>,
}

impl Session {
    pub(crate) fn of_machine() -> Self {
        Self {
            toolbox: Toolbox::of_machine(),
            ipv6: Ipv6State::read(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(toolbox: Toolbox, ipv6: Ipv6State) -> Self {
        Self { toolbox, ipv6 }
    }

    pub(crate) fn run(&self, request: &Request, out: &mut dyn Write) -> Result<(), Error> {
        if request.action == Action::Clean {
            return self.clean(out);
        }
        let wanted = self.wanted(request)?;
        let mark = if request.action == Action::Print {
            "# "
        } else {
            ""
        };
        for note in &wanted.notes {
            writeln!(out, "{mark}note: {note}")?;
        }
        if request.options.interception == Interception::None {
            writeln!(out, "{mark}interception mode NONE: nothing is installed")?;
            return Ok(());
        }
        match request.action {
            Action::Print => self.print(request, &wanted, out),
            _ => self.install(request, wanted, out),
        }
    }

    fn wanted(&self, request: &Request) -> Result<Wanted, Error> {
        let options = &request.options;
        let mut notes = request.notes.clone();
        let servers = self.name_servers(request, &mut notes)?;
        let mut families = vec![Family::V4];
        if self.captures_ipv6(options.ipv6) {
            families.push(Family::V6);
        } else if options.ipv6 == Ipv6::Auto {
            notes.push("IPv6 is skipped: the machine does not have it".to_owned());
        } else if self.ipv6.is_on {
            notes.push("IPv6 is left out: what goes over it passes by the agent".to_owned());
        }
        let rulesets = families
            .into_iter()
            .map(|family| Ruleset::new(options, family, &servers));
        let rulesets: Vec<Ruleset> = rulesets.collect();
        let needs_own_source = rulesets
            .iter()
            .any(|ruleset| ruleset.needs_own_source(options));
        Ok(Wanted {
            rulesets,
            lacks_own_source: needs_own_source && !self.ipv6.has_own_source,
            is_ipv6_optional: options.ipv6 == Ipv6::Auto && !self.ipv6.leads_outside,
            notes,
        })
    }

    fn captures_ipv6(&self, asked: Ipv6) -> bool {
        match asked {
            Ipv6::Auto => self.ipv6.is_on,
            Ipv6::On => true,
            Ipv6::Off => false,
        }
    }

    fn name_servers(
        &self,
        request: &Request,
        notes: &mut Vec<String>,
    ) -> Result<Vec<IpAddr>, Error> {
        if request.options.dns() != DnsCapture::NameServers {
            return Ok(Vec::new());
        }
        let path = &request.resolv_conf;
        let servers = name_servers(path).map_err(|source| Error::NameServers {
            path: path.clone(),
            source,
        })?;
        if servers.is_empty() {
            let path = path.display();
            notes.push(format!("DNS is not captured: {path} names no server"));
        }
        Ok(servers)
    }

    fn print(&self, request: &Request, wanted: &Wanted, out: &mut dyn Write) -> Result<(), Error> {
        if wanted.lacks_own_source {
            writeln!(out, "# ip {}", own_source("add").join(" "))?;
        }
        let is_native = self.is_native(request.backend);
        for ruleset in &wanted.rulesets {
            if is_native {
                write!(out, "# nft -f -\n{}", ruleset.to_nft())?;
            } else {
                let name = family_name(ruleset.family);
                write!(out, "# {name}-restore --noflush\n{}", ruleset.to_restore())?;
            }
        }
        Ok(())
    }

    fn install(&self, request: &Request, wanted: Wanted, out: &mut dyn Write) -> Result<(), Error> {
        let wanted = self.with_own_source(wanted, out)?;
        if self.is_native(request.backend) {
            let nft = self.nft()?;
            nft.install(&wanted.rulesets)?;
            for ruleset in &wanted.rulesets {
                writeln!(out, "{}: installed with nft", name(ruleset.family))?;
            }
            return told(self.clean_iptables(&[], out), out);
        }
        let mut used = Vec::new();
        for ruleset in &wanted.rulesets {
            match self.install_iptables(request, ruleset, out) {
                Ok(name) => used.push(name),
                Err(error) if ruleset.family == Family::V6 && wanted.is_ipv6_optional => {
                    skipped(&error, out)?;
                }
                Err(error) => return Err(error),
            }
        }
        told(self.clean_iptables(&used, out), out)?;
        told(self.clean_nft(out), out)
    }

    /// Gives the agent's source address to the loopback device, or leaves IPv6 out where that loses nothing.
    fn with_own_source(&self, mut wanted: Wanted, out: &mut dyn Write) -> Result<Wanted, Error> {
        if !wanted.lacks_own_source {
            return Ok(wanted);
        }
        match self.ip(&own_source("add")) {
            Ok(()) => writeln!(out, "IPv6: {OWN_SOURCE_V6} added to lo")?,
            Err(error) if wanted.is_ipv6_optional => {
                skipped(&error, out)?;
                wanted
                    .rulesets
                    .retain(|ruleset| ruleset.family == Family::V4);
            }
            Err(error) => return Err(error),
        }
        Ok(wanted)
    }

    /// Installs the rules of a family, and returns the name of the variant that has them.
    fn install_iptables(
        &self,
        request: &Request,
        wanted: &Ruleset,
        out: &mut dyn Write,
    ) -> Result<String, Error> {
        let mut readable = self.readable(request.backend, wanted.family)?;
        let found: Vec<Saved> = readable.iter().map(|(_, saved)| saved.clone()).collect();
        let Some((index, reason)) = choose(&found) else {
            return Err(Error::NoTool(family_name(wanted.family).to_owned()));
        };
        let (iptables, saved) = readable.swap_remove(index);
        let installed = iptables.install(wanted, saved, request.is_forced)?;
        let how = match installed {
            Installed::Now => "installed",
            Installed::Before => "already in place",
        };
        let why = match (request.backend, reason) {
            (Backend::Iptables(_), _) => "as asked for",
            (_, Reason::HasOwn) => "which had them before",
            (_, Reason::HasRules) => "which has rules already",
            (_, Reason::Default) => "the machine's default",
        };
        let family = name(wanted.family);
        writeln!(out, "{family}: {how} with {}, {why}", iptables.name)?;
        Ok(iptables.name)
    }

    /// The variants that can be used, with what is there.
    fn readable(&self, backend: Backend, family: Family) -> Result<Vec<(Iptables, Saved)>, Error> {
        let variants = match backend {
            Backend::Iptables(variant) => self.forced(family, variant)?,
            Backend::Auto | Backend::Nftables => Iptables::all(&self.toolbox, family),
        };
        let mut readable = Vec::new();
        let mut first_error = None;
        for iptables in variants {
            match iptables.read() {
                Ok(saved) => readable.push((iptables, saved)),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) if readable.is_empty() => Err(error.into()),
            _ => Ok(readable),
        }
    }

    fn forced(&self, family: Family, variant: Variant) -> Result<Vec<Iptables>, Error> {
        let found = Iptables::of(&self.toolbox, family, variant);
        let missing = || {
            let name = family_name(family);
            Error::NoTool(format!("{name}{}", variant.suffix()))
        };
        found.map(|iptables| vec![iptables]).ok_or_else(missing)
    }

    /// Whether nftables is used by itself.
    fn is_native(&self, backend: Backend) -> bool {
        match backend {
            Backend::Nftables => true,
            Backend::Iptables(_) => false,
            Backend::Auto => {
                let has_iptables = !Iptables::all(&self.toolbox, Family::V4).is_empty();
                !has_iptables && Nft::find(&self.toolbox).is_some()
            }
        }
    }

    fn nft(&self) -> Result<Nft, Error> {
        Nft::find(&self.toolbox).ok_or_else(|| Error::NoTool(Nft::NAME.to_owned()))
    }

    fn ip(&self, arguments: &[String]) -> Result<(), Error> {
        let ip = self.toolbox.find("ip").ok_or(Error::NoIp)?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(ip.run(&arguments, "").map(drop)?)
    }

    fn clean(&self, out: &mut dyn Write) -> Result<(), Error> {
        let mut cleaned = self.clean_iptables(&[], out)?;
        cleaned.extend(self.clean_nft(out)?);
        if cleaned.contains(&Family::V6) && self.ipv6.has_own_source {
            self.ip(&own_source("del"))?;
            writeln!(out, "IPv6: {OWN_SOURCE_V6} removed from lo")?;
        }
        if cleaned.is_empty() {
            writeln!(out, "nothing of ours is installed")?;
        }
        Ok(())
    }

    /// Removes what is ours from all variants but these, and returns the families of which there was something.
    fn clean_iptables(&self, kept: &[String], out: &mut dyn Write) -> Result<Vec<Family>, Error> {
        let mut cleaned = Vec::new();
        for family in [Family::V4, Family::V6] {
            for iptables in Iptables::all(&self.toolbox, family) {
                if kept.contains(&iptables.name) {
                    continue;
                }
                let read = iptables.read();
                if let Err(error) = &read
                    && error.cause() == Cause::Foreign
                {
                    // Nothing of ours was ever put there.
                    writeln!(out, "{}: passed over: {error}", name(family))?;
                    continue;
                }
                let Some(saved) = usable(read)? else { continue };
                if iptables.clean(&saved)? {
                    writeln!(out, "{}: removed from {}", name(family), iptables.name)?;
                    cleaned.push(family);
                }
            }
        }
        Ok(cleaned)
    }

    fn clean_nft(&self, out: &mut dyn Write) -> Result<Vec<Family>, Error> {
        let Some(nft) = Nft::find(&self.toolbox) else {
            return Ok(Vec::new());
        };
        let families = usable(nft.clean())?.unwrap_or_default();
        for family in &families {
            writeln!(out, "{}: removed from nft", name(*family))?;
        }
        Ok(families)
    }
}

/// The arguments of `ip` that add or delete the agent's source address.
fn own_source(what: &str) -> Vec<String> {
    let address = format!("{OWN_SOURCE_V6}/128");
    ["-6", "addr", what, &address, "dev", "lo"]
        .map(str::to_owned)
        .to_vec()
}

/// What a tool says; nothing where the kernel does not know its kind of rules, since there are none then.
fn usable<T>(result: Result<T, ToolError>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.cause(), Cause::NoKernel | Cause::NoTable) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// That IPv6 is left out where that loses nothing.
fn skipped(error: &Error, out: &mut dyn Write) -> Result<(), Error> {
    let why = "the machine has no address to lose";
    Ok(writeln!(out, "IPv6: skipped, {why}: {error}")?)
}

/// That what an earlier run left elsewhere could not be looked for is no reason to fail when the new rules are there.
fn told<T>(looked: Result<T, Error>, out: &mut dyn Write) -> Result<(), Error> {
    if let Err(error) = looked {
        writeln!(
            out,
            "note: rules of an earlier run may be left elsewhere: {error}"
        )?;
    }
    Ok(())
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}
