//! Rules as `nft` reads them.
//!
//! Ours are in a table of their own for each family of addresses, so that they are replaced and removed as one, and
//! cannot be confused with anybody's.

use crate::ruleset::{
    Chain, Condition, Family, Hook, Protocol, Rule, Ruleset, Table, TableKind, Test, Verdict,
};
use crate::values::Interface;
use std::fmt;

/// The name of our tables.
pub(crate) const TABLE: &str = "tidegate";

impl Family {
    /// Its name, which is also that of its addresses.
    pub(crate) fn nft_name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

impl Ruleset {
    /// The script that puts it in the place of whatever we have there, all at once, for `nft -f`.
    pub fn to_nft(&self) -> String {
        let family = self.family.nft_name();
        let mut lines = vec![
            // It cannot be deleted where it is not.
            format!("add table {family} {TABLE}"),
            format!("delete table {family} {TABLE}"),
            format!("table {family} {TABLE} {{"),
        ];
        for table in &self.tables {
            for (chain, rules) in &table.chains {
                lines.push(format!("\tchain {} {{", own_chain(table.kind, *chain)));
                let rules = rules.iter().map(|rule| self.rule(table.kind, rule));
                lines.extend(rules.map(|rule| format!("\t\t{rule}")));
                lines.push("\t}".to_owned());
            }
            for hook in [Hook::Prerouting, Hook::Output] {
                lines.extend(self.hook(table, hook));
            }
        }
        lines.push("}\n".to_owned());
        lines.join("\n")
    }

    /// The chain by which the kernel comes to ours; none where it does not.
    fn hook(&self, table: &Table, hook: Hook) -> Vec<String> {
        let jumps = table.jumps.iter().filter(|(from, _)| *from == hook);
        let jumps: Vec<String> = jumps
            .map(|(_, rule)| format!("\t\t{}", self.rule(table.kind, rule)))
            .collect();
        if jumps.is_empty() {
            return jumps;
        }
        let mut lines = vec![
            format!("\tchain {}-{} {{", table.kind.name(), nft_hook(hook)),
            format!("\t\t{}", hooked(table.kind, hook)),
        ];
        lines.extend(jumps);
        lines.push("\t}".to_owned());
        lines
    }

    fn rule(&self, table: TableKind, rule: &Rule) -> String {
        let conditions = rule.conditions.iter();
        let mut words: Vec<String> = conditions
            .map(|condition| condition_text(self.family, condition))
            .collect();
        words.push(verdict_text(table, &rule.verdict));
        words.join(" ")
    }
}

/// The script that removes our table of a family, which must be there.
pub(crate) fn removal(family: Family) -> String {
    format!("delete table {} {TABLE}\n", family.nft_name())
}

/// Tables of the kernel are told apart by the beginnings of the names.
fn own_chain(table: TableKind, chain: Chain) -> String {
    let name = chain.name().to_ascii_lowercase().replace('_', "-");
    format!("{}-{name}", table.name())
}

fn nft_hook(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "prerouting",
        Hook::Output => "output",
    }
}

/// What makes it a chain of the kernel's, with the priority that the same table has in iptables.
fn hooked(table: TableKind, hook: Hook) -> String {
    let (kind, priority) = match table {
        TableKind::Raw => ("filter", -300),
        TableKind::Mangle => ("filter", -150),
        TableKind::Nat => ("nat", -100),
    };
    let hook = nft_hook(hook);
    format!("type {kind} hook {hook} priority {priority}; policy accept;")
}

fn condition_text(family: Family, condition: &Condition) -> String {
    let address = family.nft_name();
    match condition {
        Condition::Source(network) => format!("{address} saddr {network}"),
        Condition::Destination(test) => test_text(&format!("{address} daddr"), test),
        Condition::In(device) => format!("iifname {}", device_text(device)),
        Condition::Out(device) => format!("oifname {}", device_text(device)),
        Condition::Protocol(protocol) => format!("meta l4proto {}", protocol.name()),
        Condition::SourcePort(protocol, port) => format!("{} sport {port}", protocol.name()),
        Condition::DestinationPort(protocol, test) => to_port(*protocol, test),
        Condition::NoDestinationPort(protocol, ports) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            to_port(*protocol, &Test::Not(format!("{{ {} }}", ports.join(", "))))
        }
        Condition::User(test) => test_text("meta skuid", test),
        Condition::Group(test) => test_text("meta skgid", test),
        Condition::Invalid => "ct state invalid".to_owned(),
    }
}

fn verdict_text(table: TableKind, verdict: &Verdict) -> String {
    match verdict {
        Verdict::Return => "return".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Jump(chain) => format!("jump {}", own_chain(table, *chain)),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::Zone(zone) => format!("ct zone set {zone}"),
    }
}

fn to_port<T: fmt::Display>(protocol: Protocol, test: &Test<T>) -> String {
    test_text(&format!("{} dport", protocol.name()), test)
}

fn test_text<T: fmt::Display>(what: &str, test: &Test<T>) -> String {
    match test {
        Test::Is(value) => format!("{what} {value}"),
        Test::Not(value) => format!("{what} != {value}"),
    }
}

fn device_text(device: &Interface) -> String {
    match device.prefix() {
        Some(prefix) => format!("\"{prefix}*\""),
        None => format!("\"{device}\""),
    }
}
