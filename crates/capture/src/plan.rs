//! What is to change, so that what is there becomes what is wanted.
//!
//! A jump that is there already stays where it stands among others' rules; one that is not wanted, or is there twice,
//! is deleted as it was printed; one that is missing is appended. Our chains are filled anew, and those not wanted any
//! more are deleted. All of that is one transaction a table, because `iptables-restore` makes no greater one.

#[cfg(test)]
mod tests;

use crate::restore::{filled, jump, transaction};
use crate::ruleset::{Ruleset, Table, TableKind};
use crate::saved::{Saved, SavedTable};

/// What is to be given to `iptables-restore --noflush`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Plan {
    /// The text. Empty: nothing of ours is there, nor wanted.
    pub(crate) text: String,
    /// Whether others' chains lead to ours just as they should.
    pub(crate) has_all_jumps: bool,
    /// Whether ours are as they should be, as far as `iptables-save` prints rules as we write them.
    pub(crate) has_all_rules: bool,
}

impl Plan {
    /// Whether nothing has to be done.
    pub(crate) fn is_done(&self) -> bool {
        self.has_all_jumps && self.has_all_rules
    }

    /// How to come from what is there to what is wanted.
    pub(crate) fn install(wanted: &Ruleset, saved: &Saved) -> Self {
        let empty = SavedTable::default();
        let mut plan = Self {
            text: String::new(),
            has_all_jumps: true,
            has_all_rules: true,
        };
        for kind in TableKind::ALL {
            let there = saved.table(kind).unwrap_or(&empty);
            match wanted.tables.iter().find(|table| table.kind == kind) {
                Some(table) => plan.table(table, there),
                None if there.has_own() => {
                    plan.has_all_jumps &= there.jumps.is_empty();
                    plan.has_all_rules = false;
                    plan.text.push_str(&removal(kind, there));
                }
                None => {}
            }
        }
        plan
    }

    /// The text that removes everything of ours. Empty: there is nothing.
    pub(crate) fn removal(saved: &Saved) -> String {
        // Nothing is redirected any more before the rest goes.
        let tables = TableKind::ALL.into_iter().rev();
        let tables = tables.filter_map(|kind| saved.table(kind).map(|table| (kind, table)));
        let ours = tables.filter(|(_, table)| table.has_own());
        ours.map(|(kind, table)| removal(kind, table)).collect()
    }

    fn table(&mut self, wanted: &Table, there: &SavedTable) {
        let (stale, missing) = jump_changes(wanted, there);
        let is_wanted = |name: &str| wanted.chains.iter().any(|(chain, _)| chain.name() == name);
        let unwanted: Vec<&str> = there
            .own
            .keys()
            .map(String::as_str)
            .filter(|name| !is_wanted(name))
            .collect();

        self.has_all_jumps &= stale.is_empty() && missing.is_empty();
        self.has_all_rules &= unwanted.is_empty() && has_all_chains(wanted, there);
        let changes = stale
            .into_iter()
            .chain(deleted_chains(&unwanted))
            .chain(missing);
        self.text.push_str(&transaction(wanted, changes));
    }
}

/// The lines that delete jumps, and those that append them.
fn jump_changes(wanted: &Table, there: &SavedTable) -> (Vec<String>, Vec<String>) {
    let mut missing: Vec<String> = wanted
        .jumps
        .iter()
        .map(|(hook, rule)| jump(*hook, rule))
        .collect();
    let mut stale = Vec::new();
    for line in &there.jumps {
        match missing.iter().position(|wanted| wanted == line) {
            Some(index) => {
                missing.remove(index);
            }
            None => stale.push(deleted(line)),
        }
    }
    (stale, missing)
}

fn has_all_chains(wanted: &Table, there: &SavedTable) -> bool {
    wanted.chains.iter().all(|(chain, rules)| {
        let have = there.own.get(chain.name());
        have.is_some_and(|have| filled(*chain, rules).eq(have.iter().cloned()))
    })
}

fn removal(kind: TableKind, there: &SavedTable) -> String {
    let mut lines = vec![format!("*{}", kind.name())];
    lines.extend(there.jumps.iter().map(|line| deleted(line)));
    let chains: Vec<&str> = there.own.keys().map(String::as_str).collect();
    lines.extend(deleted_chains(&chains));
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

/// The line that deletes what `line` appended. The first that is alike goes, so that of two the second stays.
fn deleted(line: &str) -> String {
    line.replacen("-A ", "-D ", 1)
}

/// One may jump to another: all are emptied before the first is deleted.
fn deleted_chains(names: &[&str]) -> impl Iterator<Item = String> {
    let emptied = names.iter().map(|name| format!("-F {name}"));
    emptied.chain(names.iter().map(|name| format!("-X {name}")))
}
