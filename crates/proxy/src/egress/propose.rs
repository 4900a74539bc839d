//! What was learnt and what is allowed already, made into YAML.

use super::Row;
use super::entries::{Asked, Entry, Host, entries};
use super::registry::Present;
use super::yaml::{self, Named};
use model::{HostPattern, ServiceEntry};
use rules::ForbiddenNetworks;
use std::collections::BTreeSet;

/// The longest name of an object that is a DNS label, as names of hosts are made into.
const MAX_NAME: usize = 63;

/// What is to be proposed.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// Wildcards whose hosts share an entry.
    pub(super) fold: Vec<HostPattern>,
    /// The namespace of the entries. Absent: none is written.
    pub(super) namespace: Option<String>,
    /// The namespace of objects that name none.
    pub(super) default_namespace: String,
    /// Rows with fewer requests or connections are left out.
    pub(super) min_count: u64,
    /// Addresses that are to be looked at twice.
    pub(super) forbidden: ForbiddenNetworks,
}

/// What is proposed.
#[derive(Clone, Debug, Default)]
pub(super) struct Proposal {
    /// Empty: nothing.
    pub(super) yaml: String,
    /// How many ServiceEntries that is.
    pub(super) entries: usize,
    /// The rows that can be allowed.
    pub(super) asked: Vec<Asked>,
    /// ServiceEntries that it replaces.
    pub(super) replaced: Vec<String>,
    /// What somebody should know.
    pub(super) warnings: Vec<String>,
}

/// Proposes ServiceEntries that allow what was learnt, but what is allowed already by what is `present`.
pub(super) fn propose(rows: &[Row], wish: &Wish, present: Option<Present<'_>>) -> Proposal {
    let mut proposal = Proposal::default();
    for row in rows {
        match Asked::new(row) {
            Ok(asked) => proposal.asked.push(asked),
            Err(why) => {
                let host = row.host.chars().take(255).collect::<String>();
                let warning = format!("{host:?}, port {}, is left out: {why}", row.port);
                proposal.warnings.push(warning);
            }
        }
    }
    let entries = entries(&proposal.asked, &wish.fold, wish.min_count, present);
    let by_host = present.map(Present::by_host).unwrap_or_default();
    let mut names = Names::new(wish, present);
    for mut entry in entries {
        let host = entry.host.spelt();
        let there = by_host.get(&*host).map_or(&[][..], Vec::as_slice);
        let named = match there {
            [] => Named {
                name: names.of(&entry.host),
                namespace: wish.namespace.clone(),
                replaces: None,
            },
            [one] if entry.replaces(one) => {
                proposal.replaced.push(one.meta.reference.to_string());
                Named::of(one)
            }
            _ => {
                proposal.warnings.push(warning(&entry, there));
                continue;
            }
        };
        proposal.entries += 1;
        entry.is_forbidden = entry.host.is_forbidden(&wish.forbidden);
        if entry.is_forbidden {
            let names = entry.names.iter().cloned().collect::<Vec<_>>().join(", ");
            proposal.warnings.push(format!(
                "{names} is in a forbidden network, and {} would allow it: is that what you want?",
                named.name
            ));
        }
        yaml::write(&mut proposal.yaml, &entry, &named);
    }
    proposal
}

/// Of two entries with one host one counts, and it is not to be known what this one would take away.
fn warning(entry: &Entry, there: &[&ServiceEntry]) -> String {
    let theirs = there.iter().map(|entry| entry.meta.reference.to_string());
    let theirs = theirs.collect::<Vec<_>>().join(" and ");
    let ports = entry.ports.iter().take(yaml::MAX_LISTED);
    let ports: Vec<_> = ports
        .map(|(number, port)| format!("{number} {}", port.protocol))
        .collect();
    format!(
        "{} is a host of {theirs} already, and of several with one host one counts: let that have port {}",
        entry.host.spelt(),
        ports.join(", ")
    )
}

/// Names that are taken.
struct Names(BTreeSet<String>);

impl Names {
    /// Those of the namespace that entries are proposed for.
    fn new(wish: &Wish, present: Option<Present<'_>>) -> Self {
        let namespace = wish.namespace.as_ref().unwrap_or(&wish.default_namespace);
        let there = present.map(|present| present.entries_in(namespace));
        let names = there.into_iter().flatten();
        Self(names.map(|reference| reference.name.to_string()).collect())
    }

    /// One that nothing else has: that of the host, or with a number at its end.
    fn of(&mut self, host: &Host) -> String {
        let label = host.label();
        let numbered = (2_u32..).map(|number| format!("-{number}"));
        let mut endings = std::iter::once(String::new()).chain(numbered);
        let name = endings.find_map(|ending| {
            // Labels of hosts are ASCII.
            let room = label.len().min(MAX_NAME.saturating_sub(ending.len()));
            let name = format!("{}{ending}", label[..room].trim_end_matches('-'));
            (!self.0.contains(&name)).then_some(name)
        });
        let name = name.unwrap_or(label);
        self.0.insert(name.clone());
        name
    }
}

impl Named {
    fn of(entry: &ServiceEntry) -> Self {
        Self {
            name: entry.meta.name().to_owned(),
            namespace: Some(entry.meta.namespace().to_owned()),
            replaces: Some(entry.meta.reference.to_string()),
        }
    }
}
