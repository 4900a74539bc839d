//! What names stand for, read off the objects one by one.

use crate::generated::{Kind, Object, Resolution};
use std::net::IpAddr;

/// What a name stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Want {
    Unknown,
    Addresses(Vec<IpAddr>),
    /// The one virtual address of this host.
    Virtual(String),
    Alias(String),
}

/// A host, and the object that has it.
struct Named<'o> {
    host: String,
    object: &'o Object,
}

/// What a workload of a namespace sees.
pub(crate) struct Reference<'o> {
    namespace: &'static str,
    /// By host.
    services: Vec<Named<'o>>,
}

impl<'o> Reference<'o> {
    pub(crate) fn new(objects: &'o [Object], namespace: &'static str) -> Self {
        let seen = objects
            .iter()
            .filter(|one| !one.is_private || one.namespace == namespace);
        let mut services: Vec<_> = seen
            .map(|object| Named {
                host: host_of(object),
                object,
            })
            .collect();
        // Own ones first, Services before ServiceEntries, and then by name, as nobody says how old they are.
        services.sort_by_key(|one| {
            let object = one.object;
            let is_foreign = object.namespace != namespace;
            let is_entry = matches!(object.kind, Kind::Entry { .. });
            (
                one.host.clone(),
                is_foreign,
                is_entry,
                object.namespace,
                object.name.clone(),
            )
        });
        services.dedup_by(|later, first| later.host == first.host);
        Self {
            namespace,
            services,
        }
    }

    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        let hosts = self.services.iter().map(|one| one.host.as_str());
        hosts.filter(|host| !host.starts_with('*'))
    }

    pub(crate) fn find(&self, name: &str) -> Want {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(service) = self.exact(&name) {
            return meaning(service);
        }
        let member = name.split_once('.').and_then(|(member, service)| {
            let Kind::Headless(all) = &self.exact(service)?.object.kind else {
                return None;
            };
            let own = all.iter().filter(|(_, name)| *name == Some(member));
            let own: Vec<IpAddr> = own.map(|(address, _)| address.parse().unwrap()).collect();
            (!own.is_empty()).then_some(own)
        });
        if let Some(addresses) = member {
            return Want::Addresses(addresses);
        }
        // What has no answer is left to others, and not to a shorter wildcard.
        let wildcards = self.services.iter().filter(|one| {
            let end = one.host.strip_prefix('*');
            end.is_some_and(|end| name.len() > end.len() && name.ends_with(end))
        });
        let longest = wildcards.max_by_key(|one| one.host.len());
        longest.map_or(Want::Unknown, meaning)
    }

    /// The service that has a name: as its host, or else as another name.
    fn exact(&self, name: &str) -> Option<&Named<'o>> {
        let own = self.services.iter().find(|one| one.host == name);
        let mut others = self.services.iter();
        own.or_else(|| {
            others.find(|one| self.other_names(one.object).iter().any(|one| one == name))
        })
    }

    fn other_names(&self, object: &Object) -> Vec<String> {
        let Object {
            namespace,
            name,
            kind,
            ..
        } = object;
        if matches!(kind, Kind::Entry { .. }) {
            return Vec::new();
        }
        let mut names = vec![
            format!("{name}.{namespace}"),
            format!("{name}.{namespace}.svc"),
        ];
        if *namespace == self.namespace {
            names.push(name.clone());
        }
        names
    }
}

fn host_of(object: &Object) -> String {
    match &object.kind {
        Kind::Entry { host, .. } => (*host).to_owned(),
        _ => format!("{}.{}.svc.cluster.local", object.name, object.namespace),
    }
}

fn meaning(named: &Named<'_>) -> Want {
    match &named.object.kind {
        Kind::ClusterIp(address) => Want::Addresses(vec![address.parse().unwrap()]),
        Kind::Plain => Want::Virtual(named.host.clone()),
        Kind::Headless(members) => Want::Addresses(distinct(members.iter().map(|(one, _)| *one))),
        Kind::ExternalName(host) => Want::Alias((*host).to_owned()),
        Kind::Entry {
            addresses,
            resolution,
            may_get_address,
            ..
        } => {
            let is_wildcard = named.host.starts_with('*');
            let own = addresses.iter().filter_map(|one| one.parse().ok());
            let own: Vec<IpAddr> = own.collect();
            match resolution {
                _ if !own.is_empty() => Want::Addresses(own),
                _ if !addresses.is_empty() => Want::Unknown,
                Resolution::None => Want::Unknown,
                _ if *may_get_address && !is_wildcard => Want::Virtual(named.host.clone()),
                Resolution::Dns => Want::Unknown,
                Resolution::Static(members) => Want::Addresses(distinct(members.iter().copied())),
            }
        }
    }
}

fn distinct<'a>(addresses: impl Iterator<Item = &'a str>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = Vec::new();
    for address in addresses.map(|one| one.parse().unwrap()) {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}
