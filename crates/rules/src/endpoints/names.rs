//! Names among endpoints: what is known of them, and what is to be found out.

use super::{Finding, Workloads};
use crate::compile::{Help, warning};
use ipnet::IpNet;
use model::{At, Diagnostic, Hostname, Meta};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a name stands for, as a resolver told last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NameAnswer {
    /// Its addresses. Where only one is wanted it is the first.
    pub addresses: Vec<IpAddr>,
    /// There are more of them, which are left aside.
    pub is_cut: bool,
    /// Why it could not be resolved the last time. Absent: it could.
    pub failure: Option<String>,
}

/// Answers by name. What is missing was not told yet.
pub type NameAnswers = BTreeMap<Hostname, NameAnswer>;

/// An address of an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedAddress {
    pub(super) address: IpAddr,
    /// A name stands for it, and none may.
    pub(super) forbidden: bool,
}

impl NamedAddress {
    /// Not found by a name.
    pub(super) fn written(address: IpAddr) -> Self {
        Self {
            address,
            forbidden: false,
        }
    }
}

/// Where a name stands.
pub(super) struct NameSite<'s> {
    pub(super) meta: &'s Meta,
    pub(super) path: String,
    pub(super) at: At,
}

impl NameSite<'_> {
    pub(super) fn warning(&self, code: &'static str, message: String) -> Diagnostic {
        warning(self.meta, code, self.path.as_str(), self.at, message)
    }
}

impl<'r> Workloads<'r> {
    /// The addresses of a name, as far as they are known. That it is wanted is noted, and what is wrong with it
    /// is told.
    ///
    /// `named`: addresses that it may stand for although they are forbidden.
    pub(super) fn addresses(
        &self,
        name: &Hostname,
        site: &NameSite<'_>,
        named: &[IpNet],
        finding: &mut Finding,
    ) -> Vec<NamedAddress> {
        finding.names.insert(name.clone());
        let Some(answer) = self.shared.answers.get(name) else {
            finding.unresolved.push(name.clone());
            return Vec::new();
        };
        if answer.addresses.is_empty() {
            finding.unresolved.push(name.clone());
        }
        if let Some(why) = &answer.failure {
            finding.diagnostics.push(failed(name, answer, why, site));
        }
        if answer.is_cut {
            finding.diagnostics.push(cut(name, answer, site));
        }
        let found = answer.addresses.iter().map(|address| NamedAddress {
            address: *address,
            forbidden: self.is_forbidden(name, *address, named),
        });
        let found: Vec<_> = found.collect();
        let refused = found.iter().find(|found| found.forbidden);
        finding
            .diagnostics
            .extend(refused.map(|found| forbidden(name, found.address, site)));
        found
    }

    /// A name that says that it is this machine's own may be just that (RFC 6761, section 6.3).
    fn is_forbidden(&self, name: &Hostname, address: IpAddr, named: &[IpNet]) -> bool {
        let name = name.as_str();
        let is_own = name == "localhost" || name.ends_with(".localhost");
        let address = address.to_canonical();
        self.shared.forbidden.forbid_unless(address, named) && !(is_own && address.is_loopback())
    }
}

fn forbidden(name: &Hostname, address: IpAddr, site: &NameSite<'_>) -> Diagnostic {
    let message =
        format!("{name} stands for {address}, which no name may stand for; it is not dialled");
    site.warning("forbidden_address", message).help(
        "where that is meant, name the address in `addresses` of the ServiceEntry, or change `[dns] forbidden-networks`",
    )
}

fn cut(name: &Hostname, answer: &NameAnswer, site: &NameSite<'_>) -> Diagnostic {
    let used = answer.addresses.len();
    let message = format!("{name} has more than {used} addresses; the others are not used");
    site.warning("too_many_addresses", message)
}

fn failed(name: &Hostname, answer: &NameAnswer, why: &str, site: &NameSite<'_>) -> Diagnostic {
    let meanwhile = match answer.addresses.len() {
        0 => "it has no addresses",
        _ => "its last addresses stay in use",
    };
    let message = format!("{name} cannot be resolved: {why}; {meanwhile}");
    site.warning("unresolved_name", message)
}
