//! The variants of iptables that a machine has, and which of them is used.

use crate::plan::Plan;
use crate::process::{Tool, ToolError, Toolbox};
use crate::ruleset::{Family, Ruleset, TableKind};
use crate::saved::Saved;

/// How often rules are compared and changed, when others than us change them at the same time.
const ROUNDS: usize = 3;

/// Seconds that `iptables-restore` waits for who holds the lock.
const LOCK_WAIT: &str = "30";

/// Where rules are kept in the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Variant {
    /// In nf_tables.
    Nft,
    /// In the tables that were there before.
    Legacy,
}

impl Variant {
    /// What names of its tools contain.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Nft => "-nft",
            Self::Legacy => "-legacy",
        }
    }
}

/// One variant for one family of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Iptables {
    /// What it is called, such as `ip6tables-legacy`.
    pub(crate) name: String,
    save: Tool,
    restore: Tool,
}

/// What installing did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Installed {
    /// It changed something.
    Now,
    /// All was there.
    Before,
}

/// Why installing did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("another program changes the rules of {0} at the same time")]
    Contended(String),
}

impl Iptables {
    /// Those that are there, the machine's default first.
    pub(crate) fn all(toolbox: &Toolbox, family: Family) -> Vec<Self> {
        let mut order = [Variant::Nft, Variant::Legacy];
        if is_legacy_the_default(toolbox, family) {
            order.reverse();
        }
        let named: Vec<Self> = order
            .iter()
            .filter_map(|variant| Self::of(toolbox, family, *variant))
            .collect();
        if !named.is_empty() {
            return named;
        }
        // It is one of them, and does not say which by its name.
        Self::find(toolbox, family_name(family).to_owned())
            .into_iter()
            .collect()
    }

    /// This one, if it is there.
    pub(crate) fn of(toolbox: &Toolbox, family: Family, variant: Variant) -> Option<Self> {
        Self::find(
            toolbox,
            format!("{}{}", family_name(family), variant.suffix()),
        )
    }

    fn find(toolbox: &Toolbox, name: String) -> Option<Self> {
        let save = toolbox.find(&format!("{name}-save"))?;
        let restore = toolbox.find(&format!("{name}-restore"))?;
        Some(Self {
            name,
            save,
            restore,
        })
    }

    /// What is there now.
    pub(crate) fn read(&self) -> Result<Saved, ToolError> {
        let text = self.save.run(&[], "")?;
        match foreign_table(&text) {
            Some(table) => Err(ToolError::foreign(&self.save, table)),
            None => Ok(Saved::parse(&text)),
        }
    }

    /// Has what is wanted in force, where this was found before.
    pub(crate) fn install(
        &self,
        wanted: &Ruleset,
        mut found: Saved,
        is_forced: bool,
    ) -> Result<Installed, InstallError> {
        let plan = Plan::install(wanted, &found);
        if plan.is_done() && !is_forced {
            return Ok(Installed::Before);
        }
        for _ in 0..ROUNDS {
            let applied = self.apply(&Plan::install(wanted, &found).text);
            let now = self.read()?;
            let is_same = std::mem::replace(&mut found, now) == found;
            match applied {
                // How rules are printed is up to the tool, jumps are not; others may have added the same since.
                Ok(()) if Plan::install(wanted, &found).has_all_jumps => return Ok(Installed::Now),
                // What was to be deleted may be gone: others change rules as well.
                Err(error) if is_same => return Err(error.into()),
                _ => {}
            }
        }
        Err(InstallError::Contended(self.name.clone()))
    }

    /// Removes what is ours of what was found. Whether there was anything.
    pub(crate) fn clean(&self, found: &Saved) -> Result<bool, ToolError> {
        let text = Plan::removal(found);
        if text.is_empty() {
            return Ok(false);
        }
        self.apply(&text).map(|()| true)
    }

    fn apply(&self, text: &str) -> Result<(), ToolError> {
        self.restore
            .run(&["--noflush", "-w", LOCK_WAIT], text)
            .map(drop)
    }
}

/// What the tools of a family are called without their variant.
pub(crate) fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Why one of several was chosen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reason {
    /// Ours are there already.
    HasOwn,
    /// Somebody's are there already.
    HasRules,
    /// Nothing is anywhere.
    Default,
}

/// The one to use of those that could be read, by what was found: rules of both variants in one place confuse whoever
/// looks for them. Of equals the first.
pub(crate) fn choose(found: &[Saved]) -> Option<(usize, Reason)> {
    let first = |has: fn(&Saved) -> bool| found.iter().position(has);
    let own = first(Saved::has_own).map(|index| (index, Reason::HasOwn));
    let rules = || first(|saved| saved.has_rules).map(|index| (index, Reason::HasRules));
    let default = || (!found.is_empty()).then_some((0, Reason::Default));
    own.or_else(rules).or_else(default)
}

/// One of the tables that we use, when rules in it were made by nft. iptables-nft would add ours without showing them
/// ever again.
fn foreign_table(text: &str) -> Option<&'static str> {
    let names = TableKind::ALL.into_iter().map(TableKind::name);
    let is_foreign = |name: &&str| text.contains(&format!("# Table `{name}' is incompatible"));
    names.into_iter().find(is_foreign)
}

fn is_legacy_the_default(toolbox: &Toolbox, family: Family) -> bool {
    let save = toolbox.find(&format!("{}-save", family_name(family)));
    let version = save.map(|save| save.run(&["--version"], ""));
    matches!(version, Some(Ok(version)) if version.contains("legacy"))
}
