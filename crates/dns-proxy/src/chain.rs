//! A name, followed through other names.

use crate::names::{Found, Names};
use crate::query::Query;
use crate::reply::{absolute, alias, pointer};
use hickory_proto::rr::{Name, Record};
use std::net::IpAddr;

/// Other names of other names are followed so far.
const MAX_ALIASES: usize = 8;

/// What is known of a name.
pub(crate) struct Chain {
    /// The other names that it stands for, one after the other.
    pub(crate) aliases: Vec<Record>,
    pub(crate) end: End,
}

/// What the last name of a chain stands for.
pub(crate) enum End {
    /// Addresses.
    Addresses(Name, Vec<IpAddr>),
    /// Others know it.
    Elsewhere(Name),
    /// There is no last one: names lead in a circle, on too long, or to what is none.
    Nowhere,
}

impl Chain {
    /// What the name of a query stands for: as it is, or without the search domain, which resolvers try first.
    /// Absent: it is not known here.
    pub(crate) fn of(query: &Query, names: &dyn Names, search: Option<&str>) -> Option<Self> {
        let asked = query.question.name();
        if let Some(found) = names.find(&query.name) {
            return Some(Self::follow(names, Vec::new(), asked.clone(), found));
        }
        let rest = query.name.strip_suffix(search?)?.strip_suffix('.')?;
        let found = names.find(rest)?;
        let target = absolute(rest).ok()?;
        let aliases = vec![alias(asked, &target)];
        Some(Self::follow(names, aliases, target, found))
    }

    fn follow(
        names: &dyn Names,
        mut aliases: Vec<Record>,
        mut name: Name,
        mut found: Found,
    ) -> Self {
        for _ in 0..=MAX_ALIASES {
            let other = match found {
                Found::Addresses(addresses) => {
                    let end = End::Addresses(name, addresses);
                    return Self { aliases, end };
                }
                Found::Alias(other) => other,
            };
            let Ok(target) = absolute(&other) else {
                break;
            };
            aliases.push(alias(&name, &target));
            name = target;
            found = match names.find(&other) {
                Some(next) => next,
                None => {
                    let end = End::Elsewhere(name);
                    return Self { aliases, end };
                }
            };
        }
        Self {
            aliases,
            end: End::Nowhere,
        }
    }
}

/// The name of an address, which is asked for by a name that is made of it. Absent: it is not known here.
pub(crate) fn name_of_address(query: &Query, names: &dyn Names) -> Option<Record> {
    let asked = query.question.name();
    let network = asked.parse_arpa_name().ok()?;
    let is_whole = network.prefix_len() == network.max_prefix_len();
    let name = names.name_of(is_whole.then(|| network.addr())?)?;
    Some(pointer(asked, &absolute(&name).ok()?))
}
