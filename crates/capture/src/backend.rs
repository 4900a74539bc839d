//! Which of the kernel's two kinds of rules are used, and the one that has no variants.

use crate::iptables::Variant;
use crate::nft::{TABLE, removal};
use crate::process::{Tool, ToolError, Toolbox};
use crate::ruleset::{Family, Ruleset};

/// What the user wants of the two.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Backend {
    /// iptables where it is there, in the variant that has rules already; nftables otherwise.
    #[default]
    Auto,
    /// This variant of iptables.
    Iptables(Variant),
    /// nftables.
    Nftables,
}

/// nftables, which has one tool for both families.
#[derive(Clone, Debug)]
pub(crate) struct Nft(Tool);

impl Nft {
    /// What the tool is called.
    pub(crate) const NAME: &str = "nft";

    /// It, if it is there.
    pub(crate) fn find(toolbox: &Toolbox) -> Option<Self> {
        toolbox.find(Self::NAME).map(Self)
    }

    /// The families of which there is a table of ours.
    pub(crate) fn present(&self) -> Result<Vec<Family>, ToolError> {
        let tables = self.0.run(&["list", "tables"], "")?;
        let is_there = |family: &Family| {
            let ours = format!("table {} {TABLE}", family.nft_name());
            tables.lines().any(|line| line.trim() == ours)
        };
        Ok([Family::V4, Family::V6]
            .into_iter()
            .filter(is_there)
            .collect())
    }

    /// Has these in force instead of whatever is ours, of all families at once.
    pub(crate) fn install(&self, wanted: &[Ruleset]) -> Result<(), ToolError> {
        let mut script = String::new();
        for family in self.present()? {
            if !wanted.iter().any(|ruleset| ruleset.family == family) {
                script.push_str(&removal(family));
            }
        }
        script.extend(wanted.iter().map(Ruleset::to_nft));
        self.apply(&script)
    }

    /// Removes what is ours. The families of which there was something.
    pub(crate) fn clean(&self) -> Result<Vec<Family>, ToolError> {
        let present = self.present()?;
        if !present.is_empty() {
            let script: String = present.iter().map(|family| removal(*family)).collect();
            self.apply(&script)?;
        }
        Ok(present)
    }

    fn apply(&self, script: &str) -> Result<(), ToolError> {
        self.0.run(&["-f", "-"], script).map(drop)
    }
}
