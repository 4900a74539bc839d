//! Rules as `iptables-save` prints them, which is also what `iptables-restore` reads.

use crate::ruleset::{Chain, Condition, Hook, Protocol, Rule, Ruleset, Table, Test, Verdict};
use std::fmt;

impl Ruleset {
    /// The text that installs it where nothing is, for `iptables-restore --noflush`.
    pub fn to_restore(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let jumps = table
                .jumps
                .iter()
                .map(|(hook, rule)| appended(hook.name(), rule));
            text.push_str(&transaction(table, jumps));
        }
        text
    }
}

/// Fills our chains of a table, whatever is in them, after these other changes, all at once.
pub(crate) fn transaction(table: &Table, changes: impl Iterator<Item = String>) -> String {
    let mut lines = vec![format!("*{}", table.kind.name())];
    // That a chain is declared empties it.
    lines.extend(
        table
            .chains
            .iter()
            .map(|(chain, _)| format!(":{} - [0:0]", chain.name())),
    );
    lines.extend(changes);
    lines.extend(
        table
            .chains
            .iter()
            .flat_map(|(chain, rules)| filled(*chain, rules)),
    );
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

/// The lines that fill an empty chain.
pub(crate) fn filled(chain: Chain, rules: &[Rule]) -> impl Iterator<Item = String> {
    rules.iter().map(move |rule| appended(chain.name(), rule))
}

/// The jump from a chain of the kernel's.
pub(crate) fn jump(hook: Hook, rule: &Rule) -> String {
    appended(hook.name(), rule)
}

fn appended(chain: &str, rule: &Rule) -> String {
    format!("-A {chain} {rule}")
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.conditions {
            write!(formatter, "{condition} ")?;
        }
        self.verdict.fmt(formatter)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(network) => write!(formatter, "-s {network}"),
            Self::Destination(test) => write!(formatter, "{}", option("-d", test)),
            Self::In(device) => write!(formatter, "-i {device}"),
            Self::Out(device) => write!(formatter, "-o {device}"),
            Self::Protocol(protocol) => write!(formatter, "-p {}", protocol.name()),
            Self::SourcePort(protocol, port) => {
                write!(formatter, "{} --sport {port}", of(*protocol))
            }
            Self::DestinationPort(protocol, test) => {
                write!(formatter, "{} {}", of(*protocol), option("--dport", test))
            }
            Self::NoDestinationPort(protocol, ports) => {
                let ports = crate::values::joined(ports);
                let protocol = protocol.name();
                write!(formatter, "-p {protocol} -m multiport ! --dports {ports}")
            }
            Self::User(test) => write!(formatter, "-m owner {}", option("--uid-owner", test)),
            Self::Group(test) => write!(formatter, "-m owner {}", option("--gid-owner", test)),
            Self::Invalid => formatter.write_str("-m conntrack --ctstate INVALID"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => formatter.write_str("-j RETURN"),
            Self::Drop => formatter.write_str("-j DROP"),
            Self::Jump(chain) => write!(formatter, "-j {}", chain.name()),
            Self::Redirect(port) => write!(formatter, "-j REDIRECT --to-ports {port}"),
            Self::Zone(zone) => write!(formatter, "-j CT --zone {zone}"),
        }
    }
}

fn of(protocol: Protocol) -> String {
    let name = protocol.name();
    format!("-p {name} -m {name}")
}

fn option<T: fmt::Display>(name: &str, test: &Test<T>) -> String {
    match test {
        Test::Is(value) => format!("{name} {value}"),
        Test::Not(value) => format!("! {name} {value}"),
    }
}
